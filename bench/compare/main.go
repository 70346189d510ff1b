// Command compare measures cache-proxy beside nginx's proxy_cache, on loopback,
// in one interleaved run. bench/run builds and starts it; README.md says what
// the letters mean.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/bench/internal/object"
)

// A bench is one run.
type bench struct {
	*lab
	pattern object.Pattern
	rounds  int
}

func main() {
	l := &lab{}
	flag.StringVar(&l.proxy, "proxy", "", "cache-proxy `binary`; absent: only nginx and the stubs")
	flag.StringVar(&l.stub, "stub", "", "stub `binary`")
	flag.StringVar(&l.nginx, "nginx", "/usr/sbin/nginx", "nginx `binary`")
	flag.StringVar(&l.dir, "dir", "", "`directory` for all that is written; it must exist")
	flag.StringVar(&l.fill, "fill", "", "fill `binary`")
	flag.StringVar(&l.stores, "stores", "", "`directory` of the stores of l, which stay; absent: no l")
	flag.Int64Var(&l.entries, "entries", 1_000_000, "how many `entries` the large one has")
	rounds := flag.Int("rounds", 3, "how often each is measured; the median counts")
	limit := flag.Duration("limit", 10*time.Minute, "the whole run ends then")
	flag.Parse()
	os.Exit(run(l, *rounds, *limit, flag.Args()))
}

func run(l *lab, rounds int, limit time.Duration, letters []string) int {
	b := &bench{lab: l, pattern: object.NewPattern(), rounds: rounds}
	cases := []struct {
		letter string
		run    func() error
	}{
		{"a", b.firstByte}, {"b", b.big}, {"c", b.shared}, {"d", b.small}, {"e", b.hits},
		{"f", b.near}, {"g", b.fail}, {"h", b.parts}, {"i", b.misses}, {"j", b.large}, {"k", b.middle}, {"l", b.many}, {"m", b.crowded},
	}
	defer l.Close()
	// The measurement runs aside, so that a signal or the limit still ends all that was started.
	ended := make(chan int, 1)
	go func() {
		failed := 0
		for _, c := range cases {
			if len(letters) > 0 && !strings.Contains(strings.Join(letters, ""), c.letter) {
				continue
			}
			if err := c.run(); err != nil {
				fmt.Printf("%s: %v\n", c.letter, err)
				failed = 1
			}
			l.Close()
		}
		ended <- failed
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	select {
	case failed := <-ended:
		return failed
	case <-signals:
	case <-time.After(limit):
		fmt.Println("the limit is reached")
	}
	return 1
}
