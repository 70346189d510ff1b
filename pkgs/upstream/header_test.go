package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// newTLS is a server of h that asks for a client certificate, but needs none.
func newTLS(t *testing.T, h http.HandlerFunc, h2 bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = h2
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// raw is a server on loopback that answers each request on a connection with
// the next of some texts, byte for byte, and then closes it. Pieces that "|"
// divides are written apart.
func raw(t testing.TB, answers ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for _, a := range answers {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					r.Body.Close()
					for piece := range strings.SplitSeq(a, "|") {
						io.WriteString(c, piece)
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestHeaderOnReceipt(t *testing.T) { // B34, M055, T41
	drop := []string{"Connection", "Keep-Alive", "Proxy-Connection", "Trailer", "Upgrade", "Proxy-Authenticate", "TE",
		"Set-Cookie", "Strict-Transport-Security", "Access-Control-Allow-Origin", "Alt-Svc", "Service-Worker-Allowed",
		"Clear-Site-Data", "Public-Key-Pins", "X-Accel-Redirect", "X-Accel-Expires", "X_Accel_Redirect", "X-Sendfile", "X-Sendfile-Type",
		"X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Refresh", "Location", "WWW-Authenticate", "X-Cache", "Cache-Status",
		"X-Private"}
	keep := []string{"ETag", "Last-Modified", "Content-Type", "Cache-Control", "X-Foo", "Age", "Via", "Date", "Content-Disposition", "Docker-Content-Digest"}
	var head strings.Builder
	for _, name := range slices.Concat(drop, keep) {
		value := "x"
		switch name {
		case "Connection":
			value = "X-Private, keep-alive"
		case "Trailer":
			value = "X-T"
		}
		head.WriteString(name + ": " + value + "\r\n")
	}
	s := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+head.String()+"\r\nok")
	res, text := get(t, join(t, Options{Mirrors: mirrors(t, s)}), request("/a"))
	assert.Equal(t, "ok", text)
	var left []string
	for name := range res.Entry.Header {
		left = append(left, name)
	}
	var want []string
	for _, name := range keep {
		want = append(want, http.CanonicalHeaderKey(name))
	}
	assert.ElementsMatch(t, want, left)
	assert.True(t, res.NoStore, "of the cookie")
}

func TestConnectionFieldWithClose(t *testing.T) { // B34: net/http forgets the list
	const body = "\r\nok"
	tests := []struct {
		name    string
		answers []string
	}{
		{"close last", []string{"HTTP/1.1 200 OK\r\nConnection: X-Private, close\r\nX-Private: s\r\nX-Foo: a\r\nContent-Length: 2\r\n" + body}},
		{"close first", []string{"HTTP/1.1 200 OK\r\nX-Private: s\r\nX-Foo: a\r\nContent-Length: 2\r\nCONNECTION: close,x-private\r\n" + body}},
		{"two fields", []string{"HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: X-Private\r\nX-Private: s\r\nX-Foo: a\r\nContent-Length: 2\r\n" + body}},
		{"in pieces", []string{"HTTP/1.1 200 OK\r\nX-Foo: a\r\nConnec|tion: close, X-Pri|vate\r\nX-Private: s\r\nContent-Length: 2\r\n\r|" + body[1:]}},
		{"after an interim", []string{"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close, X-Private\r\nX-Private: s\r\nX-Foo: a\r\nContent-Length: 2\r\n" + body}},
		{"bare newlines", []string{"HTTP/1.1 200 OK\nConnection: close, X-Private\nX-Private: s\nX-Foo: a\nContent-Length: 2\n\nok"}},
		{"folded", []string{"HTTP/1.1 200 OK\r\nConnection: close,\r\n X-Private\r\nX-Private: s\r\nX-Foo: a\r\nContent-Length: 2\r\n" + body}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, text := get(t, join(t, Options{Mirrors: mirrors(t, raw(t, test.answers...))}), request("/a"))
			assert.Equal(t, "ok", text)
			assert.Equal(t, "a", res.Entry.Header.Get("X-Foo"))
			assert.Empty(t, res.Entry.Header.Get("X-Private"))
		})
	}
	t.Run("tls", func(t *testing.T) {
		s := newTLS(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Connection"] = []string{"close, X-Private"}
			w.Header().Set("X-Private", "s")
			w.Header().Set("X-Foo", "a")
		}, false)
		o := Options{Mirrors: mirrors(t, s.URL)}
		g := join(t, o)
		g.mirrors[0].own = g.mirrors[0].transport(s.Client().Transport.(*http.Transport).TLSClientConfig, nil)
		g.mirrors[0].home = g.mirrors[0].own
		res, _ := get(t, g, request("/a"))
		assert.Equal(t, "a", res.Entry.Header.Get("X-Foo"))
		assert.Empty(t, res.Entry.Header.Get("X-Private"))
	})
}

func TestConnectionFieldIsOfOneResponse(t *testing.T) {
	s := raw(t, "HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: s\r\nX-B: b\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nX-A: a\r\nX-B: b\r\nContent-Length: 36\r\n\r\nHTTP/1.1 200 OK\r\nConnection: X-B\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-A: a\r\nX-B: b\r\nContent-Length: 2\r\n\r\nok")
	g := join(t, Options{Mirrors: mirrors(t, s)})
	for _, want := range []string{"", "a", "a"} {
		res, _ := get(t, g, request("/a"))
		assert.Equal(t, want, res.Entry.Header.Get("X-A"))
		assert.Equal(t, "b", res.Entry.Header.Get("X-B"))
	}
}

func TestHeaderTooLarge(t *testing.T) { // B23, B34
	for _, test := range []struct {
		name  string
		bytes int
		ok    bool
	}{{"small", 8 << 10, true}, {"more than is stored", 17 << 10, false}, {"more than is read", 80 << 10, false}} {
		t.Run(test.name, func(t *testing.T) {
			s := origin(t, says(200, "ok", "X-Long", strings.Repeat("x", test.bytes)))
			g := join(t, Options{Mirrors: mirrors(t, s.URL)})
			if test.ok {
				get(t, g, request("/a"))
			} else {
				assert.Equal(t, 502, failure(t, g, request("/a")).Status)
			}
		})
	}
}

func TestNeverStore(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "public, max-age=5": false, "no-cache": false, "no-store": true, "max-age=5,No-Store": true,
		"private": true, `private="x-a"`: true, "privateer": false, "x=private": false,
	} {
		assert.Equal(t, want, neverStore(http.Header{"Cache-Control": {"max-age=1", value}}), value)
	}
	assert.True(t, neverStore(http.Header{"Set-Cookie": {"a=b"}}))
}

