package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// large is j: hits of large objects, and of random parts of one.
func (b *bench) large() error {
	fmt.Println("j. hits of 100 MiB and 1 GiB by one client, that compares or throws away; random 64 KiB of 1 GiB by 16")
	mirrors, err := b.stubs(nil)
	if err != nil {
		return err
	}
	servers, err := b.servers("", mirrors, mirrors...)
	if err != nil {
		return err
	}
	for _, whole := range []struct {
		size  int64
		blind bool
		name  string
	}{{100 * mib, false, "100 MiB"}, {1024 * mib, false, "1 GiB"}, {1024 * mib, true, "1 GiB, blind"}} {
		path := fmt.Sprintf("/j/%d-1", whole.size)
		if err := b.compareHits(whole.name, servers, path, whole.size, func(p *process) error {
			c := newClient(b.pattern)
			c.blind = whole.blind
			defer c.close()
			for range 1024 * mib / whole.size {
				if g := c.get(p.url() + path); g.err != nil {
					return g.err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	path := fmt.Sprintf("/j/%d-1", 1024*mib)
	return b.compareHits("64 KiB parts", servers, path, 1024*mib, func(p *process) error { return b.randomParts(p.url()+path, 1024*mib) })
}

// compareHits measures a way to read a gibibyte in all of what path has.
func (b *bench) compareHits(name string, servers []*process, path string, size int64, read func(*process) error) error {
	speeds, cpus := make([][]float64, len(servers)), make([][]float64, len(servers))
	for range b.rounds {
		for i, p := range servers {
			c := newClient(b.pattern)
			g := c.part(p.url()+path, size-1, 1) // it is there, or is fetched
			c.close()
			if g.err != nil {
				return g.err
			}
			before, start := p.cpu(), time.Now()
			if err := read(p); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			speeds[i] = append(speeds[i], 1024/time.Since(start).Seconds())
			cpus[i] = append(cpus[i], (p.cpu() - before).Seconds())
		}
	}
	for i, p := range servers {
		speed, cpu := quantile(speeds[i], 0.5), quantile(cpus[i], 0.5)
		fmt.Printf("   %-12s  %-12s %5.0f MiB/s  %.2f of nginx  cpu %.2f s/GiB  %.2f of nginx\n", name, p.name,
			speed, speed/quantile(speeds[0], 0.5), cpu, cpu/quantile(cpus[0], 0.5))
	}
	return nil
}

// randomParts has 16 clients read a gibibyte together, 64 KiB at a time, anywhere in an object.
func (b *bench) randomParts(address string, size int64) error {
	const clients, part = 16, 64 << 10
	errs := make(chan error, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c := newClient(b.pattern)
			defer c.close()
			for range 1024 * mib / part / clients {
				if g := c.part(address, rand.Int64N(size-part), part); g.err != nil {
					errs <- g.err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// middle is k: the first byte of a range in the middle of a cold object, and what
// becomes of the rest.
func (b *bench) middle() error {
	fmt.Println("k. 64 KiB in the middle of a cold 256 MiB object, mirror at 100 MiB/s")
	for _, delay := range []string{"0s", "20ms"} {
		if err := b.middleOf(delay); err != nil {
			return err
		}
	}
	return nil
}

// middleOf is k for a mirror whose heads take a while.
func (b *bench) middleOf(delay string) error {
	const size, rate = 256 * mib, 100 * mib
	mirrors, err := b.stubs([]string{"-rate", strconv.Itoa(rate), "-delay", delay})
	if err != nil {
		return err
	}
	servers, err := b.servers("", mirrors, mirrors...)
	if err != nil {
		return err
	}
	all := append(mirrors[:1:1], servers...)
	firsts := make([][]time.Duration, len(all))
	var longer []time.Duration // of the mirror, when a part is longer than its pieces
	var fetched, bodies []float64
	for seed := range b.rounds {
		c := newClient(b.pattern)
		g := c.part(fmt.Sprintf("%s/k/%d-%d", mirrors[0].url(), size, seed), size/2, mib)
		c.close()
		if g.err != nil {
			return fmt.Errorf("the mirror: %w", g.err)
		}
		longer = append(longer, g.ttfb())
		for i, p := range all {
			_, bodies0, bytes0, err := stats(mirrors[0])
			if err != nil {
				return err
			}
			address := fmt.Sprintf("%s/k/%d-%d", p.url(), size, seed)
			c := newClient(b.pattern)
			g := c.part(address, size/2, 64<<10)
			if i > 0 && g.err == nil {
				if whole := c.get(address); whole.err != nil {
					g.err = whole.err
				}
			}
			c.close()
			if g.err != nil {
				return fmt.Errorf("%s: %w", p.name, g.err)
			}
			firsts[i] = append(firsts[i], g.ttfb())
			_, bodies1, bytes1, err := stats(mirrors[0])
			if err != nil {
				return err
			}
			if p.name == "cache-proxy" {
				fetched, bodies = append(fetched, float64(bytes1-bytes0)/size), append(bodies, float64(bodies1-bodies0))
			}
		}
	}
	direct := quantile(firsts[0], 0.5)
	fmt.Printf("   %-12s first byte %s, %s of 1 MiB (heads take %s)\n", "the mirror", ms(direct), ms(quantile(longer, 0.5)), delay)
	for i, p := range servers {
		first := quantile(firsts[i+1], 0.5)
		fmt.Printf("   %-12s first byte %s, added %s, and %s to that of 1 MiB\n", p.name, ms(first), ms(first-direct), ms(first-quantile(longer, 0.5)))
	}
	if len(fetched) > 0 {
		fmt.Printf("   cache-proxy has fetched %.3f of the size at most, in %.0f bodies, when the whole was asked for next\n", quantile(fetched, 1), quantile(bodies, 1))
	}
	return nil
}
