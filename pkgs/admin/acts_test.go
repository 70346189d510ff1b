package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

// all has every route there can be, and counts what was done.
func all(token string, done *int) Options {
	text := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
	some := func(context.Context) any { return map[string]int{} }
	part := func(string, string) (any, error) { *done++; return nil, nil }
	return Options{
		Token: token, Metrics: text, Debug: text,
		Status: some, Hubs: some, Mirrors: some, Filters: some, Statuses: some, Errors: some,
		Flights: func() []Flight { return nil },
		Store:   counting{pinning{new(mem.Store), nil}, done},
		Purge:   func(context.Context, exchange.Key) error { *done++; return nil },
		Level:   &Level{func() string { return "info" }, func(string) error { *done++; return nil }},
		Offline: &Offline{func() OfflineState { return OfflineState{} }, func(string, bool) error { *done++; return nil }},
		Reload:  func(context.Context) (any, error) { *done++; return nil, nil },
		Drain:   func() { *done++ },
		Config: &Config{
			Sections: []string{"hubs"}, List: func(string) (any, error) { return nil, nil },
			Show: func(string, string) (any, error) { return nil, nil }, Delete: part,
			Put: func(string, string, []byte) (any, error) { *done++; return nil, nil },
		},
	}
}

type counting struct {
	pinning
	done *int
}

func (c counting) Pin(context.Context, exchange.Key, bool) error { *c.done++; return nil }

// B36, B37: nothing that is done here is done for a page of another origin, under
// a name that was rebound, or without the token.
func TestEveryWriteIsGuarded(t *testing.T) {
	for _, c := range []struct {
		name   string
		header map[string]string
		status int
	}{
		{"by a program", map[string]string{"Authorization": "Bearer secret"}, 0},
		{"from another site", map[string]string{"Authorization": "Bearer secret", "Sec-Fetch-Site": "cross-site"}, 403},
		{"from another origin", map[string]string{"Authorization": "Bearer secret", "Origin": "http://evil.example"}, 403},
		{"under a rebound name", map[string]string{"Authorization": "Bearer secret", "Host": "evil.example", "Origin": "http://evil.example"}, 403},
		{"without the token", nil, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			done, writes := 0, 0
			o := all("secret", &done)
			h := New(o)
			for _, r := range o.routes() {
				method, path, _ := strings.Cut(r.Pattern, " ")
				if method == "GET" || path == "" {
					continue
				}
				writes++
				path = strings.ReplaceAll(path, "{name}", "npm") + "?hub=npm&path=/a"
				body := `{}`
				if _, ok := r.Body.(LevelValue); ok {
					body = `{"level": "debug"}`
				}
				w := send(h, method, path, body, c.header)
				if c.status == 0 {
					assert.Less(t, w.Code, 300, "%s: %s", r.Pattern, w.Body)
					assert.Positive(t, done, r.Pattern)
				} else {
					assert.Equal(t, c.status, w.Code, r.Pattern)
					assert.Zero(t, done, r.Pattern)
				}
			}
			assert.Equal(t, 9, writes)
		})
	}
}

func send(h http.Handler, method, target, body string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8882"
	for name, value := range header {
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestActs(t *testing.T) {
	level, drained := "info", 0
	offline := map[string]bool{}
	h := New(Options{
		Level: &Level{func() string { return level }, func(s string) error {
			if s == "loud" {
				return errors.New("no level")
			}
			level = s
			return nil
		}},
		Offline: &Offline{func() OfflineState { return OfflineState{offline[""], offline} }, func(hub string, on bool) error {
			if hub == "none" {
				return fs.ErrNotExist
			}
			offline[hub] = on
			return nil
		}},
		Reload: func(context.Context) (any, error) {
			return nil, &exchange.Error{Status: 422, Reason: "invalid", Message: "config.yaml:3: upstream: required"}
		},
		Drain: func() { drained++ },
	})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/api/v1/log/level", "", 200, `"level": "info"`},
		{"PUT", "/api/v1/log/level", `{"level": "debug"}`, 200, `"level": "debug"`},
		{"PUT", "/api/v1/log/level", `{"level": "loud"}`, 400, "no level"},
		{"PUT", "/api/v1/log/level", `{"levle": "debug"}`, 400, `unknown field`},
		{"PUT", "/api/v1/log/level", `{"level": "debug"} {}`, 400, "more than one"},
		{"PUT", "/api/v1/log/level", `debug`, 400, "content"},
		{"PUT", "/api/v1/log/level", `{"level": "` + strings.Repeat("x", maxBody) + `"}`, 413, "more than 1048576 bytes"},
		{"PUT", "/api/v1/offline", `{"offline": true}`, 200, `"all": true`},
		{"PUT", "/api/v1/offline?hub=npm", `{"offline": true}`, 200, `"npm": true`},
		{"PUT", "/api/v1/offline?hub=none", `{"offline": true}`, 404, "not-found"},
		{"GET", "/api/v1/offline", "", 200, `"npm": true`},
		{"POST", "/api/v1/reload", "", 422, `"code": "invalid"`},
		{"POST", "/api/v1/drain", "", 202, `"accepted": true`},
	} {
		w := send(h, c.method, c.path, c.body, nil)
		assert.Equal(t, c.status, w.Code, c.path+" "+c.want)
		assert.Contains(t, w.Body.String(), c.want, c.path)
		if c.status >= 400 {
			var e Error
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &e))
			assert.NotEmpty(t, e.Code)
			assert.NotEmpty(t, e.Message)
		}
	}
	assert.Equal(t, "debug", level)
	assert.Equal(t, 1, drained)
}

// The description has every route, and every reference in it leads somewhere.
func TestDescription(t *testing.T) {
	done := 0
	o := all("", &done)
	w := ask(New(o), "GET", describedAt, nil)
	require.Equal(t, 200, w.Code)
	var d map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &d))
	assert.Equal(t, "3.1.0", d["openapi"])
	paths := d["paths"].(map[string]any)
	ops := 0
	for _, p := range paths {
		ops += len(p.(map[string]any))
	}
	for _, r := range o.routes() {
		method, path, ok := strings.Cut(r.Pattern, " ")
		if !ok {
			assert.Equal(t, "/debug/pprof/", r.Pattern)
			continue
		}
		op, _ := paths[path].(map[string]any)[strings.ToLower(method)].(map[string]any)
		require.NotNil(t, op, r.Pattern)
		assert.Equal(t, r.About, op["summary"])
		params, _ := op["parameters"].([]any)
		assert.Len(t, params, len(r.Query)+strings.Count(path, "{"), r.Pattern)
		assert.Equal(t, r.Body != nil, op["requestBody"] != nil, r.Pattern)
	}
	assert.Equal(t, len(o.routes()), ops, "and itself, but not the profiles")
	schemas := d["components"].(map[string]any)["schemas"].(map[string]any)
	for _, part := range strings.Split(w.Body.String(), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		assert.Contains(t, schemas, name)
	}
	object := schemas["Object"].(map[string]any)
	assert.Contains(t, object["properties"], "received")
	assert.Contains(t, object["required"], "pinned")
	assert.NotContains(t, object["required"], "header")
}

// docs/admin.md has every route of the API.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/admin.md")
	require.NoError(t, err)
	done := 0
	o := all("", &done)
	for _, r := range o.routes() {
		_, path, _ := strings.Cut(r.Pattern, " ")
		if !strings.HasPrefix(path, "/api/") {
			continue
		}
		last := path[strings.LastIndex(path, "/"):]
		assert.True(t, strings.Contains(string(text), last+"`") || strings.Contains(string(text), last+"?"), "docs/admin.md: %s", path)
	}
}
