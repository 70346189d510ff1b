package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// clientOf is what the source learns of who sent r.
func clientOf(t *testing.T, h func(exchange.Source) http.Handler, r *http.Request) (c exchange.Client, status int) {
	t.Helper()
	source := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		c = req.Client
		return answer("content", nil)(ctx, req)
	})
	w := httptest.NewRecorder()
	h(source).ServeHTTP(w, r)
	return c, w.Code
}

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestClient(t *testing.T) { // B4, B32
	for _, c := range []struct {
		name    string
		peer    string
		fields  []string // names and values in turn
		base    string
		addr    string
		options Options
	}{
		{name: "direct", base: "http://proxy.example.org:8881/npm", addr: "192.0.2.7"},
		{name: "configured", options: Options{Base: "https://public.example.org/npm"}, base: "https://public.example.org/npm", addr: "192.0.2.7"},
		{name: "spoofed", fields: []string{
			"X-Forwarded-Host", "evil.example.org", "X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.1",
			"Forwarded", "for=203.0.113.1;host=evil.example.org;proto=https"},
			base: "http://proxy.example.org:8881/npm", addr: "192.0.2.7"},
		{name: "through a proxy", peer: "10.1.1.1:5", fields: []string{
			"X-Forwarded-Host", "public.example.org", "X-Forwarded-Proto", "HTTPS", "X-Forwarded-For", "203.0.113.1"},
			base: "https://public.example.org/npm", addr: "203.0.113.1"},
		{name: "through a proxy that says nothing", peer: "10.1.1.1:5", base: "http://proxy.example.org:8881/npm", addr: "10.1.1.1"},
		{name: "through two, and a forged one before", peer: "[fd00::1]:5", fields: []string{
			"X-Forwarded-For", "127.0.0.1, 203.0.113.1,10.0.0.9"},
			base: "http://proxy.example.org:8881/npm", addr: "203.0.113.1"},
		{name: "in two lines", peer: "10.1.1.1:5", fields: []string{
			"X-Forwarded-For", "127.0.0.1", "X-Forwarded-For", "203.0.113.1"},
			base: "http://proxy.example.org:8881/npm", addr: "203.0.113.1"},
		{name: "nonsense", peer: "10.1.1.1:5", fields: []string{
			"X-Forwarded-Host", "evil.example.org/x?", "X-Forwarded-Proto", "javascript", "X-Forwarded-For", "localhost"},
			base: "http://proxy.example.org:8881/npm", addr: "10.1.1.1"},
		{name: "the last host counts", peer: "10.1.1.1:5", fields: []string{"X-Forwarded-Host", "evil.example.org, public.example.org"},
			base: "http://public.example.org/npm", addr: "10.1.1.1"},
		{name: "RFC 7239", peer: "10.1.1.1:5", fields: []string{
			"Forwarded", `For="[2001:db8::1]:4711"; Host="public.example.org:444" ;proto=https`},
			base: "https://public.example.org:444/npm", addr: "2001:db8::1"},
		{name: "RFC 7239 through two", peer: "10.1.1.1:5", fields: []string{
			"Forwarded", "for=127.0.0.1;host=evil.example.org, for=203.0.113.1;host=public.example.org;proto=https, for=10.0.0.9;host=inner.example.org"},
			base: "https://public.example.org/npm", addr: "203.0.113.1"},
		{name: "RFC 7239, hidden", peer: "10.1.1.1:5", fields: []string{"Forwarded", "for=evil;host=evil.example.org, for=_hidden;proto=https"},
			base: "https://proxy.example.org:8881/npm", addr: "10.1.1.1"},
		{name: "a kind that the proxy does not know", peer: "10.1.1.1:5", fields: []string{
			"Forwarded", "for=127.0.0.1;host=evil.example.org;proto=https", "X-Forwarded-For", "203.0.113.1", "X-Forwarded-Proto", "https"},
			base: "https://proxy.example.org:8881/npm", addr: "10.1.1.1"},
		{name: "no proxy is trusted", peer: "127.0.0.1:5", options: Options{TrustedProxies: []netip.Prefix{}},
			fields: []string{"X-Forwarded-Host", "evil.example.org"}, base: "http://proxy.example.org:8881/npm", addr: "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://proxy.example.org:8881/x", nil)
			r.URL.Scheme, r.URL.Host, r.RequestURI = "", "", "/x"
			if r.RemoteAddr = c.peer; c.peer == "" {
				r.RemoteAddr = "192.0.2.7:1234"
			}
			for i := 0; i < len(c.fields); i += 2 {
				r.Header.Add(c.fields[i], c.fields[i+1])
			}
			got, status := clientOf(t, func(s exchange.Source) http.Handler {
				o := c.options
				o.Hub, o.Source, o.Mount = tree{}, s, "/npm"
				if o.TrustedProxies == nil {
					o.TrustedProxies = proxies
				}
				return New(o)
			}, r)
			assert.Equal(t, 200, status)
			assert.Equal(t, c.base, got.Base)
			assert.Equal(t, c.addr, got.Addr.String())
		})
	}
}

