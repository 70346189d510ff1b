//go:build !race

package pypi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// The demand of a page of 40 MB: 64 MB, what it teaches included. The race
// detector has memory of its own.
func TestRewrite40MBMemory(t *testing.T) {
	for _, form := range []string{"html", "json"} {
		t.Run(form, func(t *testing.T) { rewriteMemory(t, form == "json") })
	}
}

func rewriteMemory(t *testing.T, json bool) {
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger")})
	require.NoError(t, err)
	defer l.Close()
	h := newHub(t)
	h.hub.Ledger = l
	req, err := h.Parse(httptest.NewRequest(http.MethodGet, "/simple/demo/", nil))
	require.NoError(t, err)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, peak, n := m.HeapAlloc, uint64(0), 0
	resp, err := h.Rewrite(exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{
			Entry: &exchange.Entry{Status: 200, Size: -1, Mirror: mirror, Received: time.Now()},
			Body:  io.NopCloser(&demo{size: wanted, json: json}),
		}, nil
	})).Get(t.Context(), req)
	require.NoError(t, err)
	defer resp.Body.Close()
	buf := make([]byte, 256<<10)
	for err == nil {
		var got int
		got, err = resp.Body.Read(buf)
		if n += got; n>>20 > (n-got)>>20 { // once in a MiB
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}
	require.ErrorIs(t, err, io.EOF)
	assert.Greater(t, n, wanted/2)
	assert.Less(t, peak-before, uint64(64<<20))
	t.Log((peak-before)>>20, "MiB")
	f, ok := l.Lookup(t.Context(), exchange.Key{Hub: "pypi", Path: "/_f/f/ab/demo-1.0.20000-cp311-cp311-manylinux_2_17_x86_64.whl"})
	assert.True(t, ok, f)
}
