package disk

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

// allocated is what du says of the files under root, our own bookkeeping aside.
func allocated(t testing.TB, root string) int64 {
	var n atomic.Int64
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go
		}
		switch filepath.Base(name) {
		case "lock", "state":
			return nil
		}
		if info, err := d.Info(); err == nil {
			n.Add(info.Sys().(*syscall.Stat_t).Blocks * 512)
		}
		return nil
	})
	require.NoError(t, err)
	return n.Load()
}

func TestAccounting(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := open(t, o)
		waitScan(t, s)
		check := func(what string) {
			t.Helper()
			du := allocated(t, o.Root)
			assert.InDelta(t, du, s.Stats().Bytes, float64(du)/100, what)
		}
		content := make([]byte, 70_000)
		for i := range 50 {
			storetest.Put(t, s, key(fmt.Sprintf("/%d/%d", i%3, i)), content[:i*1400])
		}
		check("after puts")
		storetest.Put(t, s, key("/0/0"), content)
		storetest.Put(t, s, key("/1/1/below"), content)
		require.NoError(t, s.Delete(t.Context(), key("/2/2")))
		require.NoError(t, s.Delete(t.Context(), key("/2/2")))
		check("after replacing and deleting")
		entries := s.Stats().Entries
		assert.EqualValues(t, 50, entries)

		d, err := s.Draft(t.Context(), 1<<20)
		require.NoError(t, err)
		assert.Greater(t, s.Stats().Bytes, int64(1<<20), "drafts count")
		require.NoError(t, d.Close())
		check("after a draft")

		require.NoError(t, s.Close())
		s = open(t, o)
		waitScan(t, s)
		check("after a restart")
		assert.Equal(t, entries, s.Stats().Entries)
		for e, err := range s.Entries(t.Context(), "", "") {
			require.NoError(t, err)
			require.NoError(t, s.Delete(t.Context(), e.Key))
		}
		assert.Zero(t, s.Stats().Bytes)
		assert.Zero(t, s.Stats().Entries)
	})
}

func TestEviction(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		const size = 64 << 10
		o.MaxSize = Size{Bytes: 20 * (size + 8192)}
		s := open(t, o)
		waitScan(t, s)
		name := func(i int) exchange.Key { return key(fmt.Sprintf("/dir%d/f", i)) }
		for i := range 16 {
			storetest.Put(t, s, name(i), make([]byte, size))
		}
		require.Zero(t, s.Stats().Evictions)
		storetest.Get(t, s, name(0)) // used a moment ago
		_, slow, err := s.Open(t.Context(), name(1))
		require.NoError(t, err)
		defer slow.Close()
		storetest.Get(t, s, name(1))
		for i := 16; i < 26; i++ {
			storetest.Put(t, s, name(i), make([]byte, size))
		}
		require.Eventually(t, func() bool { return s.Stats().Evictions >= 6 }, 5*time.Second, time.Millisecond)
		storetest.Get(t, s, name(0))
		storetest.Get(t, s, name(1))
		storetest.Get(t, s, name(25))
		storetest.Missing(t, s, name(2))
		storetest.Missing(t, s, name(3))
		_, err = os.Lstat(filepath.Join(o.Root, "dir2"))
		assert.ErrorIs(t, err, fs.ErrNotExist, "the directory goes as well")
		assert.LessOrEqual(t, s.Stats().Bytes, o.MaxSize.Bytes)
	})
}

// The order of use outlives a restart, an hour's grain apart.
func TestEvictionAfterRestart(t *testing.T) {
	const size = 256 << 10
	o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 6 * (size + 8192)}}
	s := open(t, o)
	for i := range 5 {
		storetest.Put(t, s, key(fmt.Sprintf("/%d", i)), make([]byte, size))
		old := time.Now().Add(-time.Duration(10-i) * 24 * time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(o.Root, fmt.Sprint(i)), old, old))
	}
	storetest.Get(t, s, key("/0"))
	st := mustStat(t, s, "0")
	assert.Less(t, time.Since(st.atime), time.Minute, "written on use")
	assert.Greater(t, time.Since(st.mtime), 24*time.Hour, "the modification time stays")
	require.NoError(t, s.Close())

	s = open(t, o)
	waitScan(t, s)
	for i := 5; i < 8; i++ {
		storetest.Put(t, s, key(fmt.Sprintf("/%d", i)), make([]byte, size))
	}
	storetest.Get(t, s, key("/0"))
	storetest.Missing(t, s, key("/1"))
}

