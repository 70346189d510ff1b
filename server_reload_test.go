package cacheproxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// A running is a server that serves on loopback, and whose configuration file
// can be written anew.
type running struct {
	*cacheproxy.Server
	t    *testing.T
	url  string
	file string
	dir  string
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// logged is how often the log has said something.
func (r *running) logged(text string) int { return strings.Count(r.log.String(), text) }

func (r *running) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r.log, nil)) }

// run starts a server with configuration text.
func run(t *testing.T, text string) *running {
	t.Helper()
	r := &running{t: t, file: filepath.Join(t.TempDir(), "config.yaml"), dir: t.TempDir(), log: &lockedBuffer{}}
	r.write(text)
	load := func() (*cacheproxy.Config, []cacheproxy.Warning, error) { return cacheproxy.Load(r.file) }
	cfg, _, err := load()
	require.NoError(t, err)
	r.Server, err = cacheproxy.New(cfg, cacheproxy.Options{Load: load, Log: r.logger()})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return r
}

// write replaces the configuration file.
func (r *running) write(text string) {
	r.t.Helper()
	name := r.file + ".new"
	require.NoError(r.t, os.WriteFile(name, in(r.t, text, r.dir), 0o600))
	require.NoError(r.t, os.Rename(name, r.file))
}

// reload writes a configuration and puts it in force.
func (r *running) reload(text string) {
	r.t.Helper()
	r.write(text)
	require.NoError(r.t, r.Reread())
}

// get is the answer to one request on a connection of its own.
func (r *running) get(path string) (status int, header http.Header, body []byte) {
	r.t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(r.url + path)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, resp.Header, body
}

// TestReloadUnderLoad: what is asked for while configurations come and go is
// answered, whole and right, and nothing is left of those that went (E021).
func TestReloadUnderLoad(t *testing.T) {
	origin, other := proxytest.NewOrigin(t), proxytest.NewOrigin(t)
	small, large := proxytest.Random(10_000, 1), proxytest.Random(8<<20, 2)
	for _, o := range []*proxytest.Origin{origin, other} {
		for i := range 3000 {
			o.Reply("GET", fmt.Sprint("/small/", i), proxytest.Reply{Body: small})
			o.Reply("GET", fmt.Sprint("/large/", i), proxytest.Reply{Body: large, Header: http.Header{"Etag": {`"1"`}}, Rate: 32 << 20})
		}
	}
	// Each is another configuration in another way: the hub's freshness, its
	// mirrors, its existence, what goes before all hubs.
	configs := []string{
		"hubs: [{name: files, path: /files, upstream: [{server: '%[1]s'}]}]",
		"hubs: [{name: files, path: /files, cache: {timeout: 1m}, upstream: [{server: '%[1]s'}]}]",
		"hubs: [{name: files, path: /files, upstream: [{server: '%[1]s', rate: 100MiB}, {server: '%[2]s'}]}]",
		"limits: {ranges: 3, client-idle-timeout: 20s, upstream-idle-timeout: 20s}\nhubs: [{name: files, path: /files, upstream: [{server: '%[2]s'}]}, {name: b, upstream: [{server: '%[2]s'}]}]",
	}
	config := func(i int) string { return fmt.Sprintf(configs[i%len(configs)], origin.URL(), other.URL()) }
	r := run(t, config(0))

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var next, done atomic.Int64
	client := func(kind string, want proxytest.Body) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		c := http.Client{Transport: transport}
		for ctx.Err() == nil {
			resp, err := c.Get(fmt.Sprint(r.url, "/files/", kind, "/", next.Add(1)%3000))
			if !assert.NoError(t, err) {
				return
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !assert.NoError(t, err) || !assert.Equal(t, 200, resp.StatusCode) || !assert.True(t, bytes.Equal(want.Bytes(), got)) {
				return
			}
			done.Add(1)
		}
	}
	for range 3 {
		wg.Go(func() { client("small", small) })
		wg.Go(func() { client("large", large) })
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var goroutines, files int
	for i := 1; i <= 30; i++ {
		<-tick.C
		r.reload(config(i))
		if i == 8 {
			goroutines, files = runtime.NumGoroutine(), descriptors(t)
		}
	}
	_, header, _ := r.get("/-/healthz")
	assert.Equal(t, "31", header.Get("X-Config-Version"))
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Less(c, runtime.NumGoroutine(), goroutines+30)
		assert.Less(c, descriptors(t), files+20)
	}, 5*time.Second, 50*time.Millisecond, "while it goes on")
	stop()
	wg.Wait()
	assert.Positive(t, done.Load())
	t.Log(done.Load(), "answers")
}

