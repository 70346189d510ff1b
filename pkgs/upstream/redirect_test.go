package upstream

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedirects(t *testing.T) { // M038, M056, T22, B8, B9, B44
	var hits atomic.Int64
	target := origin(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		switch r.URL.Path {
		case "/again":
			http.Redirect(w, r, "/file", http.StatusTemporaryRedirect)
		default:
			w.Write([]byte("moved"))
		}
	})
	port := target.URL[strings.LastIndexByte(target.URL, ':')+1:]
	tests := []struct {
		name, location string
		allowed        string // expression
		private        Allowed
		second         bool // the target is another mirror of the group
		ok             bool
	}{
		{name: "loopback", location: target.URL + "/file"},
		{name: "any target", location: target.URL + "/file", allowed: ".*"},
		{name: "a port is no host", location: target.URL + "/file", allowed: ":" + port + "/"},
		{name: "a path is no host", location: target.URL + "/file?127.0.0.1", allowed: `127\.0\.0\.1`},
		{name: "this host", location: target.URL + "/file", allowed: `^http://127\.0\.0\.1:` + port + "/", ok: true},
		{name: "this host, second hop", location: target.URL + "/again", allowed: `^http://127\.0\.0\.1:` + port + "/", ok: true},
		{name: "second hop not allowed", location: target.URL + "/again", allowed: `^http://127\.0\.0\.1:` + port + "/again"},
		{name: "another host", location: target.URL + "/file", allowed: `^http://mirror\.example\.org/`, private: Allowed{Prefixes: loopback}},
		{name: "allowed prefix", location: target.URL + "/file", private: Allowed{Prefixes: loopback}, ok: true},
		{name: "allowed prefix, mapped form", location: "http://[::ffff:127.0.0.1]:" + port + "/file", private: Allowed{Prefixes: loopback}, ok: true},
		{name: "allowed host", location: "http://localhost:" + port + "/file", private: Allowed{Hosts: []string{"localhost"}}, ok: true},
		{name: "not quite an allowed host", location: "http://localhost:" + port + "/file", private: Allowed{Hosts: []string{"host"}}},
		{name: "a configured server", location: target.URL + "/file", second: true, ok: true},
		{name: "a name of loopback", location: "http://localhost:" + port + "/file"},
		{name: "mapped form", location: "http://[::ffff:127.0.0.1]:" + port + "/file"},
		{name: "link-local", location: "http://169.254.169.254/latest/meta-data/"},
		{name: "unspecified", location: "http://0.0.0.0:" + port + "/file"},
		{name: "another scheme", location: "file:///etc/passwd"},
		{name: "gopher", location: "gopher://127.0.0.1:" + port + "/_x"},
		{name: "no URL", location: "http://%zz/"},
		{name: "no host", location: "http:///file"},
		{name: "to itself", location: "/a"},
		{name: "at home", location: "/file", ok: true},
		{name: "at home, not allowed", location: "/file", allowed: "^http://mirror.example.org/"},
		{name: "five hops", location: "/5", ok: true},
		{name: "six hops", location: "/6"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hits.Store(0)
			mirror := origin(t, func(w http.ResponseWriter, r *http.Request) {
				switch p := r.URL.Path; p {
				case "/a":
					w.Header()["Location"] = []string{test.location}
					w.WriteHeader(302)
				case "/2", "/3", "/4", "/5", "/6":
					http.Redirect(w, r, "/"+string(p[1]-1), http.StatusMovedPermanently)
				default:
					w.Write([]byte("moved"))
				}
			})
			o := Options{Mirrors: mirrors(t, mirror.URL), Allowed: test.private, Limits: Limits{Dial: time.Second}}
			if test.allowed != "" {
				o.Mirrors[0].AllowedRedirect = regexp.MustCompile(test.allowed)
			}
			if test.second {
				o.Mirrors = append(o.Mirrors, mirrors(t, target.URL)...)
				o.Mirrors[1].Path.Match, o.Mirrors[1].Path.Replace = regexp.MustCompile("^/never"), "/"
			}
			g := join(t, o)
			if test.ok {
				res, text := get(t, g, request("/a"))
				assert.Equal(t, "moved", text)
				assert.Equal(t, mirror.URL, res.Entry.Mirror)
				assert.Empty(t, res.Entry.Header.Get("Location"))
				return
			}
			assert.Equal(t, 502, failure(t, g, request("/a")).Status)
			if !strings.HasSuffix(test.location, "/again") {
				assert.Zero(t, hits.Load(), "the target was asked")
			}
			assert.True(t, g.mirrors[0].failures.Load() == 0, "it answers, after all")
		})
	}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func TestCredentialsStayHome(t *testing.T) { // B10
	seen := make(chan http.Header, 4)
	var back string
	away := origin(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		if r.URL.Path == "/back" {
			http.Redirect(w, r, back, http.StatusFound)
		}
	})
	home := origin(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		switch r.URL.Path {
		case "/home":
			http.Redirect(w, r, "/other", http.StatusFound)
		case "/away", "/back":
			http.Redirect(w, r, away.URL+r.URL.Path+"?sig=SECRET", http.StatusFound)
		}
	})
	back = home.URL + "/other"
	o := Options{Mirrors: mirrors(t, home.URL), Allowed: Allowed{Prefixes: loopback}, UserAgent: "cache-proxy"}
	o.Mirrors[0].Token, o.Mirrors[0].Header = "secret", map[string]string{"X-Api-Key": "secret"}
	g := join(t, o)
	for _, test := range []struct {
		target string
		with   []bool // credentials, hop by hop
	}{{"/home", []bool{true, true}}, {"/away", []bool{true, false}}, {"/back", []bool{true, false, false}}} {
		t.Run(test.target, func(t *testing.T) {
			req := request(test.target)
			req.Header = http.Header{"Accept": {"text/html"}}
			get(t, g, req)
			for _, with := range test.with {
				h := <-seen
				assert.Equal(t, with, h.Get("Authorization") == "Bearer secret")
				assert.Equal(t, with, h.Get("X-Api-Key") == "secret")
				assert.Empty(t, h.Get("Referer"))
				assert.Equal(t, "text/html", h.Get("Accept"))
				assert.Equal(t, "cache-proxy", h.Get("User-Agent"))
			}
		})
	}
}

