package cacheproxy_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// start runs a whole server on loopback, with the script's configuration and a
// data directory of its own.
func start(t *testing.T, env proxytest.Env) (url string, stop func()) {
	t.Helper()
	s := newServer(t, env.Config, env.Dir, env.Now)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), func() {
		cancel()
		assert.NoError(t, <-done)
	}
}

// newServer makes a server from configuration text, its storage put into dir.
func newServer(t *testing.T, text, dir string, now func() time.Time) *cacheproxy.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, in(t, text, dir), 0o600))
	cfg, _, err := cacheproxy.Load(file)
	require.NoError(t, err)
	s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: now})
	require.NoError(t, err)
	return s
}

// in is configuration text with storage.local.path set to dir.
func in(t *testing.T, text, dir string) []byte {
	t.Helper()
	tree := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &tree))
	child(child(tree, "storage"), "local")["path"] = dir
	if l := child(tree, "limits"); l["drain"] == nil {
		l["drain"] = "1s"
	}
	if a := child(tree, "admin"); a["listen"] == nil {
		a["listen"] = ""
	}
	out, err := yaml.Marshal(tree)
	require.NoError(t, err)
	return out
}

func child(m map[string]any, name string) map[string]any {
	c, ok := m[name].(map[string]any)
	if !ok {
		c = map[string]any{}
		m[name] = c
	}
	return c
}

func TestScripts(t *testing.T) { proxytest.Run(t, "testdata/scripts", start) }

// TestHubScripts runs the scripts that lie with each type of hub.
func TestHubScripts(t *testing.T) {
	scripts, err := filepath.Glob("pkgs/hub/*/testdata/*.txt")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, script := range scripts {
		dir := filepath.Dir(script)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		t.Run(filepath.Base(filepath.Dir(dir)), func(t *testing.T) { proxytest.Run(t, dir, start) })
	}
}

func TestOwnPages(t *testing.T) {
	url, stop := start(t, proxytest.Env{Dir: t.TempDir()})
	defer stop()
	tests := []struct {
		method, path string
		status       int
	}{
		{"GET", "/-/healthz", 200},
		{"HEAD", "/-/healthz", 200},
		{"GET", "/-/readyz", 200},
		{"POST", "/-/healthz", 405},
		{"GET", "/-/nothing", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/api/v1/status", 404},
		{"GET", "/metrics", 404},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, url+tt.path, nil)
			require.NoError(t, err)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, tt.status, resp.StatusCode)
		})
	}
}

// A second process on the same directory must not start (F35).
func TestStoreInUse(t *testing.T) {
	dir := t.TempDir()
	s := newServer(t, "", dir, nil)
	defer s.Close()
	cfg := cacheproxy.Default()
	cfg.Storage.Local.Path = dir
	_, err := cacheproxy.New(cfg, cacheproxy.Options{})
	require.ErrorContains(t, err, dir)
}

// A taken port is an error, and leaves the store to the next (T05, F35).
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dir := t.TempDir()
	s := newServer(t, "listen: "+l.Addr().String(), dir, nil)
	require.ErrorContains(t, s.Run(t.Context()), "address already in use")
	require.NoError(t, newServer(t, "", dir, nil).Close())
}

// SIGTERM's way: what is under way may end within the drain, nothing new begins (F34).
func TestDrain(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	body := proxytest.Random(1<<20, 1)
	origin.Reply("GET", "/slow", proxytest.Reply{Body: body, Fault: proxytest.Stall, At: 1 << 19})
	s := newServer(t, "limits: {drain: 10s}\nupstream: [{server: '"+origin.URL()+"'}]", t.TempDir(), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()

	resp, err := http.Get("http://" + l.Addr().String() + "/slow")
	require.NoError(t, err)
	defer resp.Body.Close()
	cancel()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := net.Dial("tcp", l.Addr().String())
		assert.Error(c, err)
	}, 5*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return origin.Release("/slow") }, 5*time.Second, time.Millisecond, "once it has stalled")
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(body.Bytes(), got))
	require.NoError(t, <-done)
}
