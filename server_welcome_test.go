package cacheproxy

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWelcome(t *testing.T) {
	const hubs = `
upstream: [{server: 'https://mirrors.example.org', path: {match: '^/(debian|iso)/(.*)', replace: '/$1/$2'}}]
hubs:
- {name: go, type: go, upstream: [{server: 'https://goproxy.cn'}]}
- {name: rocky, type: rpm, upstream: [{server: 'https://mirrors.aliyun.com/rockylinux'}]}
`
	s := serverOf(t, hubs, t.Output())
	w := ask(s, "GET", "/-/", "Host", "cache.lan:8881")
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	assert.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	for _, want := range []string{"http://cache.lan:8881/go|direct", "URIs: http://cache.lan:8881/debian", "<code>http://cache.lan:8881/iso</code>", "http://cache.lan:8881/rocky/"} {
		assert.Contains(t, w.Body.String(), want)
	}
	assert.NotContains(t, w.Body.String(), "mirrors.example.org", "where it comes from is not the clients' business")

	w = ask(s, "GET", "/-/setup.sh", "Host", "cache.lan:8881")
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.Contains(t, w.Body.String(), "BASE='http://cache.lan:8881'\n")
	assert.Contains(t, w.Body.String(), "HUBS='apt /debian debian\nfiles /iso iso\ngo /go go\nrpm /rocky rocky,rockylinux'\n")
	assert.Equal(t, w.Body.Len(), len(w.Body.String()))
	assert.Empty(t, ask(s, "HEAD", "/-/setup.sh").Body.String())
	assert.Equal(t, 405, ask(s, "POST", "/-/setup.sh").Code)

	// What one says of the Host, or a proxy in front that nobody trusts, is for nobody else.
	ask(s, "GET", "/-/", "Host", "evil.example.org")
	w = ask(s, "GET", "/-/", "Host", "cache.lan", "X-Forwarded-Host", "evil.example.org")
	assert.NotContains(t, w.Body.String(), "evil")
	for _, host := range []string{"a'b", "a<b", "a b", "a;b", "$(id)"} {
		for _, path := range []string{"/-/", "/-/setup.sh"} {
			w = ask(s, "GET", path, "Host", host)
			assert.Equal(t, 400, w.Code, host)
			assert.NotContains(t, w.Body.String(), host)
		}
	}
	r := httptest.NewRequest("GET", "/-/setup.sh", nil)
	r.Host, r.Proto, r.ProtoMinor = "", "HTTP/1.0", 0
	w = httptest.NewRecorder()
	s.ServeHTTP(w, r)
	assert.Equal(t, 400, w.Code, "nobody knows what this is called")

	r = httptest.NewRequest("GET", "/-/setup.sh", nil)
	r.Host, r.TLS = "cache.lan", &tls.ConnectionState{}
	w = httptest.NewRecorder()
	s.ServeHTTP(w, r)
	assert.Contains(t, w.Body.String(), "BASE='https://cache.lan'\n")

	s = serverOf(t, hubs+"public-url: https://cache.example.org/all/\ntrusted-proxies: [192.0.2.1]\n", t.Output())
	assert.Contains(t, ask(s, "GET", "/-/setup.sh", "Host", "other").Body.String(), "BASE='https://cache.example.org/all'\n")
	s = serverOf(t, hubs+"trusted-proxies: [192.0.2.1]\n", t.Output())
	w = ask(s, "GET", "/-/setup.sh", "Host", "other", "X-Forwarded-Host", "front.example.org", "X-Forwarded-Proto", "https")
	assert.Contains(t, w.Body.String(), "BASE='https://front.example.org'\n")
	s = serverOf(t, hubs+"- {name: registry, type: terraform, upstream: [{server: 'https://registry.example.org/v1/providers'}], options: {hosts: [providers.example.org]}}\n"+
		"public-url: https://cache.example.org\n", t.Output())
	assert.Contains(t, ask(s, "GET", "/-/").Body.String(), "include = [&#34;providers.example.org/*/*&#34;]")
	s = serverOf(t, hubs+"public-url: 'https://cache.example.org/a&b'\n", t.Output())
	assert.Equal(t, 404, ask(s, "GET", "/-/setup.sh").Code)
	assert.Equal(t, 200, ask(s, "GET", "/-/").Code)
}
