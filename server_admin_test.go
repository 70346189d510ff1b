package cacheproxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// told is what a server's operators are told.
func told(t *testing.T, s *cacheproxy.Server, path string, header ...string) (status int, body string) {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "127.0.0.1:8882"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Admin().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func asked(s *cacheproxy.Server, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestAdminNumbers(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("twelve bytes")})
	s := newServer(t, "log: {access: false}\nhubs: [{name: tree, upstream: [{server: '"+origin.URL()+"'}]}]", t.TempDir(), nil)
	defer s.Close()
	for _, path := range []string{"/tree/a", "/tree/a", "/tree/a", "/tree/b"} {
		require.Equal(t, 200, asked(s, path).Code)
		require.Eventually(t, func() bool {
			_, text := told(t, s, "/api/v1/status")
			return strings.Contains(text, `"flights": 0,`)
		}, 5*time.Second, time.Millisecond, "it has landed")
	}
	require.Equal(t, 404, asked(s, "/nobody").Code)
	require.Equal(t, 400, asked(s, "/tree/%00").Code)

	status, metrics := told(t, s, "/metrics")
	require.Equal(t, 200, status)
	for _, line := range []string{
		`cache_proxy_requests_total{hub="tree",outcome="hit"} 2`,
		`cache_proxy_requests_total{hub="tree",outcome="miss"} 2`,
		`cache_proxy_sent_bytes_total{hub="tree",source="store"} 24`,
		`cache_proxy_sent_bytes_total{hub="tree",source="upstream"} 24`,
		`cache_proxy_saved_bytes_total{hub="tree"} 24`,
		`cache_proxy_refused_total{hub="tree",reason="path"} 1`,
		`cache_proxy_refused_total{hub="",reason="not-found"} 1`,
		`cache_proxy_races_total{hub="tree",origin=""} 2`,
		`cache_proxy_fetched_bytes_total{hub="tree",mirror="` + origin.URL() + `",origin=""} 24`,
		`cache_proxy_mirror_answers_total{hub="tree",mirror="` + origin.URL() + `",origin="",outcome="good"} 2`,
		`cache_proxy_store_entries 2`,
		`cache_proxy_store_bypassed 0`,
		`cache_proxy_flights 0`,
		`cache_proxy_build_info{version="devel"} 1`,
		"go_goroutines ",
	} {
		assert.True(t, strings.Contains(metrics, "\n"+line), line)
	}

	manual, err := os.ReadFile("docs/metrics.md")
	require.NoError(t, err)
	for line := range strings.Lines(metrics) {
		if name, ok := strings.CutPrefix(line, "# TYPE cache_proxy_"); ok {
			name, _, _ = strings.Cut(name, " ")
			assert.True(t, strings.Contains(string(manual), "`"+name+"`"), "docs/metrics.md: %s", name)
		}
	}

	_, text := told(t, s, "/api/v1/status")
	var st cacheproxy.Status
	require.NoError(t, json.Unmarshal([]byte(text), &st))
	assert.EqualValues(t, 1, st.Revision)
	assert.EqualValues(t, 2, st.Store.Entries)
	assert.False(t, st.Draining)
	assert.WithinDuration(t, time.Now(), st.Started, time.Minute)
	require.Len(t, st.Hubs, 1)
	assert.Equal(t, "tree", st.Hubs[0].Name)
	assert.EqualValues(t, 2, st.Hubs[0].Requests["hit"])
	assert.EqualValues(t, 24, st.Hubs[0].Saved)

	_, text = told(t, s, "/api/v1/mirrors")
	var all []cacheproxy.Standing
	require.NoError(t, json.Unmarshal([]byte(text), &all))
	require.Len(t, all, 1)
	assert.EqualValues(t, 2, all[0].Mirrors[0].Wins)
	assert.EqualValues(t, 2, all[0].Mirrors[0].Answers["good"])
	assert.Equal(t, origin.URL(), all[0].Mirrors[0].Mirror)
}

