package main

import (
	"fmt"
	"os/exec"
	"time"
)

// crowded is m: ten thousand connections that have asked once and wait, and two
// thousand beside them that ask all the time.
func (b *bench) crowded() error {
	const waiting, asking = 10_000, 2_000
	fmt.Printf("m. 1 KiB hits, %d connections kept alive that wait; then %d of wrk beside them\n", waiting, asking)
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return err
	}
	mirrors, err := b.stubs(nil)
	if err != nil {
		return err
	}
	servers, err := b.servers("", mirrors, mirrors...)
	if err != nil {
		return err
	}
	for _, p := range servers {
		if err := b.crowd(wrk, p, waiting, asking); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (b *bench) crowd(wrk string, p *process, waiting, asking int) error {
	address := fmt.Sprintf("%s/m/%d-1", p.url(), 1<<10)
	all := make([]*client, waiting)
	defer func() {
		for _, c := range all {
			if c != nil {
				c.close()
			}
		}
	}()
	var before float64
	for i := range all {
		if i == 10 { // it knows the object, and has come to rest
			before = p.memory("VmRSS:")
		}
		all[i] = &client{pattern: b.pattern, buf: make([]byte, 2<<10)}
		if g := all[i].get(address); g.err != nil {
			return fmt.Errorf("connection %d: %w", i, g.err)
		}
	}
	each := (p.memory("VmRSS:") - before) * 1024 / float64(waiting-10)
	rates, slowest := make([]float64, b.rounds), make([]time.Duration, b.rounds)
	for i := range b.rounds {
		var err error
		if rates[i], slowest[i], err = load(wrk, address, asking); err != nil {
			return err
		}
	}
	for i := 0; i < waiting; i += waiting / 100 {
		if g := all[i].get(address); g.err != nil {
			return fmt.Errorf("connection %d has waited for nothing: %w", i, g.err)
		}
	}
	fmt.Printf("   %-12s %.1f KiB a connection that waits  %7.0f req/s  p99 %s  peak %.0f MiB\n", p.name, each, quantile(rates, 0.5), ms(quantile(slowest, 0.5)), p.peak())
	return nil
}
