package cacheproxy_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// Under a limit of the process's memory (GOMEMLIMIT) answers that are kept ready do
// not take more than their share of it, whatever storage.local.memory says; many
// fills leave nothing behind.
func TestMemoryLimit(t *testing.T) {
	const limit, objects, size = 64 << 20, 700, 60 << 10
	content := strings.Repeat("x", size)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, content) }))
	defer origin.Close()
	before := debug.SetMemoryLimit(limit)
	defer debug.SetMemoryLimit(before)
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "admin: {listen: ''}\nlog: {access: false}\nstorage: {local: {path: '%s', memory: 128MiB, min-free: 0}}\nupstream: [{server: '%s'}]\n",
		t.TempDir(), origin.URL), 0o600))
	cfg, _, err := cacheproxy.Load(file)
	require.NoError(t, err)
	s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(t.Context(), l) }()
	ask := func(i int) {
		resp, err := http.Get(fmt.Sprintf("http://%s/%d", l.Addr(), i))
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		resp.Body.Close()
	}
	for range 4 { // stored, seen, kept, and given
		for i := range objects {
			ask(i)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	assert.Less(t, m.HeapAlloc, uint64(limit/2), "of %d MiB that were asked for again and again", objects*size>>20)
	hot := s.Stats().Hot
	assert.Eventually(t, func() bool { ask(objects - 1); return s.Stats().Hot > hot }, 10*time.Second, time.Millisecond, "what there is room for is kept")
	http.DefaultClient.CloseIdleConnections()
}
