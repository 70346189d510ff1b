package main

import (
	"fmt"
	"time"
)

// misses is i: small objects that nobody has asked for, of one mirror: how many a
// second, what each costs, and what one alone waits longer than at the mirror.
func (b *bench) misses() error {
	const size, clients, count, alone = 4 << 10, 50, 3000, 300
	fmt.Printf("i. %d clients, one mirror, 4 KiB misses; then one client\n", clients)
	mirrors, err := b.stubs(nil)
	if err != nil {
		return err
	}
	servers, err := b.servers("", mirrors, mirrors...)
	if err != nil {
		return err
	}
	all := append(mirrors[:1:1], servers...)
	rates, cpus, firsts := map[*process][]float64{}, map[*process][]float64{}, map[*process][]time.Duration{}
	for round := range b.rounds {
		for _, p := range servers {
			before, start := p.cpu(), time.Now()
			got := crowd(b.pattern, clients, false, counted(p.url()+"/i", size, round*count, count))
			rates[p] = append(rates[p], count/time.Since(start).Seconds())
			cpus[p] = append(cpus[p], float64((p.cpu()-before).Microseconds())/count)
			if n, err := failures(got); n > 0 {
				return fmt.Errorf("%s: %d of %d failed: %w", p.name, n, len(got), err)
			}
		}
		one := map[*process]*client{}
		for _, p := range all {
			one[p] = newClient(b.pattern)
			defer one[p].close()
		}
		for seed := range alone {
			for _, p := range all {
				g := one[p].get(fmt.Sprintf("%s/i/alone/%d-%d", p.url(), size, round*alone+seed))
				if g.err != nil {
					return g.err
				}
				firsts[p] = append(firsts[p], g.ttfb())
			}
		}
	}
	direct := quantile(firsts[mirrors[0]], 0.5)
	for _, p := range servers {
		rate, first := quantile(rates[p], 0.5), quantile(firsts[p], 0.5)
		fmt.Printf("   %-12s %5.0f misses/s  %.2f of nginx  cpu %.0f µs a miss  first byte of one alone: median %s, added %s  peak %.0f MiB\n", p.name,
			rate, rate/quantile(rates[servers[0]], 0.5), quantile(cpus[p], 0.5), ms(first), ms(first-direct), p.peak())
	}
	return nil
}
