package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// sent is the requests and bytes of some stubs so far, together.
func sent(stubs []*process) (requests, bytes int64, err error) {
	for _, p := range stubs {
		n, _, size, err := stats(p)
		if err != nil {
			return 0, 0, err
		}
		requests += n
		bytes += size
	}
	return requests, bytes, nil
}

// near is f: what clients get of mirrors at different distances, one of which is dead.
func (b *bench) near() error {
	const size, warm = 16 << 10, 20
	fmt.Println("f. 16 KiB misses one by one, mirrors at 20, 60 and 200 ms and one dead: time to first byte after 20 requests")
	for _, dead := range []string{"silent", "refuses"} {
		mirrors, err := b.stubs([]string{"-delay", "200ms"}, []string{"-hang"}, []string{"-delay", "20ms"}, []string{"-delay", "60ms"})
		if err != nil {
			return err
		}
		if dead == "refuses" {
			mirrors[1].stop()
		}
		proxy, err := b.startProxy("", mirrors...)
		if err != nil {
			return err
		}
		alive := append(mirrors[:1:1], mirrors[2:]...)
		if dead == "silent" {
			alive = mirrors
		}
		if err := b.distances(dead, proxy, mirrors[2], alive, warm, 200*b.rounds, size); err != nil {
			return err
		}
		b.Close()
	}
	return nil
}

func (b *bench) distances(dead string, proxy, fastest *process, alive []*process, warm, n, size int) error {
	clients := []*client{newClient(b.pattern), newClient(b.pattern)}
	defer clients[0].close()
	defer clients[1].close()
	var own, through []time.Duration
	var before int64
	for seed := range warm + n {
		if seed == warm {
			var err error
			if before, _, err = sent(alive); err != nil {
				return err
			}
			own, through = nil, nil
		}
		for i, p := range []*process{fastest, proxy} {
			g := clients[i].get(fmt.Sprintf("%s/f/%d-%d", p.url(), size, seed))
			if g.err != nil {
				return g.err
			}
			if i == 0 {
				own = append(own, g.ttfb())
			} else {
				through = append(through, g.ttfb())
			}
		}
	}
	after, _, err := sent(alive)
	if err != nil {
		return err
	}
	asked := float64(after-before-int64(n)) / float64(n) // what went to the fastest directly does not count
	ratio := func(q float64) float64 { return float64(quantile(through, q)) / float64(quantile(own, q)) }
	fmt.Printf("   dead one %-8s median %s (%.2f of the fastest's)  p99 %s (%.2f)  %.3f requests a miss, of %d\n", dead,
		ms(quantile(through, 0.5)), ratio(0.5), ms(quantile(through, 0.99)), ratio(0.99), asked, n)
	return nil
}

// fail is g, rounds of two ways to fetch: the mirror that sends a body dies, stalls or crawls in the middle of it.
func (b *bench) fail() error {
	const size = 200 * mib
	total := 200 * b.rounds / 3
	fmt.Printf("g. %d rounds of a 200 MiB miss, three mirrors at 200 MiB/s; the one that sends most fails at a random byte\n", total)
	mirrors, err := b.stubs([]string{"-rate", strconv.Itoa(200 * mib)}, []string{"-rate", strconv.Itoa(200 * mib), "-delay", "10ms"}, []string{"-rate", strconv.Itoa(200 * mib), "-delay", "20ms"})
	if err != nil {
		return err
	}
	for i, way := range []struct{ name, config string }{{"one mirror", "race: {stripe: {min-size: 0}}\n"}, {"in parts", ""}} {
		proxy, err := b.startProxy(way.config, mirrors...)
		if err != nil {
			return err
		}
		if err := b.outlast(way.name, proxy, mirrors, i*total, total/2, size); err != nil {
			return err
		}
		proxy.stop()
	}
	return nil
}

// faults are what a mirror does in the middle of a body; "" is nothing.
var faults = []string{"die", "stall", "crawl", ""}

