package cacheproxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// forwarded starts a server, and returns what asks it as a proxy, and its host:port.
func forwarded(t *testing.T, config string) (ask func(raw string) (status int, body, cache string), host string) {
	t.Helper()
	base, stop := start(t, proxytest.Env{Config: config, Dir: t.TempDir()})
	t.Cleanup(stop)
	host = strings.TrimPrefix(base, "http://")
	return func(raw string) (int, string, string) {
		t.Helper()
		c, err := net.Dial("tcp", host)
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, raw)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err, raw)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body), resp.Header.Get("X-Cache")
	}, host
}

// get is a GET as clients of a proxy send it.
func get(whole string) string {
	u, err := url.Parse(whole)
	if err != nil {
		panic(err)
	}
	return "GET " + whole + " HTTP/1.1\r\nHost: " + u.Host + "\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp4\r\nConnection: close\r\n\r\n"
}

// TestForward: whole URLs below mirrors are the hubs', all others nobody's.
func TestForward(t *testing.T) {
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			assert.NotContains(t, name, "Proxy-")
		}
		fmt.Fprint(w, "mirror "+r.URL.Path)
	}))
	defer mirror.Close()
	decoy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the decoy was asked") }))
	defer decoy.Close()
	at := mirror.Listener.Addr().String()
	config := `
forward: {enabled: %v}
upstream:
- {server: 'http://` + at + `/pub', path: {match: '^/(iso|img)/(.*)', replace: '/$1/$2'}}
- {server: 'http://` + at + `/els', path: {match: '^/old/(.*)', replace: '/$1'}}
hubs:
- {name: deb, upstream: [{server: 'http://` + at + `/debian'}]}
- {name: sec, hosts: [sec.example.org], upstream: [{server: 'http://` + at + `/debian/security'}]}
`
	ask, own := forwarded(t, fmt.Sprintf(config, true))
	for _, c := range []struct {
		name, url string
		status    int
		body      string
	}{
		{"a mirror", "http://" + at + "/debian/pool/a.deb", 200, "mirror /debian/pool/a.deb"},
		{"the longest base", "http://" + at + "/debian/security/a", 200, "mirror /debian/security/a"},
		{"path of the first upstreams", "http://" + at + "/pub/iso/x", 200, "mirror /pub/iso/x"},
		{"path that is not asked for", "http://" + at + "/pub/other/x", 403, ""},
		{"path that becomes another", "http://" + at + "/els/x", 200, "mirror /els/x"},
		{"https means the same", "https://" + at + "/debian/b", 200, "mirror /debian/b"},
		{"escapes", "http://" + at + "/debian/a%2bb%20c", 200, "mirror /debian/a+b c"},
		{"like a base", "http://" + at + "/debian-security/x", 403, ""},
		{"base itself", "http://" + at + "/debian", 403, ""},
		{"no path", "http://" + at, 403, ""},
		{"above a base", "http://" + at + "/debian/../etc/passwd", 400, ""},
		{"other host", decoy.URL + "/debian/x", 403, ""},
		{"other port", "http://127.0.0.1:1/debian/x", 403, ""},
		{"own address", "http://" + own + "/deb/pool/c", 200, "mirror /debian/pool/c"},
		{"own page", "http://" + own + "/-/healthz", 200, "ok\n"},
		{"HTTPS of acng as a proxy's", "http://HTTPS///" + at + "/debian/pool/d", 200, "mirror /debian/pool/d"},
		{"HTTPS of another as a proxy's", "http://HTTPS///" + decoy.Listener.Addr().String() + "/debian/x", 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, _ := ask(get(c.url))
			assert.Equal(t, c.status, status, body)
			if c.body != "" {
				assert.Equal(t, c.body, body)
			}
			if status == 403 {
				assert.Contains(t, body, "below one of its own mirrors")
			}
		})
	}
	plain := func(target string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: cache.lan\r\nConnection: close\r\n\r\n"
	}
	status, body, cache := ask(plain("/HTTPS///" + at + "/debian/pool/a.deb"))
	assert.Equal(t, 200, status)
	assert.Equal(t, "mirror /debian/pool/a.deb", body)
	assert.Equal(t, "HIT", cache, "the same as by the proxy")
	_, _, cache = ask(plain("/deb/pool/a.deb"))
	assert.Equal(t, "HIT", cache, "and by the hub")
	for _, target := range []string{"/HTTPS///" + decoy.Listener.Addr().String() + "/debian/x", "/HTTPS///", "/HTTPS////etc", "/HTTPS///me:secret@" + at + "/debian/x", "/HTTPS///%zz"} {
		status, _, _ = ask(plain(target))
		assert.Contains(t, []int{400, 403}, status, target)
	}
	status, _, _ = ask("GET http://" + at + "/debian/x HTTP/1.1\r\nHost: cache.lan\r\nConnection: close\r\n\r\n")
	assert.Equal(t, 400, status, "a Host that says something else")
	status, _, _ = ask("CONNECT " + at + " HTTP/1.1\r\nHost: " + at + "\r\n\r\n")
	assert.Equal(t, 405, status, "nothing may be connected to")
	_, script, _ := ask(plain("/-/apt-proxy-detect"))
	assert.Contains(t, script, "HOSTS='"+at+"'")
	assert.Contains(t, script, "BASE='http://cache.lan'")

	ask, _ = forwarded(t, fmt.Sprintf(config, false))
	for _, raw := range []string{get("http://" + at + "/debian/pool/a.deb"), get(decoy.URL + "/x")} {
		status, _, _ = ask(raw)
		assert.Equal(t, 400, status, "off")
	}
	status, _, _ = ask(plain("/HTTPS///" + at + "/debian/pool/a.deb"))
	assert.Equal(t, 404, status)
	status, _, _ = ask(plain("/-/apt-proxy-detect"))
	assert.Equal(t, 404, status)
}

// TestTunnel: CONNECT to what is listed, as far as its address may be dialled.
func TestTunnel(t *testing.T) {
	inside := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "inside "+r.Host) }))
	defer inside.Close()
	_, port, err := net.SplitHostPort(inside.Listener.Addr().String())
	require.NoError(t, err)
	config := `
forward: {enabled: true, connect: ['localhost:` + port + `', '127.0.0.1:` + port + `', '.example.org:443']}
hubs: [{name: deb, upstream: [{server: 'http://mirrors.example.org'}]}]
`
	connect := func(target string) string { return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n" }
	ask, _ := forwarded(t, config)
	for _, c := range []struct {
		name, target string
		status       int
	}{
		{"listed, but not public", "127.0.0.1:" + port, 502},
		{"a name that leads inside", "localhost:" + port, 502},
		{"other port", "127.0.0.1:1", 403},
		{"other host", "registry.example.com:443", 403},
		{"the end of a name alone", "badexample.org:443", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, _ := ask(connect(c.target))
			assert.Equal(t, c.status, status)
			assert.NotEmpty(t, body)
		})
	}

	_, host := forwarded(t, config+"allowed-upstreams: [127.0.0.0/8]\n")
	client := inside.Client()
	client.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: host})
	resp, err := client.Get(inside.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "inside "+inside.Listener.Addr().String(), string(body))
	client.CloseIdleConnections()
}
