package front_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// However the bytes of requests are cut, they are the same requests.
func TestPieces(t *testing.T) {
	d := serve(t, front.Options{}, nil)
	requests := "\r\nGET /1 HTTP/1.1" + host + "\r\n" +
		"POST /2 HTTP/1.1" + host + "Content-Length: 10\r\n\r\n0123456789" +
		"POST /3 HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-A: b\r\n\r\n" +
		"POST /4 HTTP/1.1" + host + "Content-Length: 0\r\n\r\n" +
		"GET /5 HTTP/1.1" + host + "X-Long: " + strings.Repeat("x", 9000) + "\r\n\r\n" +
		"GET /6 HTTP/1.1" + host + "\r\n"
	want := []string{"GET /1 0", "POST /2 10", "POST /3 15", "POST /4 0", "GET /5 0", "GET /6 0"}
	for _, size := range []int{1, 2, 3, 7, 64, 1000, 4095, 4096, 4097, 100_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c, in := d.dial(t)
			go func() {
				for rest := requests; rest != ""; {
					n := min(size, len(rest))
					if _, err := io.WriteString(c, rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
				}
			}()
			for _, w := range want {
				resp, body := answer(t, in, "GET")
				assert.Equal(t, 200, resp.StatusCode)
				assert.Equal(t, w, body)
			}
		})
	}
}

// A request that comes while another is answered waits for it, and a bad one is
// refused behind the answer, not within.
func TestPipelining(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	d := serve(t, front.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			io.WriteString(w, "one ")
			http.NewResponseController(w).Flush()
			began <- struct{}{}
			<-finish
			io.WriteString(w, "two")
		}
	})
	c, in := d.dial(t)
	_, err := io.WriteString(c, "GET /slow HTTP/1.1"+host+"\r\n")
	require.NoError(t, err)
	<-began
	_, err = io.WriteString(c, "GET /next HTTP/1.1"+host+"\r\nGET /bad HTTP/1.1\n\n")
	require.NoError(t, err)
	close(finish)
	_, body := answer(t, in, "GET")
	assert.Equal(t, "one two", body)
	resp, _ := answer(t, in, "GET")
	assert.Equal(t, 200, resp.StatusCode)
	resp, _ = answer(t, in, "GET")
	assert.Equal(t, 400, resp.StatusCode)
	rest, err := io.ReadAll(in)
	require.NoError(t, err)
	assert.Empty(t, rest)
	assert.EqualValues(t, 2, d.handled.Load())
}

// A client that leaves is noticed while its request is answered.
func TestClientLeaves(t *testing.T) {
	began, gone := make(chan struct{}), make(chan struct{})
	d := serve(t, front.Options{}, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(gone)
	})
	c, _ := d.dial(t)
	_, err := io.WriteString(c, "GET /x HTTP/1.1"+host+"\r\n")
	require.NoError(t, err)
	<-began
	c.Close()
	<-gone
}

func TestExpectContinue(t *testing.T) {
	d := serve(t, front.Options{}, nil)
	c, in := d.dial(t)
	_, err := io.WriteString(c, "POST /x HTTP/1.1"+host+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	require.NoError(t, err)
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(c, "helloGET /y HTTP/1.1"+host+"\r\n")
	require.NoError(t, err)
	_, body := answer(t, in, "POST")
	assert.Equal(t, "POST /x 5", body)
	_, body = answer(t, in, "GET")
	assert.Equal(t, "GET /y 0", body)
}

// A handler that takes the connection over gets every byte behind the head,
// whenever it came.
func TestHijack(t *testing.T) {
	taken := make(chan string, 1)
	d := serve(t, front.Options{}, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		all, _ := io.ReadAll(rw)
		taken <- string(all)
	})
	c, in := d.dial(t)
	_, err := io.WriteString(c, "GET /x HTTP/1.1"+host+"Connection: Upgrade\r\nUpgrade: raw\r\n\r\nearly\n\x00")
	require.NoError(t, err)
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(c, "late")
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	assert.Equal(t, "early\n\x00late", <-taken)
}

