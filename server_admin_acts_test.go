package cacheproxy_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/admin"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// do is what comes of a request to a server's operators' listener.
func do(s *cacheproxy.Server, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8882"
	w := httptest.NewRecorder()
	s.Admin().ServeHTTP(w, r)
	return w
}

// landed waits until nothing is on its way.
func landed(t *testing.T, s *cacheproxy.Server) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.TrimSpace(do(s, "GET", "/api/v1/flights", "").Body.String()) == "[]" }, 5*time.Second, time.Millisecond)
}

func TestAdminObjects(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("twelve bytes")})
	s := newServer(t, "hubs: [{name: tree, upstream: [{server: '"+origin.URL()+"'}]}]", t.TempDir(), nil)
	defer s.Close()
	for _, path := range []string{"/tree/a/1", "/tree/a/2", "/tree/b"} {
		require.Equal(t, 200, asked(s, path).Code)
	}
	landed(t, s)
	var page admin.Page
	require.NoError(t, json.Unmarshal(do(s, "GET", "/api/v1/objects?hub=tree&prefix=/a/", "").Body.Bytes(), &page))
	require.Len(t, page.Objects, 2)
	assert.Equal(t, "/a/1", page.Objects[0].Path)
	assert.EqualValues(t, 12, page.Objects[0].Size)
	assert.Equal(t, origin.URL(), page.Objects[0].Mirror)

	require.Equal(t, 200, do(s, "PUT", "/api/v1/pin?hub=tree&path=/b", "").Code)
	assert.Contains(t, do(s, "GET", "/api/v1/object?hub=tree&path=/b", "").Body.String(), `"pinned": true`)

	require.Equal(t, "HIT", asked(s, "/tree/a/1").Header().Get("X-Cache"))
	w := do(s, "DELETE", "/api/v1/objects?hub=tree&prefix=/a/", "")
	assert.JSONEq(t, `{"objects": 2, "bytes": 24}`, w.Body.String())
	assert.Equal(t, "MISS", asked(s, "/tree/a/1").Header().Get("X-Cache"))
	assert.Equal(t, "HIT", asked(s, "/tree/b").Header().Get("X-Cache"))
	landed(t, s)
}

// A small object that is asked for again and again is answered from memory, but
// not once it was purged.
func TestPurgeReachesMemory(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("x")})
	s := newServer(t, "hubs: [{name: tree, upstream: [{server: '"+origin.URL()+"'}]}]", t.TempDir(), nil)
	defer s.Close()
	require.Equal(t, 200, asked(s, "/tree/a").Code)
	landed(t, s)
	for range 20 {
		require.Equal(t, "HIT", asked(s, "/tree/a").Header().Get("X-Cache"))
	}
	require.Equal(t, 200, do(s, "DELETE", "/api/v1/objects?hub=tree&path=/a", "").Code)
	assert.Equal(t, "MISS", asked(s, "/tree/a").Header().Get("X-Cache"))
	landed(t, s)
}

func TestOfflineSwitch(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("x")})
	hubs := "cache: {timeout: 1m, stale-if-error: 1h}\nhubs: [{name: tree, upstream: [{server: '" + origin.URL() + "'}]}, {name: npm, type: npm, upstream: [{server: '" + origin.URL() + "'}]}]"
	for _, c := range []struct {
		name string
		on   func(t *testing.T, s *cacheproxy.Server, load func(string) error)
	}{
		{"of all, by configuration", func(t *testing.T, _ *cacheproxy.Server, load func(string) error) {
			require.NoError(t, load("offline: true\n"+hubs))
		}},
		{"of a hub, by configuration", func(t *testing.T, _ *cacheproxy.Server, load func(string) error) {
			require.NoError(t, load(strings.ReplaceAll(hubs, "{name:", "{offline: true, name:")))
		}},
		{"of all, by request", func(t *testing.T, s *cacheproxy.Server, _ func(string) error) {
			require.Equal(t, 200, do(s, "PUT", "/api/v1/offline", `{"offline": true}`).Code)
		}},
		{"of a hub, by request", func(t *testing.T, s *cacheproxy.Server, _ func(string) error) {
			require.Equal(t, 404, do(s, "PUT", "/api/v1/offline?hub=none", `{"offline": true}`).Code)
			require.Equal(t, 200, do(s, "PUT", "/api/v1/offline?hub=npm", `{"offline": true}`).Code)
			assert.Equal(t, 200, asked(s, "/tree/b").Code, "the other one asks")
			landed(t, s)
			require.Equal(t, 200, do(s, "PUT", "/api/v1/offline?hub=tree", `{"offline": true}`).Code)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, dir := time.Now(), t.TempDir()
			s := newServer(t, hubs, dir, func() time.Time { return now })
			defer s.Close()
			require.Equal(t, 200, asked(s, "/tree/a").Code)
			landed(t, s)
			c.on(t, s, func(text string) error {
				file := filepath.Join(t.TempDir(), "config.yaml")
				require.NoError(t, os.WriteFile(file, in(t, text, dir), 0o600))
				cfg, _, err := cacheproxy.Load(file)
				require.NoError(t, err)
				return s.Reload(cfg)
			})
			before := len(origin.Requests(""))
			now = now.Add(100 * time.Hour)
			w := asked(s, "/tree/a")
			assert.Equal(t, 200, w.Code, "far beyond stale-if-error")
			assert.Contains(t, w.Header().Get("Cache-Status"), "detail=offline")
			assert.Equal(t, "360000", w.Header().Get("Age"))
			w = asked(s, "/tree/none")
			assert.Equal(t, 504, w.Code)
			assert.Contains(t, w.Body.String(), "offline")
			w = asked(s, "/npm/left-pad")
			assert.Equal(t, 504, w.Code)
			assert.Contains(t, w.Header().Get("Content-Type"), "json", "in the client's own format")
			assert.Len(t, origin.Requests(""), before, "no mirror was asked")
			assert.Contains(t, do(s, "GET", "/api/v1/offline", "").Body.String(), `"tree": true`)
			assert.Contains(t, do(s, "GET", "/api/v1/hubs", "").Body.String(), `"offline": true`)

			do(s, "PUT", "/api/v1/offline", `{"offline": false}`)
			do(s, "PUT", "/api/v1/offline?hub=tree", `{"offline": false}`)
			assert.Equal(t, 200, asked(s, "/tree/none").Code, "again")
			landed(t, s)
		})
	}
}

