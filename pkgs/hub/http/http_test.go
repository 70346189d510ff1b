package http_test

import (
	"context"
	nethttp "net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/http"
)

func newHub() *http.Hub {
	return http.New(hub.Options{Name: "o", Policies: &hub.Policies{Default: freshness.Policy{TTL: 5, StaleIfError: 7, StaleWhileRevalidate: 9}}})
}

func TestCarry(t *testing.T) {
	tests := []struct{ target, path, upstream string }{
		{"/a/b", "/a/b", "/a/b"},
		{"/a%41?x=%41&y", "/aA?x=%41&y", "/a%41?x=%41&y"},
		{"/a?", "/a?", "/a?"},
		{"/", "/", "/"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("M-SEARCH", tt.target, nil)
		r.Header = nethttp.Header{
			"Authorization": {"me"}, "Cookie": {"a=b"}, "X-A": {"1"}, "X-B": {"2"}, "Connection": {"x-b, Authorization, close"},
			"Te": {"trailers"}, "Upgrade": {"h2c"}, "Proxy-Authorization": {"x"}, "Expect": {"100-continue"}, "Keep-Alive": {"1"}, "If-None-Match": {`"v"`},
		}
		req, err := newHub().Carry(r, &exchange.Wire{Method: r.Method})
		require.NoError(t, err)
		assert.Equal(t, exchange.Key{Hub: "o", Path: tt.path}, req.Key)
		assert.Equal(t, tt.upstream, req.Target)
		assert.Equal(t, nethttp.Header{"Authorization": {"me"}, "Cookie": {"a=b"}, "X-A": {"1"}, "If-None-Match": {`"v"`}}, req.Header)
		assert.Equal(t, freshness.Policy{Class: freshness.Transparent, StaleIfError: 7}, req.Policy)
		assert.Equal(t, "2", r.Header.Get("X-B"), "the client's request stays as it is")

		again, err := newHub().Parse(httptest.NewRequest("GET", req.Key.Path, nil))
		require.NoError(t, err)
		assert.Equal(t, req.Key, again.Key, "a key's own path parses to it")
	}
	for _, target := range []string{"/../etc/passwd", "/a/%2e%2e/b", "/a%00", "/a%5cb"} {
		_, err := newHub().Parse(httptest.NewRequest("GET", target, nil))
		var stated *exchange.Error
		require.ErrorAs(t, err, &stated, target)
		assert.Equal(t, 400, stated.Status)
	}
}

func TestLocate(t *testing.T) {
	const mirror, base = "http://origin.example.org/tree", "http://cache.lan/o"
	tests := []struct{ reference, path string }{
		{"", "/a/b?q"},
		{"c", "/a/c"},
		{"?x=1", "/a/b?x=1"},
		{"/tree/c", "/c"},
		{"/tree", "/"},
		{"/c", ""}, // of the same host, but not of what we have of it
		{"/treehouse", ""},
		{"../../../c", ""},
		{"http://origin.example.org/tree/c%41", "/cA"},
		{"http://ORIGIN.example.org/tree/c", "/c"},
		{"http://origin.example.org:80/tree/c", "/c"},
		{"http://cache.lan:80/o/c", "/c"},
		{"http://cache.lan/o/c", "/c"},
		{"http://cache.lan/c", ""},
		{"https://origin.example.org/tree/c", ""},
		{"http://origin.example.org:81/tree/c", ""},
		{"http://elsewhere.example.org/tree/c", ""},
		{"//elsewhere.example.org/tree/c", ""},
		{"http://[", ""},
		{"/tree/%2e%2e/c", ""},
	}
	for _, tt := range tests {
		req, err := newHub().Carry(httptest.NewRequest("POST", "/a/b?q", nil), &exchange.Wire{Method: "POST"})
		require.NoError(t, err)
		req.Client.Base = base
		key, ok := req.Wire.Locate(mirror, tt.reference)
		assert.Equal(t, tt.path != "", ok, tt.reference)
		if ok {
			assert.Equal(t, exchange.Key{Hub: "o", Path: tt.path}, key, tt.reference)
		}
	}
}

func TestMaxForwards(t *testing.T) {
	tests := []struct {
		method, most string
		asked        string // "": nobody is
	}{
		{"OPTIONS", "0", ""},
		{"OPTIONS", "5", "4"},
		{"OPTIONS", "many", "many"},
		{"GET", "0", "0"},
	}
	for _, tt := range tests {
		asked := ""
		source := newHub().Rewrite(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
			asked = req.Header.Get("Max-Forwards")
			return &exchange.Response{Entry: &exchange.Entry{Status: 200}, Body: nethttp.NoBody}, nil
		}))
		r := httptest.NewRequest(tt.method, "/a", nil)
		r.Header.Set("Max-Forwards", tt.most)
		req, err := newHub().Carry(r, &exchange.Wire{Method: tt.method})
		require.NoError(t, err)
		resp, err := source.Get(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, tt.asked, asked)
		if tt.asked == "" {
			assert.Equal(t, 204, resp.Entry.Status)
			assert.Contains(t, resp.Entry.Header.Get("Allow"), "OPTIONS")
		}
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("../c?x", "http://cache.lan/o")
	f.Add("http://origin.example.org/tree//%2e", "")
	f.Add("\x00", "::")
	f.Fuzz(func(t *testing.T, reference, base string) {
		req, err := newHub().Carry(httptest.NewRequest("POST", "/a/b?q", nil), &exchange.Wire{Method: "POST"})
		require.NoError(t, err)
		req.Client.Base = base
		key, ok := req.Wire.Locate("http://origin.example.org/tree", reference)
		if !ok {
			return
		}
		r, err := nethttp.NewRequest("GET", "http://x"+key.Path, nil)
		require.NoError(t, err)
		again, err := newHub().Parse(r)
		require.NoError(t, err)
		assert.Equal(t, key, again.Key, "what it names can be asked for")
	})
}