func TestFull(t *testing.T) {
	o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 4 << 20}}
	s := open(t, o)
	_, err := s.Draft(t.Context(), 5<<20)
	require.ErrorIs(t, err, store.ErrFull)
	a, err := s.Draft(t.Context(), 3<<20)
	require.NoError(t, err)
	_, err = s.Draft(t.Context(), 3<<20)
	require.ErrorIs(t, err, store.ErrFull, "the other draft cannot be evicted")
	b, err := s.Draft(t.Context(), -1)
	require.NoError(t, err)
	_, err = b.WriteAt(make([]byte, 1<<20), 0)
	require.ErrorIs(t, err, store.ErrFull)
	require.NoError(t, b.Close())
	require.NoError(t, a.Close())
	storetest.Put(t, s, key("/a"), make([]byte, 3<<20))
	storetest.Put(t, s, key("/b"), make([]byte, 3<<20))
	storetest.Missing(t, s, key("/a"))
}

func TestMinFree(t *testing.T) {
	o := Options{Root: t.TempDir(), MinFree: Size{Percent: 100}}
	s := open(t, o)
	_, err := s.Draft(t.Context(), 1)
	require.ErrorIs(t, err, store.ErrFull)

	o = Options{Root: t.TempDir(), MinFree: Size{Bytes: 1 << 20}, MaxSize: Size{Percent: 100}}
	s = open(t, o)
	storetest.Put(t, s, key("/a"), []byte("x"))
	assert.Positive(t, s.Stats().MaxSize)
	assert.EqualValues(t, 1<<20, s.Stats().MinFree)
}

// Under pressure from many, the cap holds at every moment.
func TestCap(t *testing.T) { // F28
	o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 8 << 20}}
	s := open(t, o)
	waitScan(t, s)
	var full atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 40 {
				e := storetest.Entry(key(fmt.Sprintf("/%d/%d", w, i)), make([]byte, 256<<10))
				if err := putSize(t.Context(), s, e, int64(-1+i%2*(256<<10+1))); err != nil {
					assert.ErrorIs(t, err, store.ErrFull)
					full.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		// A file that is renamed while we look may count twice.
		require.LessOrEqual(t, s.Stats().Bytes, o.MaxSize.Bytes)
		require.LessOrEqual(t, allocated(t, o.Root), o.MaxSize.Bytes+512<<10)
	}
	assert.Less(t, full.Load(), int64(20), "there is always something to evict")
	assert.LessOrEqual(t, allocated(t, o.Root), o.MaxSize.Bytes)
}

func putSize(ctx context.Context, s *Store, e *exchange.Entry, size int64) error {
	d, err := s.Draft(ctx, size)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.WriteAt(make([]byte, e.Size), 0); err != nil {
		return err
	}
	return d.Commit(ctx, e)
}

// Files put there by others are found out by the next eviction, and files
// removed by others are forgotten.
func TestEvictionMendsTheIndex(t *testing.T) {
	o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 4 << 20}}
	s := open(t, o)
	waitScan(t, s)
	storetest.Put(t, s, key("/mine"), make([]byte, 1<<20))
	require.NoError(t, os.Remove(filepath.Join(o.Root, "mine")))
	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "theirs"), make([]byte, 512<<10), 0o644))
	s.evictor.wish(4 << 20)
	defer s.evictor.withdraw(4 << 20)
	s.evict()
	assert.EqualValues(t, 1, s.Stats().Entries)
	assert.InDelta(t, 512<<10, s.Stats().Bytes, 8192)
}

func BenchmarkOpen(b *testing.B) {
	for name, o := range map[string]Options{"attributes": {}, "sidecars": {DisableXattr: true}} {
		b.Run(name, func(b *testing.B) {
			o.Root = b.TempDir()
			s := open(b, o)
			k := key("/debian/pool/main/a/a.deb")
			storetest.Put(b, s, k, make([]byte, 1024))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, r, err := s.Open(b.Context(), k)
					if err != nil {
						b.Error(err)
						return
					}
					r.Close()
				}
			})
		})
	}
}

func BenchmarkCommit(b *testing.B) {
	for name, o := range map[string]Options{"lazy": {}, "lazy, sidecars": {DisableXattr: true}, "strict": {Strict: true}} {
		b.Run(name, func(b *testing.B) {
			o.Root = b.TempDir()
			s := open(b, o)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e := storetest.Entry(key(fmt.Sprintf("/pool/%d/%d", i%100, i)), make([]byte, 4096))
				if err := putSize(b.Context(), s, e, 4096); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