func TestAdminLevelReloadAndErrors(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "config.yaml"), t.TempDir()
	write := func(text string) { require.NoError(t, os.WriteFile(file, in(t, text, dir), 0o600)) }
	load := func() (*cacheproxy.Config, []cacheproxy.Warning, error) { return cacheproxy.Load(file) }
	write("upstream: [{server: 'http://192.0.2.1'}]\nlog: {level: warn}")
	cfg, _, err := load()
	require.NoError(t, err)
	level := new(slog.LevelVar)
	s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.DiscardHandler), Level: level, Load: load})
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, slog.LevelWarn, level.Level())
	require.Equal(t, 200, do(s, "PUT", "/api/v1/log/level", `{"level": "debug"}`).Code)
	assert.Equal(t, slog.LevelDebug, level.Level())
	assert.Equal(t, 400, do(s, "PUT", "/api/v1/log/level", `{"level": "loud"}`).Code)
	assert.Contains(t, do(s, "GET", "/api/v1/log/level", "").Body.String(), "debug")

	w := do(s, "POST", "/api/v1/reload", "")
	require.Equal(t, 200, w.Code, w.Body)
	assert.Contains(t, w.Body.String(), `"revision": 2`)
	assert.Equal(t, slog.LevelWarn, level.Level(), "as configured again")
	write("upstream: [{server: 'http://192.0.2.1'}]\nlimits: {ranges: -1}")
	w = do(s, "POST", "/api/v1/reload", "")
	assert.Equal(t, 422, w.Code)
	assert.Contains(t, w.Body.String(), "limits.ranges")
	assert.Contains(t, do(s, "GET", "/api/v1/status", "").Body.String(), `"revision": 2`, "all as it was")

	s.Refresh("a test")
	var records []struct{ Level, Message string }
	require.NoError(t, json.Unmarshal(do(s, "GET", "/api/v1/errors", "").Body.Bytes(), &records))
	require.NotEmpty(t, records, "kept, though the log shows nothing")
	assert.Equal(t, "the configuration stays as it was", records[0].Message)
	assert.Equal(t, "warn", records[0].Level)
	assert.Equal(t, 404, do(newServer(t, "", t.TempDir(), nil), "PUT", "/api/v1/log/level", `{"level": "info"}`).Code, "it is not this server's to say")
}

func TestAdminDrain(t *testing.T) {
	cfg := cacheproxy.Default()
	cfg.Listen, cfg.Admin.Listen = []cacheproxy.Address{{Network: "tcp", Address: "127.0.0.1:0"}}, cacheproxy.OptionalAddress{}
	cfg.Storage.Local.Path = t.TempDir()
	s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	require.Eventually(t, func() bool {
		return strings.Contains(do(s, "GET", "/api/v1/statuses", "").Body.String(), "listening")
	}, 5*time.Second, time.Millisecond)
	assert.Equal(t, 202, do(s, "POST", "/api/v1/drain", "").Code)
	assert.Equal(t, 202, do(s, "POST", "/api/v1/drain", "").Code, "twice is no harm")
	assert.NoError(t, <-done)
}

func TestStatusFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status.yaml")
	dir := t.TempDir()
	text := `listen: 127.0.0.1:0
status-file: {path: '` + file + `', every: 10ms}
filters: [{kind: HeaderCounter, name: counter, headers: [Cookie]}]
flow: [{filter: counter}]
hubs: [{name: tree, upstream: [{server: 'http://192.0.2.1'}]}]
`
	s := newServer(t, text, dir, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var got struct {
		Statuses []struct {
			Object, Kind, Name string
			Status             map[string]any
		}
		UnixTimestamp int64 `yaml:"unixtimestamp"`
	}
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(file)
		return err == nil && assert.NoError(t, yaml.Unmarshal(b, &got)) && len(got.Statuses) == 4 && got.Statuses[2].Status["state"] == "listening"
	}, 5*time.Second, time.Millisecond)
	assert.InDelta(t, time.Now().Unix(), got.UnixTimestamp, 60)
	var all []string
	for _, st := range got.Statuses {
		all = append(all, st.Object+" "+st.Kind+" "+st.Name)
		assert.NotEmpty(t, st.Status, st.Name)
	}
	assert.Equal(t, []string{"hub files tree", "filter HeaderCounter counter", "listener tcp 127.0.0.1:0", "store local " + dir}, all)
	require.NoError(t, os.Remove(file))
	require.Eventually(t, func() bool { _, err := os.Stat(file); return err == nil }, 5*time.Second, time.Millisecond, "again and again")
	cancel()
	require.NoError(t, <-done)
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Len(t, left, 1, "nothing but the file")
}