func TestTLS(t *testing.T) { // F42, B44
	secure := func(h http.HandlerFunc, h2 bool) (s, pemBytes string) {
		server := newTLS(t, h, h2)
		return server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	}
	plain := origin(t, says(200, "plain"))
	for _, h2 := range []bool{false, true} {
		server, ca := secure(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, h2, r.ProtoMajor == 2)
			if r.URL.Path == "/down" {
				http.Redirect(w, r, plain.URL, http.StatusFound)
				return
			}
			w.Write([]byte("secret"))
		}, h2)
		o := Options{Mirrors: mirrors(t, server), Allowed: Allowed{Prefixes: loopback}}
		assert.Equal(t, 502, failure(t, join(t, o), request("/a")).Status, "unknown authority")
		o.Mirrors[0].CA = []byte(ca)
		g := join(t, o)
		res, text := get(t, g, request("/a"))
		assert.Equal(t, "secret", text)
		assert.False(t, res.Unproven)
		e := failure(t, g, request("/down"))
		assert.Equal(t, 502, e.Status)
		assert.Contains(t, e.Error(), "from https to http")
	}
}

func TestClientCertificate(t *testing.T) {
	shown := make(chan int, 2)
	handler := func(w http.ResponseWriter, r *http.Request) { shown <- len(r.TLS.PeerCertificates) }
	away := newTLS(t, handler, true)
	home := newTLS(t, func(w http.ResponseWriter, r *http.Request) {
		handler(w, r)
		http.Redirect(w, r, away.URL, http.StatusFound)
	}, true)
	o := Options{Mirrors: mirrors(t, home.URL), Allowed: Allowed{Prefixes: loopback}}
	o.Mirrors[0].CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: home.Certificate().Raw})
	o.Mirrors[0].Certificate = &home.TLS.Certificates[0]
	get(t, join(t, o), request("/a"))
	assert.Equal(t, 1, <-shown)
	assert.Equal(t, 0, <-shown)
}

