package ledger_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

func open(t testing.TB, o ledger.Options) *ledger.Ledger {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "ledger")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l, err := ledger.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func key(path string) exchange.Key { return exchange.Key{Hub: "apt", Path: path} }

func digest(algorithm string, n int, digit string) exchange.Digest {
	return exchange.Digest(algorithm + ":" + strings.Repeat(digit, 2*n))
}

func fact(size int64, d exchange.Digest) exchange.Fact { return exchange.Fact{Size: size, Digest: d} }

// nth is the fact number i of many.
func nth(i int) (exchange.Key, exchange.Fact) {
	path := fmt.Sprintf("/pool/main/l/left-pad-%d/left-pad_%d_amd64.deb", i, i)
	sum := sha256.Sum256([]byte(path))
	return key(path), exchange.Fact{Size: int64(i) + 1, Digest: exchange.NewDigest("sha256", sum[:])}
}

func TestTeach(t *testing.T) {
	type facts []exchange.Fact
	sha512, sha384 := digest("sha512", 64, "a"), digest("sha384", 48, "b")
	sha256, other := digest("sha256", 32, "c"), digest("sha256", 32, "d")
	sha1, md5 := digest("sha1", 20, "e"), digest("md5", 16, "f")
	for _, c := range []struct {
		name   string
		taught facts
		want   exchange.Fact // zero: nothing is known
	}{
		{"nothing", nil, exchange.Fact{}},
		{"empty", facts{{}}, exchange.Fact{}},
		{"a size that is none", facts{{Size: -1}}, exchange.Fact{}},
		{"sha512", facts{fact(5, sha512)}, exchange.Fact{Size: 5, Digest: sha512}},
		{"sha384", facts{fact(5, sha384)}, exchange.Fact{Size: 5, Digest: sha384}},
		{"sha256", facts{fact(5, sha256)}, exchange.Fact{Size: 5, Digest: sha256}},
		{"sha1 where there is nothing else", facts{fact(5, sha1)}, exchange.Fact{Size: 5, Digest: sha1}},
		{"md5 where there is nothing else", facts{fact(5, md5)}, exchange.Fact{Size: 5, Digest: md5}},
		{"a size alone", facts{{Size: 5}}, exchange.Fact{Size: 5}},
		{"a digest alone", facts{{Digest: sha256}}, exchange.Fact{Digest: sha256}},
		{"a large size", facts{fact(1<<56-1, sha256)}, exchange.Fact{Size: 1<<56 - 1, Digest: sha256}},
		{"a size beyond all", facts{fact(1<<56, sha256)}, exchange.Fact{Digest: sha256}},
		{"an unknown algorithm", facts{fact(5, "crc32:00000000")}, exchange.Fact{Size: 5}},
		{"a digest that is cut", facts{fact(5, sha256[:20])}, exchange.Fact{Size: 5}},
		{"a digest that is none", facts{fact(5, digest("sha256", 32, "x"))}, exchange.Fact{Size: 5}},
		{"the last holds", facts{fact(5, sha256), fact(5, other)}, exchange.Fact{Size: 5, Digest: other}},
		{"weak yields to strong", facts{fact(5, sha256), fact(5, sha1), fact(5, md5), {Size: 5}}, exchange.Fact{Size: 5, Digest: sha256}},
		{"strong replaces weak", facts{fact(5, md5), fact(5, sha256)}, exchange.Fact{Size: 5, Digest: sha256}},
		{"weak of another size holds", facts{fact(5, sha256), fact(6, sha1)}, exchange.Fact{Size: 6, Digest: sha1}},
		{"the size is kept", facts{fact(5, sha256), fact(0, sha256)}, exchange.Fact{Size: 5, Digest: sha256}},
		{"the size is learned", facts{fact(0, sha256), fact(5, sha256)}, exchange.Fact{Size: 5, Digest: sha256}},
		{"the size is another", facts{fact(4, sha256), fact(5, sha256)}, exchange.Fact{Size: 5, Digest: sha256}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger")
			check := func(l *ledger.Ledger) {
				got, ok := l.Lookup(t.Context(), key("/a"))
				assert.Equal(t, c.want, got)
				assert.Equal(t, c.want != exchange.Fact{}, ok)
			}
			l := open(t, ledger.Options{Path: path, Entries: 1000})
			for _, f := range c.taught {
				l.Teach(key("/a"), f)
			}
			check(l)
			_, ok := l.Lookup(t.Context(), key("/b"))
			assert.False(t, ok)
			require.NoError(t, l.Close())
			check(open(t, ledger.Options{Path: path, Entries: 1000}))
		})
	}
}