// A body that the handler does not read is not taken for the next request.
func TestUnreadBody(t *testing.T) {
	d := serve(t, front.Options{}, func(http.ResponseWriter, *http.Request) {})
	for _, framing := range []string{"Content-Length: 41\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n29\r\n"} {
		c, in := d.dial(t)
		end := ""
		if strings.HasPrefix(framing, "T") {
			end = "\r\n0\r\n\r\n"
		}
		before := d.handled.Load()
		_, err := io.WriteString(c, "POST /x HTTP/1.1"+host+framing+"GET /hidden HTTP/1.1\r\nHost: example.org\r\n\r\n"[:41]+end+"GET /y HTTP/1.1"+host+"Connection: close\r\n\r\n")
		require.NoError(t, err)
		answer(t, in, "POST")
		answer(t, in, "GET")
		_, err = in.ReadByte()
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, before+2, d.handled.Load())
	}
}

// What net/http and the edge look for in a connection is still there.
func TestWhatIsBelow(t *testing.T) {
	f := front.New(front.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	guarded := f.Listener(l)
	defer guarded.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	c, err := guarded.Accept()
	require.NoError(t, err)
	defer c.Close()
	assert.IsType(t, (*net.TCPConn)(nil), c.(interface{ NetConn() net.Conn }).NetConn())
	assert.Implements(t, (*interface{ CloseWrite() error })(nil), c)

	name := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(name, bytes.Repeat([]byte("x"), 100), 0o600))
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	n, err := c.(io.ReaderFrom).ReadFrom(io.LimitReader(file, 60))
	require.NoError(t, err)
	assert.EqualValues(t, 60, n)
	offset, err := file.Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	assert.EqualValues(t, 60, offset)
}

// A unix socket has no sendfile, and says so.
func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	serveOn(t, l, front.Options{}, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(w, iotest.OneByteReader(strings.NewReader("content")))
		assert.NoError(t, err)
	})
	c, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /x HTTP/1.1"+host+"\r\nGET /x HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	in := bufio.NewReader(c)
	_, body := answer(t, in, "GET")
	assert.Equal(t, "content", body)
	resp, _ := answer(t, in, "GET")
	assert.Equal(t, 400, resp.StatusCode)
}

// pipes is a listener of connections in memory, for a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// inBubble runs f with a server that has the usual timeouts, on the bubble's clock.
func inBubble(t *testing.T, h http.HandlerFunc, f func(t *testing.T, front *front.Front, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		guard := front.New(front.Options{})
		s := &http.Server{ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second, Handler: h}
		guard.Prepare(s)
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		go s.Serve(guard.Listener(p))
		f(t, guard, p.dial)
		s.Close()
		time.Sleep(time.Minute) // for clients to notice
	})
}

// Slow heads end after ten seconds from their first byte, idle connections after
// 75; slow bodies are the handler's (B24).
func TestDeadlines(t *testing.T) {
	ok := func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }
	elapsed := func(t *testing.T, c net.Conn) (string, time.Duration) {
		start := time.Now()
		rest, err := io.ReadAll(c)
		require.NoError(t, err)
		line, _, _ := strings.Cut(string(rest), "\r\n")
		return line, time.Since(start)
	}
	inBubble(t, ok, func(t *testing.T, _ *front.Front, dial func() net.Conn) {
		line, after := elapsed(t, dial())
		assert.Empty(t, line, "nothing was asked")
		assert.Equal(t, 10*time.Second, after)
	})
	trickle := func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	inBubble(t, ok, func(t *testing.T, f *front.Front, dial func() net.Conn) {
		c := dial()
		go trickle(c)
		line, after := elapsed(t, c)
		assert.Equal(t, "HTTP/1.1 408 Request Timeout", line)
		assert.LessOrEqual(t, after, 12*time.Second, "with the time to linger")
		assert.EqualValues(t, 1, f.Stats()["head-timeout"])
	})
	inBubble(t, ok, func(t *testing.T, f *front.Front, dial func() net.Conn) {
		c := dial()
		in := bufio.NewReader(c)
		request := "GET /x HTTP/1.1" + host + "\r\n"
		go io.WriteString(c, request)
		answer(t, in, "GET")
		time.Sleep(70 * time.Second)
		go io.WriteString(c, request)
		answer(t, in, "GET")
		line, after := elapsed(t, c)
		assert.Empty(t, line)
		assert.Equal(t, 75*time.Second, after, "idle")

		c = dial()
		in = bufio.NewReader(c)
		go io.WriteString(c, request)
		answer(t, in, "GET")
		time.Sleep(60 * time.Second)
		go func() {
			io.WriteString(c, "GET /y HTTP/1.1\r\nX-")
			trickle(c)
		}()
		line, after = elapsed(t, c)
		assert.Equal(t, "HTTP/1.1 408 Request Timeout", line, "the next head has its own ten seconds")
		assert.GreaterOrEqual(t, after, 10*time.Second)
		assert.LessOrEqual(t, after, 12*time.Second)
	})
	inBubble(t, ok, func(t *testing.T, f *front.Front, dial func() net.Conn) {
		c := dial()
		go func() {
			io.WriteString(c, "POST /x HTTP/1.1"+host+"Content-Length: 60\r\nConnection: close\r\n\r\n")
			trickle(c)
		}()
		line, after := elapsed(t, c)
		assert.Equal(t, "HTTP/1.1 200 OK", line)
		assert.Equal(t, 59*time.Second, after)
	})
}

