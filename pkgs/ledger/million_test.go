//go:build !race

package ledger_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A million facts keep to the bounds of disk and memory.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("a million facts")
	}
	path := filepath.Join(t.TempDir(), "ledger")
	before := heap()
	start := time.Now()
	l, err := ledger.Open(ledger.Options{Path: path}) // and not kept by a Cleanup
	require.NoError(t, err)
	teachAll(t, l, "/index", func(teach func(string, exchange.Fact)) {
		for i := range million {
			k, f := nth(i)
			f.Digest = exchange.Digest(strings.Replace(string(f.Digest), "sha256:", "sha512:", 1) + f.Digest.Hex())
			teach(k.Path, f)
		}
	})
	require.NoError(t, l.Close())
	taught := time.Since(start)

	start = time.Now()
	l, err = ledger.Open(ledger.Options{Path: path})
	require.NoError(t, err)
	defer l.Close()
	opened := time.Since(start)
	start = time.Now()
	known := 0
	for i := range million {
		k, want := nth(i)
		if f, ok := l.Lookup(t.Context(), k); ok && f.Size == want.Size {
			known++
		}
	}
	looked := time.Since(start) / million
	assert.Equal(t, million, known)
	s, err := os.Stat(path)
	require.NoError(t, err)
	disk := s.Sys().(*syscall.Stat_t).Blocks * 512
	memory := heap() - before // of the table's growth nothing is left
	t.Logf("taught in %v, opened in %v, lookup %v, disk %d, memory %d", taught, opened, looked, disk, memory)
	assert.LessOrEqual(t, disk, int64(150_000_000))
	assert.LessOrEqual(t, memory, int64(32_000_000))
	runtime.KeepAlive(l)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
