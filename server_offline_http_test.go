package cacheproxy_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// A hub of type http that is offline is a cache that is disconnected (RFC 9111
// §4.2.4): what is stored answers however old it is, unless the origin has
// forbidden that; everything else is a 504, and the origin hears of nothing.
func TestOfflineHTTP(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	reply := func(path, control string, more ...string) {
		h := http.Header{"Cache-Control": {control}}
		for i := 0; i < len(more); i += 2 {
			h.Add(more[i], more[i+1])
		}
		origin.Reply("GET", path, proxytest.Reply{Body: proxytest.Text("content"), Header: h})
	}
	reply("/a", "max-age=60")
	reply("/strict", "max-age=60, must-revalidate")
	reply("/vary", "max-age=60", "Vary", "Foo")
	reply("/checked", "no-cache", "ETag", `"v1"`)
	now := time.Now()
	s := newServer(t, "hubs: [{name: o, type: http, cache: {stale-if-error: 1h}, upstream: [{server: '"+origin.URL()+"'}]}]", t.TempDir(), func() time.Time { return now })
	defer s.Close()
	ask := func(method, path, foo string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, nil)
		r.Header.Set("Foo", foo)
		s.ServeHTTP(w, r)
		return w.Code
	}
	for _, path := range []string{"/o/a", "/o/strict", "/o/checked"} {
		require.Equal(t, 200, asked(s, path).Code)
	}
	require.Equal(t, 200, ask("GET", "/o/vary", "1"))
	landed(t, s)
	require.Equal(t, 200, do(s, "PUT", "/api/v1/offline?hub=o", `{"offline": true}`).Code)
	before := len(origin.Requests(""))

	assert.Equal(t, 200, asked(s, "/o/strict").Code, "it is fresh")
	now = now.Add(100 * time.Hour)
	w := asked(s, "/o/a")
	assert.Equal(t, 200, w.Code, "far beyond stale-if-error")
	assert.Equal(t, "content", w.Body.String())
	assert.Equal(t, "360000", w.Header().Get("Age"))
	assert.Equal(t, 200, ask("GET", "/o/vary", "1"))
	assert.Equal(t, 504, ask("GET", "/o/vary", "2"))
	assert.Equal(t, 504, asked(s, "/o/strict").Code)
	assert.Equal(t, 504, asked(s, "/o/checked").Code)
	assert.Equal(t, 504, asked(s, "/o/none").Code)
	assert.Equal(t, 504, ask("POST", "/o/a", ""))
	assert.Equal(t, 200, asked(s, "/o/a").Code, "which has invalidated nothing")
	assert.Len(t, origin.Requests(""), before, "nobody was asked")

	require.Equal(t, 200, do(s, "PUT", "/api/v1/offline?hub=o", `{"offline": false}`).Code)
	for _, path := range []string{"/o/a", "/o/strict", "/o/checked"} {
		assert.Equal(t, 200, asked(s, path).Code)
	}
	assert.Len(t, origin.Requests(""), before+3, "at once")
}