// descriptors is how many files the process has open.
func descriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

// TestReloadRefused: a configuration that cannot be in force changes nothing,
// and the error says what and where (F35).
func TestReloadRefused(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "/x", proxytest.Reply{Body: proxytest.Random(10, 1)})
	good := "hubs: [{name: files, path: /files, upstream: [{server: '" + origin.URL() + "'}]}]\nadmin: {listen: ''}\n"
	r := run(t, good)
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "foo: 1\n" + good, "config.yaml:1: foo: unknown key"},
		{"syntax", "hubs: [", "config.yaml:1: "},
		{"certificate", "hubs: [{name: files, upstream: [{server: 'https://mirrors.example.org', ca: " + r.file + "}]}]\nstorage: {local: {path: DIR}}\nadmin: {listen: ''}", "hub files: mirror 0: ca: no certificate"},
		{"temporary files", good + "storage: {local: {temporary-file-pattern: x.*, path: DIR}}", "config.yaml:3: storage.local.temporary-file-pattern: cannot be changed while the server runs"},
		{"durability", good + "storage:\n  local:\n    path: DIR\n    durability: strict", "config.yaml:6: storage.local.durability: "},
		{"another store", good + "storage: {local: {path: DIR/x}}", "config.yaml:3: storage.local.path: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(r.file, []byte(strings.ReplaceAll(c.text, "DIR", r.dir)), 0o600))
			require.ErrorContains(t, r.Reread(), c.want)
			status, _, _ := r.get("/files/x")
			assert.Equal(t, 200, status)
			_, header, _ := r.get("/-/healthz")
			assert.Equal(t, "1", header.Get("X-Config-Version"))
		})
	}
	assert.NoDirExists(t, filepath.Join(r.dir, "x"))
	require.NoError(t, os.Remove(r.file))
	require.ErrorIs(t, r.Reread(), os.ErrNotExist)
}

// TestReloadKeeps: connections to mirrors and what is known of them outlive a
// configuration that means the same by them.
func TestReloadKeeps(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	for _, path := range []string{"/a", "/b", "/c", "/d"} {
		origin.Reply("GET", path, proxytest.Reply{Body: proxytest.Random(100, 1)})
	}
	text := "hubs: [{name: files, path: /files, upstream: [{server: '" + origin.URL() + "'}]CACHE}]\n"
	r := run(t, strings.Replace(text, "CACHE", "", 1))
	r.get("/files/a")
	r.reload(strings.Replace(text, "CACHE", ", cache: {timeout: 1m}", 1))
	r.get("/files/b")
	r.reload(strings.Replace(text, "CACHE", ", cache: {timeout: 1m}", 1) + "limits: {ranges: 2}\n")
	r.get("/files/c")
	_, peak := origin.Connections()
	assert.Equal(t, 1, peak)
	origin.Down()
	r.reload(strings.Replace(text, "CACHE", ", race: {mode: ordered}", 1))
	status, header, _ := r.get("/files/a")
	assert.Equal(t, 200, status, "what is stored stays")
	assert.Equal(t, "HIT", header.Get("X-Cache"))
}

// TestReloadLeaves: nothing is left of revisions that are over.
func TestReloadLeaves(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "/x", proxytest.Reply{Body: proxytest.Random(100, 1)})
	r := run(t, "")
	config := func(i int) string {
		hub := fmt.Sprintf("hubs: [{name: a, path: /a, type: apt, race: {width: %d}, cache: {timeout: 0s, negative: 0s}, upstream: [{server: '%s'}]}]\n", i%2+1, origin.URL())
		return hub + fmt.Sprintf("limits: {client-idle-timeout: %ds, upstream-header-timeout: %ds}\n", i%3+10, i%5+10)
	}
	var goroutines, files int
	for i := range 60 {
		r.reload(config(i))
		r.get("/a/x")
		if i == 9 {
			goroutines, files = runtime.NumGoroutine(), descriptors(t)
		}
	}
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.LessOrEqual(c, runtime.NumGoroutine(), goroutines+2)
		assert.LessOrEqual(c, descriptors(t), files+2)
	}, 5*time.Second, 20*time.Millisecond)
}
