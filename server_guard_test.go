package cacheproxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// guarded is a whole server before an origin that counts, and a way to talk to it in bytes.
func guarded(t *testing.T, config string) (origin *proxytest.Origin, dial func() (net.Conn, *bufio.Reader)) {
	t.Helper()
	origin = proxytest.NewOrigin(t)
	s := newServer(t, config+"\nupstream: [{server: '"+origin.URL()+"'}]", t.TempDir(), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return origin, func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
		return c, bufio.NewReader(c)
	}
}

// Requests that two readers could understand differently are refused, and nothing
// behind them is looked at: neither here nor at a mirror (B3, B5, B6, B14, B15, B23).
func TestHostileRequests(t *testing.T) {
	origin, dial := guarded(t, "")
	decoy := proxytest.NewOrigin(t)
	decoyHost := strings.TrimPrefix(decoy.URL(), "http://")
	for _, path := range []string{"/x", "/smuggled"} {
		origin.Reply("GET", path, proxytest.Reply{Body: proxytest.Random(1000, 1)})
	}
	decoy.Reply("GET", "/x", proxytest.Reply{Body: proxytest.Random(1000, 1)})
	const host = "\r\nHost: proxy.example.org\r\n"
	const smuggled = "GET /smuggled HTTP/1.1" + host + "\r\n"
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"B3 NUL", "GET /\x00 HTTP/1.1" + host + "\r\n", 400},
		{"B3 escaped NUL", "GET /%00 HTTP/1.1" + host + "\r\n", 400},
		{"B3 CR LF", "GET /a\r\nX-A: b HTTP/1.1" + host + "\r\n", 400},
		{"B3 escaped CR LF", "GET /a%0d%0ab HTTP/1.1" + host + "\r\n", 400},
		{"B3 escaped CR LF of an own page", "GET /-/healthz%0d%0a HTTP/1.1" + host + "\r\n", 400},
		{"B3 bad UTF-8", "GET /\xff HTTP/1.1" + host + "\r\n", 400},
		{"B3 escaped bad UTF-8", "GET /%ff HTTP/1.1" + host + "Connection: close\r\n\r\n", 400},
		{"B3 control in the host", "GET /x HTTP/1.1\r\nHost: a\x01b\r\n\r\n", 400},
		{"B3 UTF-8 in the host", "GET /x HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400},
		{"B5 absolute", "GET http://" + decoyHost + "/x HTTP/1.1" + host + "\r\n", 400},
		{"B5 absolute, host too", "GET http://" + decoyHost + "/x HTTP/1.1\r\nHost: " + decoyHost + "\r\nConnection: close\r\n\r\n", 400},
		{"B6 CONNECT", "CONNECT " + decoyHost + " HTTP/1.1" + host + "\r\n", 405},
		{"B6 TRACE", "TRACE /x HTTP/1.1" + host + "\r\n", 405},
		{"B6 PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405},
		{"B6 get", "get /x HTTP/1.1" + host + "\r\n", 405},
		{"B6 PUT", "PUT /x HTTP/1.1" + host + "Connection: close\r\n\r\n", 405},
		{"B6 DELETE", "DELETE /x HTTP/1.1" + host + "Connection: close\r\n\r\n", 405},
		{"B14 CL and TE", "POST /x HTTP/1.1" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"B14 two lengths", "POST /x HTTP/1.1" + host + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400},
		{"B14 +4", "POST /x HTTP/1.1" + host + "Content-Length: +4\r\n\r\nabcd", 400},
		{"B14 TE list", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
		{"B14 TE of HTTP/1.0", "POST /x HTTP/1.0" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"B14 obs-fold", "GET /x HTTP/1.1" + host + "X-A: b\r\n c\r\n\r\n", 400},
		{"B14 bare LF", "GET /x HTTP/1.1\nHost: x\n\n", 400},
		{"B14 Host :", "GET /x HTTP/1.1\r\nHost : x\r\n\r\n", 400},
		{"B15 GET", "GET /x HTTP/1.1" + host + "Content-Length: 5\r\n\r\nhello", 400},
		{"B15 HEAD", "HEAD /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"B23 target", "GET /" + strings.Repeat("x", 900_000) + " HTTP/1.1" + host + "\r\n", 414},
		{"B23 fields", "GET /x HTTP/1.1" + host + strings.Repeat("X-A: b\r\n", 20_000) + "\r\n", 431},
		{"B23 field", "GET /x HTTP/1.1" + host + "X-A: " + strings.Repeat("b", 65<<10) + "\r\n\r\n", 431},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, in := dial()
			go io.WriteString(c, test.request+smuggled)
			method, _, _ := strings.Cut(test.request, " ")
			resp, err := http.ReadResponse(in, &http.Request{Method: method})
			require.NoError(t, err)
			assert.Equal(t, test.status, resp.StatusCode)
			assert.True(t, resp.Close)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, method == "HEAD", len(body) == 0)
			rest, err := io.ReadAll(in)
			assert.NoError(t, err)
			assert.Empty(t, rest)
			if test.status == 405 {
				assert.Contains(t, resp.Header.Get("Allow"), "GET")
			}
		})
	}
	for _, path := range []string{"/x", "/smuggled"} {
		assert.Zero(t, origin.Hits(path), path)
	}
	assert.Zero(t, decoy.Hits("/x"))

	c, in := dial()
	_, err := io.WriteString(c, "GET /x HTTP/1.1"+host+"\r\nGET /x HTTP/1.1"+host+"\r\n")
	require.NoError(t, err)
	for range 2 {
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Len(t, body, 1000, "good ones are answered")
	}
}

