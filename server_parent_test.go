package cacheproxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// family is an office that has its packages from the one at headquarters, which has
// them from an origin.
func family(t *testing.T, origin string, hub string) (parent, child *Server, at *httptest.Server) {
	t.Helper()
	text := "hubs: [{name: h, %s, cache: {timeout: 1ns, policies: [{match: ^/simple/, refresh-after: %s}]}, upstream: [{server: %s}]}]"
	parent = serverOf(t, fmt.Sprintf(text, strings.ReplaceAll(hub, "{base}", origin), "1h", origin), io.Discard)
	at = httptest.NewServer(parent)
	t.Cleanup(at.Close)
	child = serverOf(t, fmt.Sprintf(text, strings.ReplaceAll(hub, "{base}/files", at.URL+"/h/_f/f"), "1ns", at.URL+"/h"), io.Discard)
	return parent, child, at
}

// entries are the keys of what is stored of the hub.
func entries(t *testing.T, s *Server) (keys []string, bytes int64) {
	t.Helper()
	for e, err := range s.store.Entries(t.Context(), "h", "/") {
		require.NoError(t, err)
		keys = append(keys, e.Key.String())
		bytes += e.Size
	}
	return keys, bytes
}

// TestParent: a page that a parent has edited is stored once, validated by the
// parent's validators, and its files come through both, those of second hosts too.
func TestParent(t *testing.T) {
	page := "<html><body>" + strings.Repeat(`<a href="../../packages/lib-1.0.tar.gz">lib-1.0.tar.gz</a>`, 1000) + `<a href="{self}/files/lib-2.0.tar.gz">x</a>`
	d := newDepot(t, map[string]string{
		"/simple/lib/": page, "/packages/lib-1.0.tar.gz": "one", "/files/lib-2.0.tar.gz": "two",
	})
	parent, child, _ := family(t, d.URL, "type: pypi, options: {files: {f: '{base}/files'}}")
	var body string
	for range 3 {
		w := ask(child, "GET", "/h/simple/lib/")
		require.Equal(t, 200, w.Code)
		body = w.Body.String()
		assert.Contains(t, body, `href="../../packages/lib-1.0.tar.gz"`)
		assert.Contains(t, body, `href="../../_f/f/lib-2.0.tar.gz"`)
		assert.Equal(t, 2, strings.Count(strings.Join(w.Header()["Via"], ","), "cache-proxy-"), "both say that they are there")
	}
	assert.Equal(t, body, ask(parent, "GET", "/h/simple/lib/").Body.String())
	assert.Len(t, d.questions(), 1, "the parent answered what the child asked again")
	assert.Equal(t, "one", ask(child, "GET", "/h/packages/lib-1.0.tar.gz").Body.String())
	assert.Equal(t, "two", ask(child, "GET", "/h/_f/f/lib-2.0.tar.gz").Body.String())
	assert.Len(t, d.questions(), 2)

	assert.Equal(t, "REVALIDATED", ask(child, "GET", "/h/simple/lib/").Header().Get("X-Cache"), "by the parent's validator")
	require.Eventually(t, func() bool { _, n := entries(t, child); return n >= int64(len(body)) }, 5*time.Second, time.Millisecond)
	keys, size := entries(t, child)
	assert.Less(t, size, int64(2*len(body)), "%v: the page is there once", keys)
	_, size = entries(t, parent)
	assert.Greater(t, size, int64(2*len(body))-10_000, "where it was edited there are two, or this compares nothing")
	w := ask(child, "HEAD", "/h/simple/lib/")
	assert.Equal(t, fmt.Sprint(len(body)), w.Header().Get("Content-Length"))
	assert.Empty(t, w.Body.String())
}

// TestParentStreams: who follows a transfer at the child's gets the bytes as the
// origin sends them, through both, and the origin is asked once.
func TestParentStreams(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan string, 10)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		w.Header().Set("Content-Length", "20")
		io.WriteString(w, "0123456789")
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "0123456789")
	}))
	defer origin.Close()
	parent, child, at := family(t, origin.URL, "type: pypi")
	door := httptest.NewServer(child)
	defer door.Close()
	var all []*http.Response
	for _, base := range []string{door.URL, door.URL, at.URL} {
		res, err := http.Get(base + "/h/packages/lib-1.0.tar.gz")
		require.NoError(t, err)
		defer res.Body.Close()
		first := make([]byte, 10)
		_, err = io.ReadFull(res.Body, first)
		require.NoError(t, err)
		assert.Equal(t, "0123456789", string(first), "before the origin has sent the rest")
		all = append(all, res)
	}
	close(release)
	for _, res := range all {
		rest, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "0123456789", string(rest))
	}
	assert.Len(t, asked, 1)
	_ = parent
}

// TestParentLoop: two that are each other's parent tell their clients so, and do not
// ask each other for ever.
func TestParentLoop(t *testing.T) {
	var other *Server
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { other.ServeHTTP(w, r) }))
	defer first.Close()
	parent, child, _ := family(t, first.URL+"/h", "type: pypi")
	other = child
	for _, s := range []*Server{parent, child} {
		assert.GreaterOrEqual(t, ask(s, "GET", "/h/packages/lib-1.0.tar.gz").Code, 500)
	}
}
