package cacheproxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// serving runs a server on the addresses of its configuration. It is ready when
// serving returns.
func serving(t *testing.T, text string, o cacheproxy.Options) (s *cacheproxy.Server, r *running) {
	t.Helper()
	r = &running{t: t, file: filepath.Join(t.TempDir(), "config.yaml"), dir: t.TempDir(), log: &lockedBuffer{}}
	r.write(text)
	if o.File != "" { // it is to be watched, wherever it is
		o.File = r.file
	}
	o.Load = func() (*cacheproxy.Config, []cacheproxy.Warning, error) { return cacheproxy.Load(r.file) }
	o.Log = r.logger()
	cfg, _, err := o.Load()
	require.NoError(t, err)
	r.Server, err = cacheproxy.New(cfg, o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), "serving app") }, 5*time.Second, time.Millisecond)
	return r.Server, r
}

// port is one that nobody listens on.
func port(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// healthy is the status of /-/healthz, asked by c.
func healthy(c *http.Client, url string) error {
	resp, err := c.Get(url + "/-/healthz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok\n" {
		return fmt.Errorf("status %d, body %q, %v", resp.StatusCode, body, err)
	}
	return nil
}

// TestReloadListens: addresses come and go, and those that stay keep their
// connections; one that cannot be had changes nothing.
func TestReloadListens(t *testing.T) {
	a, b := port(t), port(t)
	socket := filepath.Join(t.TempDir(), "s")
	_, r := serving(t, "listen: ["+a+"]", cacheproxy.Options{})
	kept := &http.Client{Transport: &http.Transport{}}
	require.NoError(t, healthy(kept, "http://"+a))

	r.reload("listen: [" + a + ", " + b + ", 'unix:" + socket + "']")
	require.NoError(t, healthy(kept, "http://"+b))
	unix := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	require.NoError(t, healthy(unix, "http://unix"))

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	free := port(t)
	r.write("listen: [" + free + ", '" + taken.Addr().String() + "']")
	require.ErrorContains(t, r.Reread(), "address already in use")
	_, err = net.Dial("tcp", free)
	require.Error(t, err, "what was opened before is closed again")
	require.NoError(t, healthy(kept, "http://"+a))

	r.reload("listen: [" + b + "]")
	_, err = net.Dial("tcp", a)
	assert.Error(t, err)
	assert.NoFileExists(t, socket)
	assert.NoError(t, healthy(kept, "http://"+a), "on the connection that there is")
	assert.NoError(t, healthy(&http.Client{}, "http://"+b))
}

// TestReloadLimits: connections keep the limits that they came with, new ones
// have the new, and the old door closes behind the last of its connections.
func TestReloadLimits(t *testing.T) {
	a := port(t)
	_, r := serving(t, "listen: ["+a+"]", cacheproxy.Options{})
	fields := func(c net.Conn) string {
		_, err := fmt.Fprintf(c, "GET /-/healthz HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 40<<10))
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return resp.Status
	}
	old, err := net.Dial("tcp", a)
	require.NoError(t, err)
	defer old.Close()
	assert.Equal(t, "200 OK", fields(old))
	r.reload("listen: [" + a + "]\nlimits: {request-headers: 16KiB}")
	assert.Equal(t, "200 OK", fields(old))
	c, err := net.Dial("tcp", a)
	require.NoError(t, err)
	defer c.Close()
	assert.Equal(t, "431 Request Header Fields Too Large", fields(c))
}

// certificate writes a certificate for 127.0.0.1 with a serial number, and its
// key, to dir.
func certificate(t *testing.T, dir string, serial int64) {
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

// TestTLS: HTTPS and HTTP/2 with a certificate from files, which may change;
// TLS 1.1 is refused, and who does not speak TLS is told so.
func TestTLS(t *testing.T) {
	dir, a, plain := t.TempDir(), port(t), port(t)
	certificate(t, dir, 1)
	text := "listen: [" + plain + "]\ntls: {listen: " + a + ", cert: " + dir + "/cert.pem, key: " + dir + "/key.pem}"
	_, r := serving(t, text, cacheproxy.Options{})
	require.Eventually(t, func() bool { return strings.Count(r.log.String(), "serving app") == 2 }, 5*time.Second, time.Millisecond)
	client := func(h2 bool) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	serial := func(c *http.Client) (serial int64, proto string) {
		resp, err := c.Get("https://" + a + "/-/healthz")
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64(), resp.Proto
	}
	kept := client(true)
	n, proto := serial(kept)
	assert.Equal(t, int64(1), n)
	assert.Equal(t, "HTTP/2.0", proto)
	_, proto = serial(client(false))
	assert.Equal(t, "HTTP/1.1", proto)
	require.NoError(t, healthy(&http.Client{}, "http://"+plain))

	certificate(t, dir, 2)
	require.NoError(t, r.Reread())
	n, _ = serial(client(true))
	assert.Equal(t, int64(2), n)
	n, _ = serial(kept)
	assert.Equal(t, int64(1), n, "the connection that there is stays")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("nonsense"), 0o600))
	require.ErrorContains(t, r.Reread(), "config.yaml:")
	n, _ = serial(client(true))
	assert.Equal(t, int64(2), n)

	_, err := tls.Dial("tcp", a, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	assert.ErrorContains(t, err, "protocol version")

	resp, err := http.Get("http://" + a + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, 400, resp.StatusCode)
	assert.Equal(t, "this port speaks HTTPS, not HTTP\n", string(body))
}

// TestHTTP2Streams: a connection is told how many requests it may have under way,
// and a reload changes that for those that come after it.
func TestHTTP2Streams(t *testing.T) {
	dir, plain, a := t.TempDir(), port(t), port(t)
	certificate(t, dir, 1)
	text := func(streams int) string {
		return fmt.Sprintf("listen: %s\ntls: {listen: %s, cert: %s/cert.pem, key: %[3]s/key.pem}\nlimits: {http2-streams: %d}", plain, a, dir, streams)
	}
	_, r := serving(t, text(7), cacheproxy.Options{})
	require.Eventually(t, func() bool { return strings.Count(r.log.String(), "serving app") == 2 }, 5*time.Second, time.Millisecond)
	promised := func() (streams uint32) {
		c, err := tls.Dial("tcp", a, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		require.NoError(t, err)
		var head [9]byte
		_, err = io.ReadFull(c, head[:])
		require.NoError(t, err)
		require.EqualValues(t, 4, head[3], "SETTINGS (RFC 9113 §6.5)")
		settings := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
		_, err = io.ReadFull(c, settings)
		require.NoError(t, err)
		for ; len(settings) >= 6; settings = settings[6:] {
			if binary.BigEndian.Uint16(settings) == 3 { // MAX_CONCURRENT_STREAMS
				streams = binary.BigEndian.Uint32(settings[2:])
			}
		}
		return streams
	}
	assert.EqualValues(t, 7, promised())
	r.write(text(9))
	require.NoError(t, r.Reread())
	assert.EqualValues(t, 9, promised())
}

// TestConnectionLimits: more connections than allowed are told so, and there is
// room again when others have ended.
func TestConnectionLimits(t *testing.T) {
	for _, c := range []struct {
		name, limits     string
		all, client, fit int
	}{
		{"client", "connections-per-client: 4", 0, 3, 4},
		{"all", "connections: 3", 4, 0, 3},
		{"trusted", "connections-per-client: 4}\ntrusted-proxies: [127.0.0.1/32]\nlog: {access: false", 0, 0, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := port(t)
			s, _ := serving(t, "listen: ["+a+"]\nlimits: {"+c.limits+"}", cacheproxy.Options{})
			var conns []net.Conn
			ask := func() int {
				conn, err := net.Dial("tcp", a)
				require.NoError(t, err)
				conns = append(conns, conn)
				_, err = io.WriteString(conn, "GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				require.NoError(t, err)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				if resp.StatusCode == 503 {
					assert.Equal(t, "1", resp.Header.Get("Retry-After"))
				}
				_, err = io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
				return resp.StatusCode
			}
			good := 0
			for range 7 {
				if ask() == 200 {
					good++
				}
			}
			assert.Equal(t, c.fit, good)
			stats := s.Stats()
			assert.Equal(t, c.fit, stats.Connections)
			assert.EqualValues(t, c.all, stats.RefusedAll)
			assert.EqualValues(t, c.client, stats.RefusedClient)
			for _, conn := range conns {
				conn.Close()
			}
			require.Eventually(t, func() bool { return s.Stats().Connections == 0 }, 5*time.Second, time.Millisecond)
			assert.Equal(t, 200, ask())
			conns[len(conns)-1].Close()
		})
	}
}

// TestHTTP2Upstream: mirrors that speak HTTP/2 are asked in it.
func TestHTTP2Upstream(t *testing.T) {
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	origin.EnableHTTP2 = true
	origin.StartTLS()
	t.Cleanup(origin.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: origin.Certificate().Raw}), 0o600))
	r := run(t, "upstream: [{server: '"+origin.URL+"', ca: "+ca+"}]")
	_, _, body := r.get("/x")
	assert.Equal(t, "HTTP/2.0", string(body))
}