// However many paths are asked for, the number of series stays (B40).
func TestSeriesAreBounded(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("x")})
	s := newServer(t, `log: {access: false}
upstream: [{server: '`+origin.URL()+`', path: {match: '^/here/(.*)', replace: '/$1'}}]
hubs: [{name: tree, hosts: [tree.example.org], upstream: [{server: '`+origin.URL()+`'}]}]
`, t.TempDir(), nil)
	defer s.Close()
	ask := func(from, to, step int) {
		for i := from; i < to; i += step {
			asked(s, fmt.Sprintf("/here/%d", i))
			asked(s, fmt.Sprintf("/tree/%d", i))
			r := httptest.NewRequest("GET", "/"+fmt.Sprint(i), nil)
			r.Host = fmt.Sprintf("host%d.example.org", i)
			s.ServeHTTP(httptest.NewRecorder(), r)
		}
		for i := from; i < to; i += step / 5 {
			asked(s, fmt.Sprintf("/absent/%d", i))
		}
		for i := from; i < to; i++ {
			asked(s, fmt.Sprintf("/refused/%d/%%00", i))
		}
	}
	series := func() int {
		_, text := told(t, s, "/metrics")
		return strings.Count(text, "\ncache_proxy_")
	}
	ask(0, 10, 5)
	before := series()
	require.Greater(t, before, 100)
	ask(10, 50_010, 500)
	assert.Equal(t, before, series())
}

// B36: what is for operators is on their listener alone, and a new token counts
// from the next request on.
func TestAdminListener(t *testing.T) {
	load := func(text string) *cacheproxy.Config {
		file := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		cfg, _, err := cacheproxy.Load(file)
		require.NoError(t, err)
		return cfg
	}
	socket := filepath.Join(t.TempDir(), "admin")
	dir := t.TempDir()
	text := "listen: 127.0.0.1:0\nstorage: {local: {path: '" + dir + "'}}\nadmin: {listen: 'unix:" + socket + "', token: one}\n"
	debug := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "profile") })
	s, err := cacheproxy.New(load(text), cacheproxy.Options{Log: slog.New(slog.DiscardHandler), Debug: debug})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		assert.NoError(t, <-done)
		_, err := os.Stat(socket)
		assert.ErrorIs(t, err, os.ErrNotExist, "it is closed at the end")
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	get := func(path, token string) (int, string) {
		r, err := http.NewRequest("GET", "http://localhost"+path, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	require.Eventually(t, func() bool { status, _ := get("/metrics", "one"); return status == 200 }, 5*time.Second, 10*time.Millisecond)
	status, body := get("/debug/pprof/heap", "one")
	assert.Equal(t, 200, status)
	assert.Equal(t, "profile", body)
	for _, path := range []string{"/debug/pprof/heap", "/metrics", "/api/v1/status"} {
		assert.Equal(t, 404, asked(s, path).Code, "%s where clients come", path)
	}
	status, _ = get("/metrics", "two")
	assert.Equal(t, 401, status)

	require.NoError(t, s.Reload(load(strings.Replace(text, "token: one", "token: two", 1))))
	status, _ = get("/metrics", "one")
	assert.Equal(t, 401, status)
	status, body = get("/metrics", "two")
	assert.Equal(t, 200, status)
	assert.Contains(t, body, `cache_proxy_refused_total{hub="",reason="admin-token"} 2`)
	assert.Error(t, s.Reload(load(strings.Replace(text, "unix:"+socket, "", 1))), "admin.listen stays")
}

// What an error says that it is refused for, metrics and their manual know.
func TestReasonsAreCounted(t *testing.T) {
	manual, err := os.ReadFile("docs/metrics.md")
	require.NoError(t, err)
	s := newServer(t, "upstream: [{server: 'http://127.0.0.1:1'}]", t.TempDir(), nil)
	defer s.Close()
	asked(s, "/x")
	_, metrics := told(t, s, "/metrics")
	words := regexp.MustCompile(`Reason:\s*"([a-z-]+)"`)
	operators := []string{"invalid-configuration", "token-required"} // who hear it, and are not counted
	found := 0
	require.NoError(t, filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range words.FindAllStringSubmatch(string(text), -1) {
			if found++; !slices.Contains(operators, m[1]) {
				assert.Contains(t, metrics, `reason="`+m[1]+`"`, name)
				assert.Regexp(t, `\b`+m[1]+`\b`, string(manual), name)
			}
		}
		return err
	}))
	assert.Greater(t, found, 10)
}