func TestClientOverTLSOrSocket(t *testing.T) {
	h := func(s exchange.Source) http.Handler {
		return New(Options{Hub: tree{}, Source: s, TrustedProxies: proxies})
	}
	r := httptest.NewRequest("GET", "/x", nil)
	r.TLS = &tls.ConnectionState{}
	c, _ := clientOf(t, h, r)
	assert.Equal(t, "https://example.com", c.Base)

	r = httptest.NewRequest("GET", "/x", nil)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/x", Net: "unix"}))
	r.RemoteAddr = "@"
	r.Header.Set("X-Forwarded-Host", "public.example.org")
	c, _ = clientOf(t, h, r)
	assert.Equal(t, "http://public.example.org", c.Base)
	assert.False(t, c.Addr.IsValid())
}

// TestPoisonedBase: what one client says is not what the next one gets (B4).
func TestPoisonedBase(t *testing.T) {
	var bases []string
	h := New(Options{Hub: tree{}, TrustedProxies: proxies, Mount: "/npm", Source: exchange.SourceFunc(
		func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			bases = append(bases, req.Client.Base)
			return answer("content", nil)(ctx, req)
		})})
	for _, host := range []string{"evil.example.org", "good.example.org", "good.example.org", "evil.example.org"} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.Host = host
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	assert.Equal(t, []string{"http://evil.example.org/npm", "http://good.example.org/npm", "http://good.example.org/npm", "http://evil.example.org/npm"}, bases)

	for _, host := range []string{"evil.example.org/x", "evil\"><script>", "a b", "a:b:c", "evil@good.example.org"} {
		r, w := httptest.NewRequest("GET", "/x", nil), httptest.NewRecorder()
		r.Host = host
		h.ServeHTTP(w, r)
		assert.Equal(t, 400, w.Code, host)
	}
	assert.Len(t, bases, 4)
}

// TestForwardedFlood: ten thousand members are as quick as thirty-two (B32).
func TestForwardedFlood(t *testing.T) {
	e := &edge{Options: Options{TrustedProxies: proxies}}
	r := httptest.NewRequest("GET", "/x", nil)
	r.RemoteAddr = "10.0.0.1:1"
	r.Header.Set("X-Forwarded-For", "203.0.113.1"+strings.Repeat(",10.0.0.1", 10_000))
	start := time.Now()
	for range 1000 {
		assert.Equal(t, "10.0.0.1", e.forwarded(r).addr.String())
	}
	assert.Less(t, time.Since(start), 5*time.Second)
	r.Header = http.Header{"Forwarded": {strings.Repeat("for=10.0.0.1,", 10_000)}}
	assert.False(t, e.forwarded(r).addr.IsValid())
}

func FuzzForwarded(f *testing.F) {
	f.Add("for=192.0.2.1;host=x;proto=https", "192.0.2.1, 10.0.0.1", "x", "https")
	f.Add(`for="[::1]:80";;=,`, ",,", "a,b", "")
	f.Fuzz(func(t *testing.T, standard, addrs, host, proto string) {
		e := &edge{Options: Options{TrustedProxies: proxies, Mount: "/m"}}
		r := httptest.NewRequest("GET", "/x", nil)
		r.RemoteAddr = "10.0.0.1:1"
		for name, value := range map[string]string{"Forwarded": standard, "X-Forwarded-For": addrs, "X-Forwarded-Host": host, "X-Forwarded-Proto": proto} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		got := e.forwarded(r)
		if got.host != "" && !validHost(got.host) || got.proto != "" && got.proto != "http" && got.proto != "https" {
			t.Fatalf("%+v", got)
		}
		base := e.base(r, got)
		if strings.ContainsAny(base, " \t\r\n\"'<>\\?#@") || !strings.HasSuffix(base, "/m") {
			t.Fatal(base)
		}
	})
}
