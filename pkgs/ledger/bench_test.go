package ledger_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

const million = 1_000_000

// teachAll teaches facts through a run, as an index does.
func teachAll(t testing.TB, l *ledger.Ledger, name string, facts func(teach func(string, exchange.Fact))) {
	t.Helper()
	e := &exchange.Entry{Status: 200, Received: time.Now()}
	x := &index{entry: e, body: func() io.Reader { return strings.NewReader("") }}
	over := make(chan struct{})
	l.Learn(x, &exchange.Request{Key: key(name)}, e, "/", func(_ io.Reader, teach func(string, exchange.Fact)) error {
		defer close(over)
		facts(teach)
		return nil
	})
	<-over
}

type taught struct {
	path string
	fact exchange.Fact
}

func facts(n int) []taught {
	all := make([]taught, n)
	for i := range all {
		k, f := nth(i)
		all[i] = taught{k.Path, f}
	}
	return all
}

// BenchmarkLearn is an index of 60 000 facts: new, and again.
func BenchmarkLearn(b *testing.B) {
	all := facts(60_000)
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("again=%v", again), func(b *testing.B) {
			l := open(b, ledger.Options{})
			run := 0
			learn := func() {
				run++
				teachAll(b, l, fmt.Sprint("/index/", run), func(teach func(string, exchange.Fact)) {
					for i, f := range all {
						if !again {
							f.fact.Size = int64(run*len(all) + i)
						}
						teach(f.path, f.fact)
					}
				})
			}
			learn()
			for b.Loop() {
				learn()
			}
		})
	}
}

func BenchmarkTeach(b *testing.B) {
	l := open(b, ledger.Options{})
	all := facts(60_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := all[i%len(all)]
		f.fact.Size = int64(i + 1)
		l.Teach(key(f.path), f.fact)
	}
}

func BenchmarkLookup(b *testing.B) {
	l := open(b, ledger.Options{})
	for i := range million {
		l.Teach(nth(i))
	}
	all := facts(2 * million / 10)
	for _, known := range []bool{true, false} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k := exchange.Key{Hub: "apt", Path: all[i%len(all)].path}
				if !known {
					k.Hub = "none"
				}
				if _, ok := l.Lookup(b.Context(), k); ok != known {
					b.Fatal(k)
				}
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				l.Lookup(b.Context(), exchange.Key{Hub: "apt", Path: all[i%len(all)].path})
			}
		})
	})
}

// BenchmarkOpen is a start with a million facts.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "ledger")
	l := open(b, ledger.Options{Path: path})
	for i := range million {
		l.Teach(nth(i))
	}
	require.NoError(b, l.Close())
	for b.Loop() {
		l, err := ledger.Open(ledger.Options{Path: path})
		require.NoError(b, err)
		require.NoError(b, l.Close())
	}
}