// outlast is the rounds of one way to fetch. What a fault adds is measured
// against the median of the rounds without one.
func (b *bench) outlast(name string, proxy *process, mirrors []*process, first, n int, size int64) error {
	took := map[string][]time.Duration{}
	lost, over := 0, []float64{}
	for round := range n {
		fault := faults[round%len(faults)]
		_, before, err := sent(mirrors)
		if err != nil {
			return err
		}
		end := make(chan got, 1)
		go func() {
			c := newClient(b.pattern)
			defer c.close()
			end <- c.get(fmt.Sprintf("%s/g/%d-%d", proxy.url(), size, first+round))
		}()
		at := rand.Int64N(size * 9 / 10)
		var failing *process
		if fault != "" {
			if failing, err = b.await(mirrors, before+at); err == nil {
				err = setFault(failing, fault)
			}
		}
		g := <-end
		if failing != nil {
			if err := setFault(failing, ""); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if g.err != nil {
			lost++
			fmt.Printf("   round %d, %s at byte %d: %v\n", round, fault, at, g.err)
			continue
		}
		_, after, err := sent(mirrors)
		if err != nil {
			return err
		}
		took[fault] = append(took[fault], g.end.Sub(g.start))
		over = append(over, float64(after-before)/float64(size))
		for range 50 { // or the disk is full soon; it may still be committed
			if err = os.RemoveAll(filepath.Join(proxy.dir, "data", "g")); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			return err
		}
	}
	well := quantile(took[""], 0.5)
	fmt.Printf("   %-10s %d failed clients of %d  undisturbed %s  bytes fetched: median %.3f of the size, worst %.3f\n", name, lost, n, ms(well), quantile(over, 0.5), quantile(over, 1))
	for _, fault := range faults {
		word := fault
		if word == "" {
			word = "none" // what the machine adds by itself
		}
		fmt.Printf("   %-10s %-6s adds: median %s  worst %s\n", name, word, ms(quantile(took[fault], 0.5)-well), ms(quantile(took[fault], 1)-well))
	}
	return nil
}

// await waits until the mirrors have sent so many bytes in all, and is the one
// that has sent the most of late.
func (b *bench) await(mirrors []*process, bytes int64) (*process, error) {
	var was []int64
	for range 100_000 {
		var all int64
		now := make([]int64, len(mirrors))
		for i, m := range mirrors {
			var err error
			if _, _, now[i], err = stats(m); err != nil {
				return nil, err
			}
			all += now[i]
		}
		if was == nil {
			was = now
		}
		if all >= bytes {
			most := 0
			for i := range now {
				if now[i]-was[i] > now[most]-was[most] {
					most = i
				}
			}
			return mirrors[most], nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil, fmt.Errorf("no such byte was sent")
}

func setFault(p *process, mode string) error {
	resp, err := http.Get(p.url() + "/-/fault?mode=" + mode)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// parts is h: a gibibyte over four mirrors, as a multiple of over one.
func (b *bench) parts() error {
	const size, rate = 1 << 30, 50 * mib
	fmt.Println("h. 1 GiB miss over mirrors at 50 MiB/s each")
	fast, slow := []string{"-rate", strconv.Itoa(rate)}, []string{"-rate", strconv.Itoa(mib)}
	var one float64
	for _, c := range []struct {
		name  string
		stubs [][]string
	}{
		{"one", [][]string{fast}},
		{"four", [][]string{fast, fast, fast, fast}},
		{"four, one at 1 MiB/s", [][]string{fast, fast, slow, fast}},
		{"four, the first at 1 MiB/s", [][]string{slow, fast, fast, fast}},
	} {
		var speeds, over []float64
		for round := range min(b.rounds, 3) {
			mirrors, err := b.stubs(c.stubs...)
			if err != nil {
				return err
			}
			proxy, err := b.startProxy("", mirrors...)
			if err != nil {
				return err
			}
			client := newClient(b.pattern)
			g := client.get(fmt.Sprintf("%s/h/%d-%d", proxy.url(), size, round))
			client.close()
			if g.err != nil {
				return g.err
			}
			_, bytes, err := sent(mirrors)
			if err != nil {
				return err
			}
			speeds = append(speeds, size/mib/g.end.Sub(g.start).Seconds())
			over = append(over, float64(bytes)/size)
			b.Close()
		}
		speed := quantile(speeds, 0.5)
		if one == 0 {
			one = speed
		}
		fmt.Printf("   %-27s %4.0f MiB/s  %.2f of one  bytes fetched: worst %.3f of the size\n", c.name, speed, speed/one, quantile(over, 1))
	}
	return nil
}
