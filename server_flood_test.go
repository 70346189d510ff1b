package cacheproxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// TestFloodOfPaths: paths and queries that are made up leave nothing behind: no
// file, and no question to a mirror for what it has just denied (B41).
func TestFloodOfPaths(t *testing.T) {
	var asked atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.NotFound(w, r)
	}))
	t.Cleanup(origin.Close)
	dir := t.TempDir()
	s := newServer(t, "upstream: [{server: '"+origin.URL+"'}]\nhubs: [{name: a, type: files, upstream: [{server: '"+origin.URL+"'}], options: {ignore-query: true}}]", dir, nil)
	defer s.Close()
	get := func(path string) int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}
	const paths = 500
	for range 2 {
		for n := range paths {
			require.Equal(t, http.StatusNotFound, get(fmt.Sprintf("/%x/%d?%d", n, n, n)))
			require.Equal(t, http.StatusNotFound, get(fmt.Sprintf("/a/one?%d", n)), "the query does not count there")
		}
	}
	assert.EqualValues(t, paths+1, asked.Load())
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, name); rel == ".meta" {
			return filepath.SkipDir
		}
		if err == nil && !e.IsDir() {
			files++
		}
		return err
	}))
	assert.Zero(t, files)
}

// TestNothingLeaks: after clients that left, bodies that were cut, stalled and
// refused, what was held is let go: descriptors, goroutines, temporary files (F32).
func TestNothingLeaks(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	const size = 300_000
	origin.Reply("GET", "/cut", proxytest.Reply{Body: proxytest.Random(size, 1), Fault: proxytest.Cut, At: size / 2})
	origin.Reply("GET", "/missing", proxytest.Reply{Status: 404})
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Random(size, 2)})
	dir := t.TempDir()
	url, stop := start(t, proxytest.Env{Dir: dir, Config: "cache: {timeout: 0s, negative: 0s}\nupstream: [{server: '" + origin.URL() + "'}]"})
	defer stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	round := func(requests int) {
		var all sync.WaitGroup
		slots := make(chan struct{}, 16)
		for n := range requests {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				path := fmt.Sprint("/", n%7)
				switch {
				case n%10 == 0:
					path = "/cut"
				case n%11 == 0:
					path = "/missing"
				}
				req, err := http.NewRequest("GET", url+path, nil)
				if !assert.NoError(t, err) {
					return
				}
				if n%5 == 0 {
					req.Header.Set("Range", "bytes=1000-2000")
				}
				resp, err := client.Do(req)
				if err != nil {
					return
				}
				if n%10 < 3 { // a client that leaves
					io.CopyN(io.Discard, resp.Body, 1000)
				} else {
					io.Copy(io.Discard, resp.Body)
				}
				resp.Body.Close()
			})
		}
		all.Wait()
		client.CloseIdleConnections()
	}
	held := func() (files, goroutines, temporary int) {
		fds, _ := os.ReadDir("/proc/self/fd") // elsewhere than on Linux there is none
		temps, err := filepath.Glob(filepath.Join(dir, ".temp", "*"))
		require.NoError(t, err)
		return len(fds), runtime.NumGoroutine(), len(temps)
	}
	round(100) // pools fill, connections to the origin stay
	var files, goroutines int
	require.Eventually(t, func() bool {
		f, g, temps := held()
		settled := f == files && g == goroutines && temps == 0
		files, goroutines = f, g
		return settled
	}, 10*time.Second, 100*time.Millisecond)
	round(800)
	if !assert.Eventually(t, func() bool {
		f, g, temps := held()
		return f <= files+10 && g <= goroutines+10 && temps == 0
	}, 10*time.Second, 20*time.Millisecond) {
		f, g, temps := held()
		t.Logf("%d descriptors of %d, %d goroutines of %d, %d temporary files", f, files, g, goroutines, temps)
	}
}