func FuzzTap(f *testing.F) {
	f.Add([]byte("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close, X-A\r\n B\r\n\r\nrest"), 7)
	f.Add([]byte("\n\n\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		whole, parts := newTap(nil), newTap(nil)
		whole.in, parts.in = true, true
		whole.watch(b)
		piece = max(piece%64, 1)
		for p := range slices.Chunk(b, piece) {
			if parts.in {
				parts.watch(p)
			}
		}
		require.Equal(t, whole.named(), parts.named(), "in pieces of %d", piece)
		for _, name := range whole.named() {
			require.NotEmpty(t, strings.TrimSpace(name))
		}
	})
}

func FuzzReceive(f *testing.F) {
	f.Add("X-A: b\r\nConnection: x-a, close\r\nSet-Cookie: a\r\nRetry-After: 7\r\nX_Accel_Redirect: /x\r\n\r\n")
	f.Add("X_ACCel_A A: /x\r\n\r\n")
	f.Fuzz(func(t *testing.T, head string) {
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\n"+head)), nil)
		if err != nil {
			return
		}
		o := &Options{}
		o.setDefaults()
		l := &leg{options: o, req: &exchange.Request{Validate: &exchange.Entry{}}}
		l.mirror = &mirror{options: o, statuses: []int{200}}
		l.ctx, l.cancel = context.WithCancelCause(t.Context())
		l.take(&response{Response: res, named: listed(res.Header["Connection"])}, o.Now())
		for name := range l.entry.Header {
			spelled := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
			require.False(t, strings.HasPrefix(spelled, "x-accel-") || spelled == "set-cookie" || spelled == "connection", name)
		}
	})
}
