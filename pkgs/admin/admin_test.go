package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// full has every route, and one that changes something.
func full(token string) (http.Handler, *[]string) {
	var refused []string
	text := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "here") })
	o := Options{
		Token: token, Hosts: []string{"Cache.Example.Org"}, Metrics: text, Debug: text,
		Status:  func(context.Context) any { return map[string]int{"pid": 1} },
		Mirrors: func(context.Context) any { return []string{"a"} },
		Refused: func(reason string) { refused = append(refused, reason) },
	}
	return New(o), &refused
}

func ask(h http.Handler, method, target string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:8882"
	for name, value := range header {
		if name == "Host" {
			r.Host = value
		} else {
			r.Header[name] = strings.Split(value, "|")
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRoutes(t *testing.T) {
	h, _ := full("")
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/metrics", 200, "here"},
		{"HEAD", "/metrics", 200, ""},
		{"POST", "/metrics", 405, ""},
		{"GET", "/debug/pprof/heap", 200, "here"},
		{"POST", "/debug/pprof/symbol", 200, "here"},
		{"GET", "/api/v1/status", 200, `"pid": 1`},
		{"GET", "/api/v1/mirrors", 200, `"a"`},
		{"GET", "/", 200, "GET /api/v1/mirrors"},
		{"GET", "/api/v1/nothing", 404, `"code": "not-found"`},
		{"PUT", "/api/v1/status", 405, `"code": "method-not-allowed"`},
		{"PATCH", "/api/v1/status", 405, "only GET"},
		{"OPTIONS", "/api/v1/status", 405, "only GET"},
		{"TRACE", "/", 405, ""},
	} {
		w := ask(h, c.method, c.path, nil)
		assert.Equal(t, c.status, w.Code, c.method+" "+c.path)
		assert.Contains(t, w.Body.String(), c.body, c.method+" "+c.path)
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		assert.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
	}
}

func TestNothingGivenNothingThere(t *testing.T) {
	h := New(Options{})
	for _, path := range []string{"/metrics", "/debug/pprof/", "/api/v1/status", "/api/v1/mirrors"} {
		assert.Equal(t, 404, ask(h, "GET", path, nil).Code, path)
	}
	assert.Equal(t, 403, ask(h, "GET", "/", map[string]string{"Host": "evil.example"}).Code)
}

// B36, B37: who is let in.
func TestGuard(t *testing.T) {
	const token = "correct horse"
	for _, c := range []struct {
		name, token, method string
		header              map[string]string
		status              int
		reason              string
	}{
		{"an address", "", "GET", nil, 200, ""},
		{"another address", "", "GET", map[string]string{"Host": "192.0.2.7"}, 200, ""},
		{"IPv6", "", "GET", map[string]string{"Host": "[::1]:8882"}, 200, ""},
		{"localhost", "", "GET", map[string]string{"Host": "LocalHost.:8882"}, 200, ""},
		{"a known name", "", "GET", map[string]string{"Host": "cache.example.org:1"}, 200, ""},
		{"a rebound name", "", "GET", map[string]string{"Host": "evil.example:8882"}, 403, "admin-host"},
		{"a name below a known one", "", "GET", map[string]string{"Host": "x.cache.example.org"}, 403, "admin-host"},
		{"a known name in another", "", "GET", map[string]string{"Host": "localhost.evil.example"}, 403, "admin-host"},
		{"no Host", "", "GET", map[string]string{"Host": ""}, 403, "admin-host"},

		{"a program changes something", "", "POST", nil, 200, ""},
		{"a page of ours", "", "POST", map[string]string{"Origin": "http://127.0.0.1:8882", "Sec-Fetch-Site": "same-origin"}, 200, ""},
		{"behind TLS", "", "POST", map[string]string{"Origin": "https://127.0.0.1:8882"}, 200, ""},
		{"the user", "", "POST", map[string]string{"Sec-Fetch-Site": "none"}, 200, ""},
		{"another page", "", "POST", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "admin-origin"},
		{"a sibling page", "", "DELETE", map[string]string{"Sec-Fetch-Site": "same-site"}, 403, "admin-origin"},
		{"another origin", "", "DELETE", map[string]string{"Origin": "http://evil.example"}, 403, "admin-origin"},
		{"another port", "", "POST", map[string]string{"Origin": "http://127.0.0.1:8881"}, 403, "admin-origin"},
		{"a longer origin", "", "POST", map[string]string{"Origin": "http://127.0.0.1:8882.evil.example"}, 403, "admin-origin"},
		{"no origin at all", "", "POST", map[string]string{"Origin": "null"}, 403, "admin-origin"},
		{"an origin that lies about its site", "", "POST", map[string]string{"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403, "admin-origin"},
		{"two sites", "", "POST", map[string]string{"Sec-Fetch-Site": "same-origin|cross-site"}, 403, "admin-origin"},
		{"another page looks", "", "GET", map[string]string{"Sec-Fetch-Site": "cross-site"}, 200, ""}, // and cannot read it

		{"token", token, "GET", map[string]string{"Authorization": "Bearer correct horse"}, 200, ""},
		{"token, scheme in small letters", token, "GET", map[string]string{"Authorization": "bearer correct horse"}, 200, ""},
		{"no token", token, "GET", nil, 401, "admin-token"},
		{"empty token", token, "GET", map[string]string{"Authorization": "Bearer "}, 401, "admin-token"},
		{"wrong token", token, "GET", map[string]string{"Authorization": "Bearer correct horse!"}, 401, "admin-token"},
		{"part of the token", token, "GET", map[string]string{"Authorization": "Bearer correct"}, 401, "admin-token"},
		{"another scheme", token, "GET", map[string]string{"Authorization": "Basic correct horse"}, 401, "admin-token"},
		{"two tokens", token, "GET", map[string]string{"Authorization": "Bearer correct horse|Bearer x"}, 401, "admin-token"},
		{"token from another page", token, "POST", map[string]string{"Authorization": "Bearer correct horse", "Sec-Fetch-Site": "cross-site"}, 403, "admin-origin"},
		{"token, rebound name", token, "GET", map[string]string{"Authorization": "Bearer correct horse", "Host": "evil.example"}, 403, "admin-host"},
		{"unasked token", "", "GET", map[string]string{"Authorization": "Bearer x"}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, refused := full(c.token)
			w := ask(h, c.method, "/debug/pprof/", c.header)
			if c.method == "DELETE" && c.status == 200 {
				c.status = 405
			}
			assert.Equal(t, c.status, w.Code, w.Body)
			if c.reason == "" {
				assert.Empty(t, *refused)
			} else {
				assert.Equal(t, []string{c.reason}, *refused)
				assert.NotContains(t, w.Body.String(), "here")
				assert.Contains(t, w.Body.String(), `"code": "`+c.reason+`"`)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		v      any
		err    error
		status int
		body   string
	}{
		{"a value", map[string]int{"a": 1}, nil, 200, `"a": 1`},
		{"no such thing", nil, fs.ErrNotExist, 404, "file does not exist"},
		{"its own status", nil, &exchange.Error{Status: 409, Message: "busy"}, 409, "busy"},
		{"no status of an error", nil, &exchange.Error{Status: 200, Message: "odd"}, 500, "odd"},
		{"anything else", nil, errors.New(`a "quoted" thing`), 500, `a \"quoted\" thing`},
		{"no JSON", func() {}, nil, 500, "unsupported type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(answer(func(*http.Request) (any, error) { return c.v, c.err }), "GET", "/", nil)
			assert.Equal(t, c.status, w.Code)
			assert.Contains(t, w.Body.String(), c.body)
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
		})
	}
}

func TestBodiesAreSmall(t *testing.T) {
	var err error
	o := Options{Debug: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, err = io.ReadAll(r.Body) })}
	r := httptest.NewRequest("POST", "/debug/pprof/", strings.NewReader(strings.Repeat("x", maxBody+1)))
	r.Host = "localhost"
	New(o).ServeHTTP(httptest.NewRecorder(), r)
	var tooLarge *http.MaxBytesError
	assert.ErrorAs(t, err, &tooLarge)
}
