package cacheproxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Without stale-while-revalidate a client would wait for the validation that here
// does not end.
func TestStaleWhileRevalidate(t *testing.T) {
	release, asked := make(chan struct{}), atomic.Int64{}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			<-release
		}
		fmt.Fprint(w, "content")
	}))
	defer origin.Close()
	defer close(release)
	c, _ := must(t, "upstream: [{server: '"+origin.URL+"'}]\ncache: {timeout: 1m, stale-while-revalidate: 1h, revalidate-budget: 1h}")
	c.Storage.Local.Path = t.TempDir()
	var later atomic.Int64
	s, err := New(c, Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, 200, ask(s, "GET", "/x").Code)
	settled(t, s)
	later.Store(int64(2 * time.Minute))
	w := ask(s, "GET", "/x")
	assert.Equal(t, "content", w.Body.String())
	assert.Equal(t, "STALE", w.Header().Get("X-Cache"))
}

// Limits of what clients send reach the guard of connections.
func TestGuardHasTheLimits(t *testing.T) {
	s := serverOf(t, "limits: {request-line: 512, request-fields: 12}\nupstream: [{server: 'https://mirrors.example.org'}]", io.Discard)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	defer func() { stop(); assert.NoError(t, <-done) }()
	status := func(target string, fields int) int {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target, strings.Repeat("X-A: b\r\n", fields))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	assert.Equal(t, 200, status("/-/healthz", 5))
	assert.Equal(t, 414, status("/-/"+strings.Repeat("x", 600), 0))
	assert.Equal(t, 431, status("/-/healthz", 15))
}

// Limits of what mirrors do reach those who ask them.
func TestMirrorsHaveTheLimits(t *testing.T) {
	var origin *httptest.Server
	origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, origin.URL+"/x", http.StatusFound)
		case "/long":
			w.Header().Set("X-Long", strings.Repeat("x", 10<<10))
		}
		fmt.Fprint(w, "content")
	}))
	defer origin.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // TCP, but no TLS
	require.NoError(t, err)
	defer silent.Close()
	for _, test := range []struct {
		name, limits, server, path string
		status                     int
	}{
		{"redirects as usual", "", origin.URL, "/moved", 200},
		{"no redirects", "redirects: 0", origin.URL, "/moved", 502},
		{"header as usual", "", origin.URL, "/long", 200},
		{"short headers", "upstream-headers: 8KiB", origin.URL, "/long", 502},
		{"TLS that does not begin", "upstream-tls-timeout: 50ms", "https://" + silent.Addr().String(), "/x", 504},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serverOf(t, "limits: {"+test.limits+"}\nupstream: [{server: '"+test.server+"'}]", io.Discard)
			began := time.Now()
			w := ask(s, "GET", test.path)
			assert.Equal(t, test.status, w.Code, w.Body)
			assert.Less(t, time.Since(began), 4*time.Second, "the limit's own default is 5s")
		})
	}
}

// A mirror that wants a certificate gets the one that is configured.
func TestClientCertificate(t *testing.T) {
	dir := t.TempDir()
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].SerialNumber)
	}))
	origin.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	origin.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	origin.StartTLS()
	defer origin.Close()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: origin.Certificate().Raw}), 0o600))
	writeCertificate(t, dir, 42)
	server := "upstream: [{server: '" + origin.URL + "', ca: " + ca
	s := serverOf(t, server+", client-cert: "+dir+"/cert.pem, client-key: "+dir+"/key.pem}]", io.Discard)
	assert.Equal(t, "42", ask(s, "GET", "/x").Body.String())
	s = serverOf(t, server+"}]", io.Discard)
	assert.Equal(t, 502, ask(s, "GET", "/x").Code)
}

// A filter is in a flow twice by an alias, and jumps find that.
func TestAlias(t *testing.T) {
	origin := contentOrigin(t)
	s := serverOf(t, `
filters: [{kind: HeaderCounter, name: c, headers: [Cookie]}, {kind: Mock, name: m, rules: [{answer: {body: mocked}}]}]
flow: [{filter: c, jumpIf: {invalidHeader: again}}, {filter: m}, {filter: c, alias: again}]
upstream: [{server: '`+origin.URL+`'}]
`, io.Discard)
	assert.Equal(t, "mocked", ask(s, "GET", "/x", "Cookie", "a=b").Body.String())
	assert.Equal(t, "content", ask(s, "GET", "/x").Body.String())
	assert.EqualValues(t, 3, s.operators.status().Filters[0].Handled)
}

// A metalink names this hub, or whom the mirror names.
func TestMetalink(t *testing.T) {
	const far = "http://far.example.org/9/repodata/repomd.xml"
	var origin *httptest.Server
	origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/metalink+xml")
		fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml"><size>9</size>`+
			`<verification><hash type="sha256">`, strings.Repeat("ab", 32), `</hash></verification><resources><url protocol="http">`, far, `</url><url protocol="http">`, origin.URL, `/9/repodata/repomd.xml</url></resources></file></files></metalink>`)
	}))
	defer origin.Close()
	for options, theirs := range map[string]bool{"": false, "options: {metalink: pass}, ": true} {
		s := serverOf(t, "hubs: [{name: el, type: rpm, "+options+"upstream: [{server: '"+origin.URL+"'}]}]", io.Discard)
		w := ask(s, "GET", "/el/metalink?repo=9")
		assert.Equal(t, 200, w.Code, w.Body)
		assert.Equal(t, theirs, strings.Contains(w.Body.String(), far), w.Body)
	}
}

// Errors are reported to where sentry.dsn says.
func TestSentryKey(t *testing.T) {
	reports := make(chan string, 10)
	stub := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reports <- string(body)
	}))
	defer stub.Close()
	c, _ := must(t, "sentry: {dsn: '"+strings.Replace(stub.URL, "://", "://key@", 1)+"/7'}\nupstream: [{server: 'https://mirrors.example.org'}]")
	logger, err := c.NewLogger(io.Discard, "test")
	require.NoError(t, err)
	logger.Error("content was lost")
	logger.Close()
	select {
	case report := <-reports:
		assert.Contains(t, report, "content was lost")
	default:
		t.Error("nothing was reported before the end")
	}
}

// The rate from all mirrors together is that of the hour.
func TestUpstreamHours(t *testing.T) {
	c, _ := must(t, "limits: {upstream-rate: 1MiB, upstream-hours: [{from: '08:00', to: '18:00', rate: 2MiB}]}\nupstream: [{server: 'https://mirrors.example.org'}]")
	at := func(hour int) Size { return c.Limits.rateAt(time.Date(2026, 1, 2, hour, 0, 0, 0, time.Local)) }
	assert.Equal(t, []Size{1 << 20, 2 << 20, 1 << 20}, []Size{at(7), at(12), at(18)})
}

// Behind an upgrade the process does not wait for connections for ever.
func TestLeaveEnds(t *testing.T) {
	s := serverOf(t, "limits: {upgrade: 10ms}\nupstream: [{server: 'https://mirrors.example.org'}]", io.Discard)
	require.Nil(t, s.connections.enter(netip.MustParseAddr("192.0.2.1"), &s.revision().config.Limits))
	s.leave(t.Context()) // the default is an hour
	assert.Equal(t, 1, s.connections.open())
}

// writeCertificate writes a certificate with a serial number, and its key, to dir.
func writeCertificate(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: secret},
	} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
}
