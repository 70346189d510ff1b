//go:build e2e

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// testResume: what a transfer had brought when its process ended is not fetched
// again, and the whole is right (F25, F34).
func testResume(t *testing.T, p program) {
	const size = 200 << 20
	body := proxytest.Random(size, 77)
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		least  int64 // bytes that must have been kept of the 60 %
	}{
		{"kill", syscall.SIGKILL, size / 5},
		{"terminate", syscall.SIGTERM, size * 59 / 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			origin := proxytest.NewOrigin(t)
			origin.Reply("GET", "/big.iso", proxytest.Reply{Body: body, Header: http.Header{"Etag": {`"v1"`}}, Rate: 50 << 20})
			text := "listen: 127.0.0.1:0\nupstream: [{server: '" + origin.URL() + "'}]\nlimits: {drain: 1s}\nlog: {level: debug}\n"
			d := p.start(t, dir, text)
			resp, err := http.Get(d.url + "/big.iso")
			require.NoError(t, err)
			_, err = io.CopyN(io.Discard, resp.Body, size*6/10)
			require.NoError(t, err)
			began := time.Now()
			d.signal(c.signal)
			if c.signal == syscall.SIGTERM {
				resp.Body.Close() // or it would be served to its end, as far as the drain lets it
			}
			d.wait()
			t.Logf("ended after %v", time.Since(began))
			resp.Body.Close()
			assert.NoFileExists(t, filepath.Join(d.data, "big.iso"))

			d = p.start(t, dir, text)
			resp, err = http.Get(d.url + "/big.iso")
			require.NoError(t, err)
			defer resp.Body.Close()
			sum := sha256.New()
			n, err := io.Copy(sum, resp.Body)
			require.NoError(t, err)
			assert.EqualValues(t, size, n)
			assert.Equal(t, body.SHA256(), fmt.Sprintf("%x", sum.Sum(nil)))

			asked := origin.Requests("/big.iso")
			require.Len(t, asked, 2)
			from, ok := strings.CutPrefix(asked[1].Header.Get("Range"), "bytes=")
			require.True(t, ok, "range %q", asked[1].Header.Get("Range"))
			assert.Equal(t, `"v1"`, asked[1].Header.Get("If-Range"))
			kept, err := strconv.ParseInt(strings.TrimSuffix(from, "-"), 10, 64)
			require.NoError(t, err)
			t.Logf("%d of %d MiB were kept", kept>>20, size>>20)
			assert.GreaterOrEqual(t, kept, c.least)
			assert.Equal(t, size-kept, asked[1].Sent, "only the rest is sent")
			d.noTemporary()
			head, _ := d.mustGet("/big.iso", "Range", "bytes=0-9")
			assert.Equal(t, "HIT", head.Header.Get("X-Cache"))
		})
	}
}

// testMemory: many cold transfers at once stay within a small memory (F31).
func testMemory(t *testing.T, p program) {
	const transfers, size, limit = 64, 20 << 20, 96 << 20
	content := proxytest.Random(size, 78).Bytes()
	want := sha256.Sum256(content)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer origin.Close()
	d := p.start(t, t.TempDir(), "listen: 127.0.0.1:0\nupstream: [{server: '"+origin.URL+"'}]\nlimits: {fills: {per-client: 64}}\n", "GOMEMLIMIT=96MiB")
	var clients sync.WaitGroup
	for n := range transfers {
		clients.Go(func() {
			resp, err := http.Get(fmt.Sprintf("%s/%d.deb", d.url, n))
			if !assert.NoError(t, err) {
				return
			}
			defer resp.Body.Close()
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			sum := sha256.New()
			_, err = io.Copy(sum, resp.Body)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(want[:], sum.Sum(nil)), "object %d", n)
		})
	}
	clients.Wait()
	peak := d.peakMemory()
	t.Logf("%d transfers of %d MiB: peak of %d KiB", transfers, size>>20, peak>>10)
	assert.LessOrEqual(t, peak, int64(limit))
}

// peakMemory is the most memory that the daemon had at one time, in bytes.
func (d *daemon) peakMemory() int64 {
	d.t.Helper()
	if runtime.GOOS != "linux" {
		d.t.Skip("memory is only told on Linux")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	require.NoError(d.t, err)
	_, rest, ok := strings.Cut(string(text), "VmHWM:")
	require.True(d.t, ok)
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(d.t, err)
	return kib << 10
}