// B24: hundreds of clients that send or take a byte now and then end in time, and
// meanwhile the others do not notice.
func TestSlowClients(t *testing.T) {
	origin, dial := guarded(t, "limits: {client-header-timeout: 1s, client-write-timeout: 1s}")
	origin.Reply("GET", "/large", proxytest.Reply{Body: proxytest.Random(8<<20, 1)})
	origin.Reply("GET", "/small", proxytest.Reply{Body: proxytest.Random(1000, 2)})
	const each = 100
	var slow sync.WaitGroup
	for range each {
		c, in := dial()
		slow.Go(func() { // sends a byte now and then
			for {
				if _, err := io.WriteString(c, "G"); err != nil {
					return
				}
				if in.Buffered() == 0 {
					c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
					in.Peek(1)
				}
			}
		})
		reader, _ := dial()
		require.NoError(t, reader.(*net.TCPConn).SetReadBuffer(4<<10)) // the kernel is not to take it all
		_, err := io.WriteString(reader, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		slow.Go(func() { // takes one
			var b [1]byte
			for range 30 {
				if _, err := reader.Read(b[:]); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			n, err := io.Copy(io.Discard, reader) // what the kernel still has
			assert.Error(t, err, "a body that was cut must not end well")
			assert.Less(t, n, int64(8<<20))
		})
	}
	ended := make(chan struct{})
	go func() {
		slow.Wait()
		close(ended)
	}()
	c, in := dial()
	for served := 0; ; served++ {
		_, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		select {
		case <-ended:
			assert.NotZero(t, served)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// B24: a client that announces a body and does not send it is not waited for, whoever
// answers, and learns what there is to say.
func TestStalledBodies(t *testing.T) {
	upstream := proxytest.NewOrigin(t)
	upstream.Reply("POST", "/read", proxytest.Reply{Body: proxytest.Text("x")})
	_, dial := guarded(t, "limits: {client-write-timeout: 1s}\nhubs: [{name: o, type: http, upstream: [{server: '"+upstream.URL()+"'}]}]")
	for path, status := range map[string]int{"/x": 405, "/-/healthz": 405, "/o/read": 408, "/o/../x": 400} {
		for framing, begun := range map[string]string{
			"length": "Content-Length: 10\r\n\r\nabc",
			"chunks": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		} {
			t.Run(path+" "+framing, func(t *testing.T) {
				t.Parallel()
				c, in := dial()
				_, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\n"+begun)
				require.NoError(t, err)
				resp, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				assert.Equal(t, status, resp.StatusCode)
				_, err = io.Copy(io.Discard, resp.Body)
				assert.NoError(t, err)
				_, err = in.ReadByte()
				assert.Error(t, err)
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection must end")
			})
		}
	}
}
