//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowly serves slowSize bytes, a tenth of it at once and the rest when it may.
type slowly struct {
	once    sync.Once
	release chan struct{}
	files   http.Handler
}

func (s *slowly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		s.once.Do(func() { close(s.release) })
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/slow/") {
		s.files.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(slowSize))
	w.Write(make([]byte, slowSize/10))
	w.(http.Flusher).Flush()
	select {
	case <-s.release:
	case <-r.Context().Done():
		return
	}
	w.Write(make([]byte, slowSize-slowSize/10))
}

const slowSize = 128 << 10

// testPage has a real browser look at the page for people, and use it.
// PAGE_SHOTS is a folder for pictures of it.
//
//	go test -tags e2e -run 'TestE2E/page' ./cmd/cache-proxy
func testPage(t *testing.T, p program) {
	browser, modules := pageTools(t)
	dir := t.TempDir()
	for _, name := range []string{"a.deb", "b.deb"} {
		put(t, []byte("content of "+name), dir, "files", "pool", name)
	}
	slow := &slowly{release: make(chan struct{}), files: http.FileServer(http.Dir(filepath.Join(dir, "files")))}
	origin := httptest.NewServer(slow)
	t.Cleanup(origin.Close)
	late := newMirror(t, filepath.Join(dir, "files"))

	const downloads = 1000
	d := p.start(t, dir, fmt.Sprintf(`listen: 127.0.0.1:0
hubs:
- {name: tree, upstream: [{server: %q, max-connections: 4000}]}
- {name: pair, race: {mode: all}, upstream: [{server: %q, max-connections: 4000}, {server: %q}]}
limits: {fills: {all: %[4]d, per-mirror: %[4]d, per-client: %[4]d}, upstream-idle-timeout: 10m, upstream-min-rate: 0, upstream-header-timeout: 30s, connections: 4000, connections-per-client: 4000}
log: {access: false}
`, origin.URL, origin.URL, late.url, 2*downloads))
	guarded := p.start(t, t.TempDir(), everyType(origin.URL)+"admin: {listen: 127.0.0.1:0, token: correct-horse}\n")
	for _, path := range []string{"/tree/pool/a.deb", "/tree/pool/b.deb", "/tree/pool/b.deb", "/pair/pool/a.deb", "/pair/pool/b.deb"} {
		resp, _ := d.mustGet(path)
		require.Equal(t, 200, resp.StatusCode, path)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var clients sync.WaitGroup
	defer clients.Wait()
	defer slow.once.Do(func() { close(slow.release) })
	numbers := make(chan int)
	for range 16 { // so that the machine is not asked for all connections at once
		clients.Go(func() {
			for i := range numbers {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/tree/slow/%04d", d.url, i), nil)
				if !assert.NoError(t, err) {
					continue
				}
				resp, err := client.Do(r)
				if !assert.NoError(t, err) {
					continue
				}
				clients.Go(func() { // ends with the download, or the test
					defer resp.Body.Close()
					n, err := io.Copy(io.Discard, resp.Body)
					assert.True(t, ctx.Err() != nil || err == nil && n == slowSize, "%d bytes, %v", n, err)
				})
			}
		})
	}
	for i := range downloads {
		numbers <- i
	}
	close(numbers)
	require.Eventually(t, func() bool {
		_, text, err := get(ctx, http.DefaultClient, d.admin+"/api/v1/flights")
		return err == nil && strings.Count(string(text), fmt.Sprintf(`"total": %d`, slowSize)) == downloads
	}, time.Minute, 100*time.Millisecond, "all are under way")

	given, err := json.Marshal(map[string]string{
		"modules": modules, "browser": browser, "open": d.admin, "control": origin.URL, "shots": os.Getenv("PAGE_SHOTS"),
		"guarded": guarded.admin, "token": "correct-horse", "welcome": guarded.url + "/-/",
	})
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, "node", filepath.Join("testdata", "page.mjs"), string(given))
	cmd.Env = append(clean(t.TempDir()), "LANG=C.UTF-8")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

// everyType is a configuration with a hub of each type, for the page that says how clients use them.
func everyType(server string) string {
	var b strings.Builder
	b.WriteString("listen: 127.0.0.1:0\nhubs:\n")
	for _, name := range []string{"debian apt", "fedora rpm", "alpine apk", "archlinux pacman", "pypi pypi", "npm npm", "go go", "cargo cargo", "maven maven", "docker oci", "tree files"} {
		name, kind, _ := strings.Cut(name, " ")
		fmt.Fprintf(&b, "- {name: %s, type: %s, upstream: [{server: %q}]}\n", name, kind, server)
	}
	return b.String()
}

// pageTools are a browser, and the folder of what drives it, which .ci/run makes.
func pageTools(t *testing.T) (browser, modules string) {
	t.Helper()
	need(t, "chromium", "node")
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	modules = filepath.Join(cache, "cache-proxy", "browser")
	for _, name := range []string{"playwright-core", "@axe-core/playwright"} {
		if _, err := os.Stat(filepath.Join(modules, "node_modules", name, "package.json")); err != nil {
			t.Skipf("%s is not in %s: .ci/run puts it there", name, modules)
		}
	}
	browser, err = exec.LookPath("chromium")
	require.NoError(t, err)
	return browser, modules
}