func TestKeys(t *testing.T) {
	l := open(t, ledger.Options{})
	keys := []exchange.Key{
		{Hub: "a", Path: "/b"}, {Hub: "a", Path: "/b", Variant: "c"}, {Hub: "a", Path: "/bc"},
		{Hub: "a/", Path: "b"}, {Hub: "", Path: "a/b"}, {Hub: "a", Path: "/" + strings.Repeat("b", 4000)},
	}
	for i, k := range keys {
		l.Teach(k, exchange.Fact{Size: int64(i) + 1})
	}
	for i, k := range keys {
		f, _ := l.Lookup(t.Context(), k)
		assert.Equal(t, int64(i)+1, f.Size, "%v", k)
	}
	long := key("/" + strings.Repeat("b", 4096))
	l.Teach(long, exchange.Fact{Size: 1})
	_, ok := l.Lookup(t.Context(), long)
	assert.False(t, ok, "too long")
}

func TestNil(t *testing.T) {
	var l *ledger.Ledger
	l.Teach(key("/a"), exchange.Fact{Size: 1})
	l.Learning("apt", "/")()
	l.Learn(nil, nil, nil, "/", nil)
	_, ok := l.Lookup(t.Context(), key("/a"))
	assert.False(t, ok)
	assert.NoError(t, l.Close())
}

func TestClosed(t *testing.T) {
	l := open(t, ledger.Options{})
	l.Teach(key("/a"), exchange.Fact{Size: 1})
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	l.Teach(key("/b"), exchange.Fact{Size: 1})
	_, ok := l.Lookup(t.Context(), key("/a"))
	assert.False(t, ok)
}

// A ledger is compared with a map while it is taught, forgets and is opened anew.
func TestProperty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	const entries = 20 << 10 // 20 segments
	l := open(t, ledger.Options{Path: path, Entries: entries})
	rnd := rand.New(rand.NewPCG(1, 2))
	model := map[int]exchange.Fact{}
	last := map[int]int{} // when a key was taught
	known := 0
	for step := range 100_000 {
		i := rnd.IntN(30_000)
		k, f := nth(i)
		f.Size += int64(rnd.IntN(2)) // sometimes another one
		l.Teach(k, f)
		model[i], last[i] = f, step
		if step%25_000 == 24_999 {
			require.NoError(t, l.Close())
			l = open(t, ledger.Options{Path: path, Entries: entries})
		}
		j := rnd.IntN(30_000)
		k, _ = nth(j)
		got, ok := l.Lookup(t.Context(), k)
		if ok {
			known++
			require.Equal(t, model[j], got, "what is known is what was taught last")
		} else if at, taught := last[j]; taught {
			require.Greater(t, step-at, entries/2-2048, "only what is old is forgotten")
		}
	}
	assert.Greater(t, known, 30_000)
	s, err := os.Stat(path)
	require.NoError(t, err)
	assert.LessOrEqual(t, s.Size(), int64(4096+entries*64))
}

// What is taught again and again stays, whatever else comes.
func TestTaughtAgainStays(t *testing.T) {
	const entries = 8 << 10
	l := open(t, ledger.Options{Entries: entries})
	k, f := nth(0)
	for i := 1; i < 5*entries; i++ {
		if i%1000 == 1 {
			l.Teach(k, f)
		}
		l.Teach(nth(i))
	}
	got, ok := l.Lookup(t.Context(), k)
	assert.True(t, ok)
	assert.Equal(t, f, got)
	_, ok = l.Lookup(t.Context(), key("/pool/main/l/left-pad-1/left-pad_1_amd64.deb"))
	assert.False(t, ok, "the oldest goes")
	k, _ = nth(5*entries - 1)
	_, ok = l.Lookup(t.Context(), k)
	assert.True(t, ok, "and leaves its room")
}

func TestConcurrent(t *testing.T) {
	l := open(t, ledger.Options{Entries: 4 << 10})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 6000 {
				l.Teach(nth(i))
				k, want := nth(i / 2)
				if got, ok := l.Lookup(context.Background(), k); ok && got != want {
					assert.Equal(t, want, got)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestKnown(t *testing.T) {
	l := open(t, ledger.Options{Wait: time.Hour})
	done := l.Learning("apt", "/")
	defer done()
	_, ok := l.Known(key("/a"))
	assert.False(t, ok, "and that at once, though an index is being read")
	l.Teach(key("/a"), fact(3, ""))
	got, ok := l.Known(key("/a"))
	assert.True(t, ok)
	assert.Equal(t, fact(3, ""), got)
	_, ok = (*ledger.Ledger)(nil).Known(key("/a"))
	assert.False(t, ok)
}
