package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/bench/internal/object"
)

// many is l: a store of a thousand entries beside one of very many: start, first
// hit, memory, random hits. The stores are made by bench/fill, once.
func (b *bench) many() error {
	if b.stores == "" || b.proxy == "" {
		fmt.Println("l. not without -stores")
		return nil
	}
	fmt.Printf("l. 4 KiB entries: random hits by 16 clients, storage.local.memory 0\n")
	counts := []int64{1000, b.entries}
	rates, listening, firsts := make([][]float64, 2), make([][]time.Duration, 2), make([][]time.Duration, 2)
	memory := make([][]float64, 2)
	for _, n := range counts {
		if err := b.fillStore(n); err != nil {
			return err
		}
	}
	for range b.rounds {
		for i, n := range counts {
			start := time.Now()
			p, err := b.startProxy(fmt.Sprintf("storage: {local: {path: '%s', memory: 0}}\n", b.storeOf(n)))
			if err != nil {
				return err
			}
			listening[i] = append(listening[i], time.Since(start))
			c := newClient(b.pattern)
			g := c.get(p.url() + object.Many(4<<10, rand.Int64N(n)))
			c.close()
			if g.err != nil {
				return g.err
			}
			firsts[i] = append(firsts[i], g.end.Sub(start))
			for range 2 { // both are in memory then, as far as there is some; the first may take long, for the kernel to forget some
				if err := touch(b.storeOf(n)); err != nil {
					return err
				}
			}
			if _, err := b.randomHits(p, n); err != nil {
				return err
			}
			rate, err := b.randomHits(p, n)
			if err != nil {
				return err
			}
			rates[i], memory[i] = append(rates[i], rate), append(memory[i], p.peak())
			p.stop()
		}
	}
	for i, n := range counts {
		rate := quantile(rates[i], 0.5)
		fmt.Printf("   %8d  listening %s  first hit %s  %6.0f hits/s  %.2f of %d's  peak %.0f MiB\n", n, ms(quantile(listening[i], 0.5)), ms(quantile(firsts[i], 0.5)),
			rate, rate/quantile(rates[0], 0.5), counts[0], quantile(memory[i], 1))
	}
	return nil
}

// touch reads every file of a store, and what is known of it.
func touch(store string) error {
	names := make(chan string)
	errs := make(chan error, 8)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			attribute := make([]byte, 4<<10)
			for name := range names {
				_, err := os.ReadFile(name)
				if err == nil {
					_, err = unix.Getxattr(name, "user.cache-proxy", attribute)
				}
				if err != nil {
					select {
					case errs <- err:
					default: // one says enough
					}
				}
			}
		})
	}
	err := filepath.WalkDir(filepath.Join(store, "m"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names <- name
		}
		return err
	})
	close(names)
	wg.Wait()
	close(errs)
	return errors.Join(err, <-errs)
}

func (b *bench) storeOf(n int64) string {
	return filepath.Join(b.stores, strconv.FormatInt(n, 10))
}

// fillStore makes a store of n entries, if it is not there.
func (b *bench) fillStore(n int64) error {
	dir := b.storeOf(n)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if out, err := exec.Command(b.fill, "-dir", dir+".new", "-n", strconv.FormatInt(n, 10)).CombinedOutput(); err != nil {
		return fmt.Errorf("fill %s: %w: %s", dir, err, strings.TrimSpace(string(out)))
	}
	return os.Rename(dir+".new", dir)
}

// randomHits is how many random entries 16 clients get a second, in all 8 000.
func (b *bench) randomHits(p *process, n int64) (float64, error) {
	const clients, each = 16, 500
	errs := make(chan error, clients)
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			c := newClient(b.pattern)
			defer c.close()
			for range each {
				if g := c.get(p.url() + object.Many(4<<10, rand.Int64N(n))); g.err != nil {
					errs <- g.err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	close(errs)
	return clients * each / took.Seconds(), <-errs
}