// proxy is an http proxy that answers every plain request itself.
func proxy(t *testing.T, seen chan<- string) string {
	return origin(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Method + " " + r.RequestURI
		if r.Method == http.MethodConnect {
			w.WriteHeader(502)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/inward") {
			http.Redirect(w, r, "http://10.0.0.1/", http.StatusFound)
			return
		}
		w.Write([]byte("by proxy"))
	}).URL
}

func TestProxy(t *testing.T) {
	seen := make(chan string, 2)
	o := Options{Mirrors: mirrors(t, "http://mirror.example.org/base/")}
	o.Mirrors[0].Proxy = parse(t, proxy(t, seen))
	g := join(t, o)
	_, text := get(t, g, request("/a"))
	assert.Equal(t, "by proxy", text)
	assert.Equal(t, "GET http://mirror.example.org/base/a", <-seen)
	assert.Equal(t, 502, failure(t, g, request("/inward")).Status)
	assert.Equal(t, "GET http://mirror.example.org/base/inward", <-seen)
	assert.Empty(t, seen, "the proxy is not asked for private addresses")

	o.Mirrors[0].Server = parse(t, "https://mirror.example.org/")
	failure(t, join(t, o), request("/a"))
	assert.Equal(t, "CONNECT mirror.example.org:443", <-seen)
}

func TestProxyOfTheEnvironment(t *testing.T) { // M010; net/http reads it once a process
	if os.Getenv("HTTP_PROXY_TEST") != "" {
		_, text := get(t, join(t, Options{Mirrors: mirrors(t, "http://mirror.example.org/")}), request("/a"))
		assert.Equal(t, "by proxy", text)
		own := origin(t, says(200, "direct"))
		_, text = get(t, join(t, Options{Mirrors: mirrors(t, own.URL)}), request("/a"))
		assert.Equal(t, "direct", text)
		return
	}
	seen := make(chan string, 2)
	c := exec.Command(os.Args[0], "-test.run=^TestProxyOfTheEnvironment$")
	c.Env = append(os.Environ(), "HTTP_PROXY_TEST=1", "HTTP_PROXY="+proxy(t, seen), "NO_PROXY=127.0.0.1")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "GET http://mirror.example.org/a", <-seen)
	assert.Empty(t, seen)
}

func TestIsPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "2400:3200::1": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false,
		"100.64.0.1": false, "169.254.169.254": false, "fe80::1": false, "fc00::1": false, "fd12::1": false,
		"224.0.0.1": false, "ff02::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false, "255.255.255.255": false,
		"240.0.0.1": false, "198.18.0.1": false, "192.0.2.1": false, "203.0.113.9": false, "::ffff:10.0.0.1": false,
		"::ffff:127.0.0.1": false, "::127.0.0.1": false, "64:ff9b::a00:1": false, "2002:7f00:1::": false,
		"2001:db8::1": false, "2001::1": false, "fec0::1": false, "4000::1": false,
	} {
		assert.Equal(t, want, isPublic(netip.MustParseAddr(addr)), addr)
	}
	assert.False(t, isPublic(netip.Addr{}))
}

func TestGuardTrusts(t *testing.T) {
	o := Options{Mirrors: mirrors(t, "https://Mirror.Example.Org/x"), Allowed: Allowed{Hosts: []string{".lan", "Example.Net"}}}
	o.Mirrors[0].Proxy = parse(t, "socks5://proxy")
	g := newGuard(&o)
	for target, want := range map[string]bool{
		"mirror.example.org:443": true, "MIRROR.example.org:443": true, "mirror.example.org:80": false, "proxy:1080": true, "proxy:80": false,
		"a.lan:80": true, "lan:80": true, "plan:80": false, "example.net:1": true, "a.example.net:1": true, "badexample.net:1": false,
	} {
		assert.Equal(t, want, g.trusts(target), target)
	}
	_, _, err := net.SplitHostPort(hostPort(&url.URL{Scheme: "http", Host: "[::1]"}))
	require.NoError(t, err)
}
