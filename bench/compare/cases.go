package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const mib = 1 << 20

// servers starts nginx, and cache-proxy where there is a binary of it.
func (b *bench) servers(config string, nginxOf []*process, mirrors ...*process) ([]*process, error) {
	nginx, err := b.startNginx(nginxOf...)
	if err != nil {
		return nil, err
	}
	if b.proxy == "" {
		return []*process{nginx}, nil
	}
	proxy, err := b.startProxy(config, mirrors...)
	if err != nil {
		return nil, err
	}
	return []*process{nginx, proxy}, nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

func (b *bench) stubs(args ...[]string) ([]*process, error) {
	var all []*process
	for _, a := range args {
		p, err := b.startStub(a...)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// firstByte is a: what a cold miss adds to the fastest of three mirrors.
func (b *bench) firstByte() error {
	fmt.Println("a. cold miss, 64 KiB, mirrors at 5, 20 and 40 ms: time to first byte")
	mirrors, err := b.stubs([]string{"-delay", "20ms"}, []string{"-delay", "5ms"}, []string{"-delay", "40ms"})
	if err != nil {
		return err
	}
	fastest := mirrors[1]
	servers, err := b.servers("", mirrors[1:2], mirrors...)
	if err != nil {
		return err
	}
	targets := append([]*process{fastest}, servers...)
	times := make([][]time.Duration, len(targets))
	clients := make([]*client, len(targets))
	for i := range clients {
		clients[i] = newClient(b.pattern)
		defer clients[i].close()
	}
	n := 60 * b.rounds
	for seed := range n {
		for i, p := range targets {
			g := clients[i].get(fmt.Sprintf("%s/a/%d-%d", p.url(), 64<<10, seed))
			if g.err != nil {
				return g.err
			}
			times[i] = append(times[i], g.ttfb())
		}
	}
	direct := quantile(times[0], 0.5)
	fmt.Printf("   %-12s median %s  p99 %s\n", "the mirror", ms(direct), ms(quantile(times[0], 0.99)))
	for i, p := range servers {
		median := quantile(times[i+1], 0.5)
		fmt.Printf("   %-12s median %s  p99 %s  added %s\n", p.name, ms(median), ms(quantile(times[i+1], 0.99)), ms(median-direct))
	}
	return nil
}

// big is b: a gibibyte, cold: as fast as it goes, and over what a fast network gives.
func (b *bench) big() error {
	fmt.Println("b. 1 GiB cold miss, mirror without limit (direct is memory to memory)")
	if err := b.gibibyte(b.rounds, false); err != nil {
		return err
	}
	b.Close()
	fmt.Println("   the same, thrown away by its client")
	if err := b.gibibyte(b.rounds, true); err != nil {
		return err
	}
	b.Close()
	fmt.Println("   mirror at 200 MiB/s")
	return b.gibibyte(min(b.rounds, 2), false, "-rate", strconv.Itoa(200*mib))
}

func (b *bench) gibibyte(rounds int, blind bool, stub ...string) error {
	const size = 1 << 30
	mirrors, err := b.stubs(stub)
	if err != nil {
		return err
	}
	speeds := map[string][]float64{}
	peaks, cpus := map[string][]float64{}, map[string][]float64{}
	var order []string
	for seed := range rounds {
		servers, err := b.servers("", mirrors, mirrors...)
		if err != nil {
			return err
		}
		for _, p := range append([]*process{mirrors[0]}, servers...) {
			name := p.name
			if seed == 0 {
				order = append(order, name)
			}
			c := newClient(b.pattern)
			c.blind = blind
			before := p.cpu()
			g := c.get(fmt.Sprintf("%s/b/%d-%d", p.url(), size, seed))
			c.close()
			if g.err != nil {
				return g.err
			}
			speeds[name] = append(speeds[name], float64(size)/mib/g.end.Sub(g.start).Seconds())
			peaks[name] = append(peaks[name], p.peak())
			cpus[name] = append(cpus[name], (p.cpu() - before).Seconds())
		}
		for _, p := range servers {
			p.stop()
		}
	}
	direct := quantile(speeds[order[0]], 0.5)
	for i, name := range order {
		speed := quantile(speeds[name], 0.5)
		if i == 0 {
			name = "direct"
		}
		fmt.Printf("   %-12s %5.0f MiB/s  %.2f of direct", name, speed, speed/direct)
		if i > 0 {
			fmt.Printf("  %.2f of nginx  peak %.0f MiB  cpu %.2f s/GiB", speed/quantile(speeds["nginx"], 0.5), quantile(peaks[order[i]], 1), quantile(cpus[order[i]], 0.5))
		}
		fmt.Println()
	}
	return nil
}

// shared is c: a hundred clients, one cold object.
func (b *bench) shared() error {
	fmt.Println("c. 100 clients, one cold 100 MiB object, mirror at 50 MiB/s; all of them compare, or all but one throw away")
	for _, blind := range []bool{false, true} {
		for _, name := range []string{"nginx", "cache-proxy"} {
			if name == "cache-proxy" && b.proxy == "" {
				continue
			}
			var alone, together []float64
			for round := range b.rounds {
				one, all, err := b.share(name, round, blind)
				if err != nil {
					return err
				}
				b.Close()
				alone, together = append(alone, one), append(together, all)
			}
			one, all := quantile(alone, 0.5), quantile(together, 0.5)
			fmt.Printf("   %-12s %-12s one client alone %.2f s, all of a hundred %.2f s: %.2f\n", name, manner(blind), one, all, all/one)
		}
	}
	return nil
}

func manner(blind bool) string {
	if blind {
		return "throw away"
	}
	return "compare"
}

// share is how long one client alone takes for a cold object, and how long until the last
// of a hundred has another, in seconds.
func (b *bench) share(name string, round int, blind bool) (alone, together float64, err error) {
	mirrors, err := b.stubs([]string{"-rate", strconv.Itoa(50 * mib)})
	if err != nil {
		return 0, 0, err
	}
	var p *process
	if name == "nginx" {
		p, err = b.startNginx(mirrors...)
	} else {
		p, err = b.startProxy("", mirrors...)
	}
	if err != nil {
		return 0, 0, err
	}
	one := newClient(b.pattern)
	one.blind = blind
	g := one.get(fmt.Sprintf("%s/c/one/%d-%d", p.url(), 100*mib, round))
	one.close()
	if g.err != nil {
		return 0, 0, g.err
	}
	_, before, _, err := stats(mirrors[0])
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	all := crowd(b.pattern, 100, blind, same(fmt.Sprintf("%s/c/%d-%d", p.url(), 100*mib, round), 100))
	took := time.Since(start)
	if n, err := failures(all); n > 0 {
		return 0, 0, fmt.Errorf("%s: %d of %d clients failed: %w", name, n, len(all), err)
	}
	_, bodies, _, err := stats(mirrors[0])
	if err != nil {
		return 0, 0, err
	}
	var firsts []time.Duration
	for _, g := range all {
		firsts = append(firsts, g.ttfb())
	}
	fmt.Printf("   %-12s %-12s upstream bodies %d  first byte: first %s, median %s, spread %s  all done %.2f s  peak %.0f MiB\n", name, manner(blind), bodies-before,
		ms(quantile(firsts, 0)), ms(quantile(firsts, 0.5)), ms(quantile(firsts, 1)-quantile(firsts, 0)), took.Seconds(), p.peak())
	return g.end.Sub(g.start).Seconds(), took.Seconds(), nil
}

// small is d: many small misses over five mirrors, and one mirror that hangs.
func (b *bench) small() error {
	fmt.Println("d. 50 clients, five mirrors, 4 KiB misses")
	const count = 3000
	mirrors, err := b.stubs(nil, nil, nil, nil, nil)
	if err != nil {
		return err
	}
	servers, err := b.servers("", mirrors, mirrors...)
	if err != nil {
		return err
	}
	rates := make([][]float64, len(servers))
	for round := range b.rounds {
		for i, p := range servers {
			start := time.Now()
			all := crowd(b.pattern, 50, false, counted(p.url()+"/d", 4096, round*count, count))
			rates[i] = append(rates[i], count/time.Since(start).Seconds())
			if n, err := failures(all); n > 0 {
				return fmt.Errorf("%s: %d of %d failed: %w", p.name, n, len(all), err)
			}
		}
	}
	for i, p := range servers {
		rate := quantile(rates[i], 0.5)
		fmt.Printf("   %-12s %5.0f misses/s  %.2f of nginx  peak %.0f MiB\n", p.name, rate, rate/quantile(rates[0], 0.5), p.peak())
	}
	if b.proxy == "" {
		return nil
	}
	return b.hung(mirrors[0])
}

// hung measures one path while many requests for another hang.
func (b *bench) hung(good *process) error {
	mute, err := b.startStub("-hang")
	if err != nil {
		return err
	}
	p, err := b.startProxy(fmt.Sprintf(`upstream:
- {server: '%s', path: {match: '^/hung/(.*)', replace: '/$1'}}
- {server: '%s', path: {match: '^/well/(.*)', replace: '/$1'}}
`, mute.url(), good.url()))
	if err != nil {
		return err
	}
	for i := range 40 {
		go newClient(b.pattern).get(fmt.Sprintf("%s/hung/%d-%d", p.url(), 4096, i)) // it ends with the proxy
	}
	for range 200 {
		if n, _, _, err := stats(mute); err == nil && n > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	c := newClient(b.pattern)
	defer c.close()
	var times []time.Duration
	for i := range 200 {
		g := c.get(fmt.Sprintf("%s/well/%d-%d", p.url(), 4096, i))
		if g.err != nil {
			return g.err
		}
		times = append(times, g.ttfb())
	}
	fmt.Printf("   40 requests hang: misses elsewhere take median %s, worst %s\n", ms(quantile(times, 0.5)), ms(quantile(times, 1)))
	return nil
}

// hits is e: what wrk gets of warm objects, with access logs.
func (b *bench) hits() error {
	fmt.Println("e. hits, wrk, 2 threads, 64 connections kept alive, access logs on")
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return err
	}
	mirrors, err := b.stubs(nil)
	if err != nil {
		return err
	}
	b.logging = true
	defer func() { b.logging = false }()
	servers, err := b.servers("", mirrors, mirrors...)
	if err != nil {
		return err
	}
	if b.proxy != "" {
		alone, err := b.startProxy(fmt.Sprintf("storage: {local: {path: '%s', memory: 0}}\n", filepath.Join(b.dir, "alone")), mirrors...)
		if err != nil {
			return err
		}
		alone.name = "without memory"
		servers = append(servers, alone)
	}
	bare, err := b.startStub("-bare")
	if err != nil {
		return err
	}
	bare.name = "bare net/http"
	servers = append(servers, bare)
	// A field that the front does not know leads to net/http.
	subjects := []subject{{servers[0], nil}}
	for _, p := range servers[1:] {
		subjects = append(subjects, subject{p, nil})
		if p.name == "cache-proxy" {
			subjects = append(subjects, subject{p, []string{"-H", "Referer: http://example.org/"}})
		}
	}
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		rates, cpus, slowest := make([][]float64, len(subjects)), make([][]float64, len(subjects)), make([][]time.Duration, len(subjects))
		for range b.rounds {
			for i, p := range subjects {
				address := fmt.Sprintf("%s/e/%d-1", p.url(), size)
				if g := newClient(b.pattern).get(address); g.err != nil {
					return g.err
				}
				before := p.cpu()
				rate, p99, err := load(wrk, address, 64, p.fields...)
				if err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
				rates[i], slowest[i] = append(rates[i], rate), append(slowest[i], p99)
				cpus[i] = append(cpus[i], float64((p.cpu()-before).Microseconds())/(rate*wrkSeconds))
			}
		}
		for i, p := range subjects {
			rate := quantile(rates[i], 0.5)
			fmt.Printf("   %3d KiB  %-14s %7.0f req/s  %.2f of nginx  p99 %s  cpu %.1f µs/req (least %.1f)  peak %.0f MiB\n", size>>10, p.title(), rate,
				rate/quantile(rates[0], 0.5), ms(quantile(slowest[i], 0.5)), quantile(cpus[i], 0.5), quantile(cpus[i], 0), p.peak())
		}
	}
	return nil
}

// A subject is a server that is asked with some options of wrk.
type subject struct {
	*process
	fields []string
}

func (s subject) title() string {
	if s.fields != nil {
		return "net/http alone"
	}
	return s.name
}

const wrkSeconds = 4

var perSecond, p99 = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`), regexp.MustCompile(`99%\s+([0-9.]+[mu]?s)`)

// load is the requests a second that wrk reports over so many connections, and how
// long the slowest hundredth takes; an answer that is no 200, or takes ten seconds, is an error.
func load(wrk, address string, connections int, more ...string) (rate float64, slowest time.Duration, err error) {
	args := append([]string{"--latency", "--timeout", "10s", "-t2", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", wrkSeconds)}, more...)
	out, err := exec.Command(wrk, append(args, address)...).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, 0, fmt.Errorf("wrk: %s", out)
	}
	m, q := perSecond.FindSubmatch(out), p99.FindSubmatch(out)
	if m == nil || q == nil {
		return 0, 0, fmt.Errorf("wrk reports no rate: %s", out)
	}
	if rate, err = strconv.ParseFloat(string(m[1]), 64); err != nil {
		return 0, 0, err
	}
	slowest, err = time.ParseDuration(string(q[1]))
	return rate, slowest, err
}
