package edge

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type plain struct {
	*content
	path string
}

func (p plain) Path() string { return p.path }

func TestAccel(t *testing.T) {
	both := []string{"X-Sendfile", "X-Accel-Redirect"}
	tests := []struct {
		name    string
		respond []string
		path    string // of the stored file; "" for a body that is none
		peer    string
		unix    bool
		header  []string
		status  int
		body    string
		value   string
	}{
		{name: "redirect", respond: both, path: "default/a/b.deb", header: []string{"X-Accel-Path", "/i"}, status: 200, value: "/i/default/a/b.deb"},
		{name: "slash behind the prefix", respond: both, path: "a", header: []string{"X-Accel-Path", "/i/"}, status: 200, value: "/i/a"},
		{name: "one field", respond: both[1:], path: "a", header: []string{"X-Accel-Path", "/i"}, status: 200, value: "/i/a"},
		{name: "escaped", respond: both, path: "a b%2F?#\r\n+é", header: []string{"X-Accel-Path", "/i"}, status: 200, value: "/i/a%20b%252F%3F%23%0D%0A%2B%C3%A9"},
		{name: "range is the front's", respond: both, path: "a", header: []string{"X-Accel-Path", "/i", "Range", "bytes=1-2"}, status: 200, value: "/i/a"},
		{name: "preconditions are ours", respond: both, path: "a", header: []string{"X-Accel-Path", "/i", "If-None-Match", etag}, status: 304},
		{name: "no header", respond: both, path: "a", status: 200, body: "hello"},
		{name: "no field", path: "a", header: []string{"X-Accel-Path", "/i"}, status: 200, body: "hello"},
		{name: "empty prefix", respond: both, path: "a", header: []string{"X-Accel-Path", ""}, status: 200, body: "hello"},
		{name: "relative prefix", respond: both, path: "a", header: []string{"X-Accel-Path", "i"}, status: 200, body: "hello"},
		{name: "another header", respond: both, path: "a", header: []string{"X_Accel_Path", "/i", "X-Accel-Redirect", "/i"}, status: 200, body: "hello"},
		{name: "no file", respond: both, header: []string{"X-Accel-Path", "/i", "Range", "bytes=1-2"}, status: 206, body: "el"},
		{name: "stranger", respond: both, path: "a", peer: "203.0.113.5:1", header: []string{"X-Accel-Path", "/i"}, status: 200, body: "hello"},
		{name: "mapped address", respond: both, path: "a", peer: "[::ffff:127.0.0.1]:1", header: []string{"X-Accel-Path", "/i"}, status: 200, value: "/i/a"},
		{name: "no address", respond: both, path: "a", peer: "@", header: []string{"X-Accel-Path", "/i"}, status: 200, body: "hello"},
		{name: "unix socket", respond: both, path: "a", peer: "@", unix: true, header: []string{"X-Accel-Path", "/i"}, status: 200, value: "/i/a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := New(Options{Hub: tree{},
				Accel: Accel{Header: "X-Accel-Path", Respond: test.respond, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
				Source: answer("hello", func(resp *exchange.Response) {
					if test.path != "" {
						resp.Body = plain{resp.Body.(*content), test.path}
					}
				})})
			r := httptest.NewRequest("GET", "/x", nil)
			r.RemoteAddr = "127.0.0.1:1234"
			if test.peer != "" {
				r.RemoteAddr = test.peer
			}
			if test.unix {
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Net: "unix"}))
			}
			for i := 0; i < len(test.header); i += 2 {
				r.Header.Set(test.header[i], test.header[i+1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			resp := w.Result()
			assert.Equal(t, test.status, resp.StatusCode)
			assert.Equal(t, test.body, read(t, resp))
			for _, name := range both {
				want := test.value
				if !strings.Contains(strings.Join(test.respond, " "), name) {
					want = ""
				}
				assert.Equal(t, want, resp.Header.Get(name), name)
			}
			if test.value != "" {
				assert.Equal(t, "0", resp.Header.Get("Content-Length"))
				assert.Equal(t, "text/plain", resp.Header.Get("Content-Type"))
			}
		})
	}
}
