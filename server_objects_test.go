package cacheproxy_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

func TestObjects(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("twelve bytes")})
	file, dir := filepath.Join(t.TempDir(), "config.yaml"), t.TempDir()
	text := "admin: {token: secret}\nhubs: [{name: own, upstream: [{server: '" + origin.URL() + "'}]}]"
	require.NoError(t, os.WriteFile(file, in(t, text, dir), 0o600))
	load := func() (*cacheproxy.Config, []cacheproxy.Warning, error) { return cacheproxy.Load(file) }
	start := func() *cacheproxy.Server {
		cfg, _, err := load()
		require.NoError(t, err)
		s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Load: load})
		require.NoError(t, err)
		return s
	}
	s := start()
	send := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/api/v1/config/"+path, strings.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Authorization", "Bearer secret")
		w := httptest.NewRecorder()
		s.Admin().ServeHTTP(w, r)
		return w
	}
	made := filepath.Join(dir, ".meta", "objects.yaml")
	require.Equal(t, 404, asked(s, "/new/a").Code)
	hub := `{"upstream": [{"server": "` + origin.URL() + `"}]}`
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"made", "PUT", "hubs/new", hub, 200, `"revision": 2`},
		{"in YAML", "PUT", "hubs/other", "path: /elsewhere\nupstream:\n- server: " + origin.URL() + "\n", 200, ""},
		{"a filter", "PUT", "filters/counter", `{"kind": "HeaderCounter", "headers": ["Cookie"]}`, 200, ""},
		{"changed", "PUT", "hubs/new", "name: new\ncache: {timeout: 5m}\nupstream: [{server: '" + origin.URL() + "'}]\nflow: [{filter: counter}]", 200, ""},
		{"an unknown key", "PUT", "hubs/bad", `{"upstreams": []}`, 422, "objects.yaml:"},
		{"a filter that is in use", "DELETE", "filters/counter", "", 422, "counter"},
		{"another name", "PUT", "hubs/bad", "name: good", 400, "name"},
		{"no mapping", "PUT", "hubs/bad", "[]", 400, "mapping"},
		{"the configuration's own", "PUT", "hubs/own", hub, 409, "configuration's file"},
		{"the configuration's own, deleted", "DELETE", "hubs/own", "", 409, "configuration's file"},
		{"nothing", "DELETE", "hubs/none", "", 404, ""},
		{"another section", "PUT", "upstream/x", hub, 404, ""},
	} {
		before, _ := os.ReadFile(made)
		w := send(c.method, c.path, c.body)
		assert.Equal(t, c.status, w.Code, c.name+": "+w.Body.String())
		assert.Contains(t, w.Body.String(), c.want, c.name)
		if c.status != 200 {
			after, _ := os.ReadFile(made)
			assert.Equal(t, string(before), string(after), c.name)
		}
	}
	require.Equal(t, 200, asked(s, "/new/a").Code)
	require.Equal(t, 200, asked(s, "/elsewhere/a").Code)
	landed2 := func() { require.NoError(t, s.Close()) }

	var all []cacheproxy.ObjectRecord
	require.NoError(t, json.Unmarshal(send("GET", "hubs", "").Body.Bytes(), &all))
	assert.Equal(t, []cacheproxy.ObjectRecord{{Name: "own", Kind: "files"}, {Name: "new", Kind: "files", Made: true}, {Name: "other", Kind: "files", Made: true}}, all)
	assert.Contains(t, send("GET", "hubs/new", "").Body.String(), `"timeout": "5m"`)
	assert.Equal(t, 404, send("GET", "hubs/none", "").Code)
	info, err := os.Stat(made)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm(), "there may be secrets in it")

	landed2()
	s = start()
	assert.Equal(t, 200, asked(s, "/new/a").Code, "over a restart")
	cfg, _, err := load()
	require.NoError(t, err)
	assert.True(t, cfg.Made("hubs", "new"))
	assert.False(t, cfg.Made("hubs", "own"))
	require.Equal(t, 200, send("DELETE", "hubs/new", "").Code)
	assert.Equal(t, 404, asked(s, "/new/a").Code)
	require.Equal(t, 200, send("DELETE", "filters/counter", "").Code)
	landed2()
}

// Where there is no token, anybody on the machine could have the process read
// files and send them away.
func TestObjectsNeedAToken(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "config.yaml"), t.TempDir()
	require.NoError(t, os.WriteFile(file, in(t, "hubs: [{name: own, upstream: [{server: 'http://192.0.2.1'}]}]", dir), 0o600))
	load := func() (*cacheproxy.Config, []cacheproxy.Warning, error) { return cacheproxy.Load(file) }
	cfg, _, err := load()
	require.NoError(t, err)
	s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.DiscardHandler), Load: load})
	require.NoError(t, err)
	defer s.Close()
	w := do(s, "PUT", "/api/v1/config/hubs/new", `{"upstream": [{"server": "http://192.0.2.1"}]}`)
	assert.Equal(t, 403, w.Code)
	assert.Contains(t, w.Body.String(), "token-required")
	assert.Equal(t, 403, do(s, "DELETE", "/api/v1/config/hubs/own", "").Code)
	assert.Equal(t, 200, do(s, "GET", "/api/v1/config/hubs", "").Code)
}

// A file of objects that is wrong says where.
func TestObjectsWrong(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "config.yaml"), t.TempDir()
	require.NoError(t, os.WriteFile(file, in(t, "hubs: [{name: own, upstream: [{server: 'http://192.0.2.1'}]}]", dir), 0o600))
	made := filepath.Join(dir, ".meta", "objects.yaml")
	require.NoError(t, os.Mkdir(filepath.Dir(made), 0o755))
	for text, want := range map[string]string{
		"hubs:\n- name: x\n  upstream: [{server: 'http://192.0.2.1'}]\n  wrong: 1\n": made + ":4: hubs[1].wrong: unknown key",
		"hubs:\n- {name: own}\n": made + ":2: hubs[1]",
		"limits: {}\n":           made + ":1: limits: only lists",
		"[]":                     made + ":1: want a mapping",
		"hubs: [":                made + ":",
	} {
		require.NoError(t, os.WriteFile(made, []byte(text), 0o600))
		_, _, err := cacheproxy.Load(file)
		assert.ErrorContains(t, err, want, text)
	}
	require.NoError(t, os.WriteFile(made, nil, 0o600))
	_, _, err := cacheproxy.Load(file)
	assert.NoError(t, err)
}