// The deadline that a handler sets counts also while its client has sent the next
// request already.
func TestHandlersDeadline(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(5 * time.Second))
		start := time.Now()
		<-r.Context().Done()
		assert.Equal(t, 5*time.Second, time.Since(start))
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, _ *front.Front, dial func() net.Conn) {
		c := dial()
		_, err := io.WriteString(c, "GET /x HTTP/1.1"+host+"\r\n")
		require.NoError(t, err)
		_, err = io.WriteString(c, "GET /y")
		require.NoError(t, err)
		rest, _ := io.ReadAll(c)
		assert.Empty(t, rest)
	})
}

// certificate is one for 127.0.0.1 and example.com, and a client that trusts it.
func certificate(t *testing.T) (tls.Certificate, *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0], s.Client().Transport.(*http.Transport).TLSClientConfig
}

func TestTLS(t *testing.T) {
	cert, client := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := serveOn(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}), front.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if assert.NotNil(t, r.TLS) {
			fmt.Fprintf(w, "%s %s", r.Proto, r.TLS.NegotiatedProtocol)
		}
	})
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: client.Clone(), ForceAttemptHTTP2: http2}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + d.addr + "/x")
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		if transport.CloseIdleConnections(); http2 {
			assert.Equal(t, "HTTP/2.0 h2", string(body))
		} else {
			assert.Equal(t, "HTTP/1.1 ", string(body))
		}
	}

	config := client.Clone()
	config.ServerName = "127.0.0.1"
	c, err := tls.Dial("tcp", d.addr, config)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /x HTTP/1.1"+host+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /y HTTP/1.1"+host+"\r\n")
	require.NoError(t, err)
	in := bufio.NewReader(c)
	resp, _ := answer(t, in, "GET")
	assert.Equal(t, 400, resp.StatusCode)
	rest, err := io.ReadAll(in)
	assert.NoError(t, err)
	assert.Empty(t, rest)
	assert.EqualValues(t, 1, d.Stats()["smuggling"])
	assert.EqualValues(t, 2, d.handled.Load())
}

// A handshake that does not come ends, and holds up nobody, not even the server's end.
func TestHandshake(t *testing.T) {
	cert, client := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := serveOn(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}), front.Options{HeaderTimeout: 50 * time.Millisecond}, nil)
	_, in := d.dial(t)
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	c, in := d.dial(t)
	_, err = io.WriteString(c, "GET / HTTP/1.1"+host+"\r\n")
	require.NoError(t, err)
	_, _ = io.ReadAll(in)
	assert.EqualValues(t, 2, d.Stats()["tls-handshake"])

	late := serveOn(t, tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{cert}}), front.Options{}, nil)
	late.dial(t)
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: client, DisableKeepAlives: true}}).Get("https://" + late.addr + "/x")
	require.NoError(t, err)
	resp.Body.Close()
	require.NoError(t, late.server.Shutdown(context.Background()))
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}
