package front

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An answer is given behind net/http to what the guard does not know, and to nothing that
// handlers must see.
func TestServe(t *testing.T) {
	s := newShelf(t, 1<<20)
	h := s.hit(t, "/x", 1000)
	h.Header.Set("Cache-Status", "c; hit; ttl=7; detail=d")
	h.Header["Content-Type"] = nil // nobody is to guess it
	h.Response.Outcome.HasTTL = true
	h.Exchange.Policy.Class, h.Exchange.Policy.TTL = 0, 100*time.Second
	heard := make(chan Answer, 1)
	var id string
	h.Sent = hears(func(a *Answer) { id = string(a.RequestID); heard <- *a })
	s.publish(t, h)
	s.now = s.now.Add(900 * time.Millisecond)
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int // 0: not answered
		size   int64
	}{
		{"plain", func(*http.Request) {}, 200, 1000},
		{"HTTP/2", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, 200, 1000},
		{"HTTP/1.0", func(r *http.Request) { r.ProtoMinor = 0 }, 200, 1000},
		{"of a browser", func(r *http.Request) {
			r.Header = http.Header{"Cookie": {"a=b"}, "Referer": {"http://example.org/"}, "Priority": {"u=1"}}
		}, 200, 1000},
		{"of npm", func(r *http.Request) {
			r.Header = http.Header{"Npm-Session": {"a"}, "Pacote-Version": {"1"}, "User-Agent": {"npm"}}
		}, 200, 1000},
		{"HEAD", func(r *http.Request) { r.Method = "HEAD" }, 200, 0},
		{"a part", func(r *http.Request) { r.Header.Set("Range", "bytes=10-19") }, 206, 10},
		{"no part", func(r *http.Request) { r.Header.Set("Range", "bytes=1000-") }, 0, 0},
		{"two parts", func(r *http.Request) { r.Header["Range"] = []string{"bytes=1-2", "bytes=3-4"} }, 0, 0},
		{"another Accept", func(r *http.Request) { r.Header.Set("Accept", "text/html") }, 0, 0},
		{"another host", func(r *http.Request) { r.Host = "example.com" }, 0, 0},
		{"another target", func(r *http.Request) { r.RequestURI = "/x?" }, 0, 0},
		{"through a proxy", func(r *http.Request) { r.RequestURI = "http://example.org/x" }, 0, 0},
		{"an own field", func(r *http.Request) { r.Header.Set("X-Own", "a") }, 0, 0},
		{"a condition", func(r *http.Request) { r.Header.Set("If-None-Match", `"x"`) }, 0, 0},
		{"a body", func(r *http.Request) { r.ContentLength = 1 }, 0, 0},
		{"a body of unknown length", func(r *http.Request) { r.ContentLength = -1 }, 0, 0},
		{"POST", func(r *http.Request) { r.Method = "POST" }, 0, 0},
		{"the last of its connection", func(r *http.Request) { r.Header.Set("Connection", "close") }, 0, 0},
		{"from a socket of this machine", func(r *http.Request) { r.RemoteAddr = "@" }, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, w := httptest.NewRequest("GET", "/x", nil), httptest.NewRecorder()
			r.Host = "example.org"
			tt.change(r)
			require.Equal(t, tt.status > 0, s.Serve(w, r))
			if tt.status == 0 {
				assert.Empty(t, w.Result().Header)
				return
			}
			a := <-heard
			assert.Equal(t, Answer{
				Ready: a.Ready, Outcome: a.Outcome, Client: r.RemoteAddr, RequestID: a.RequestID, Head: r.Method == "HEAD",
				Status: tt.status, Bytes: tt.size, Started: a.Started, Complete: true, part: a.part,
			}, a)
			assert.Equal(t, 99*time.Second, a.Outcome.TTL.Truncate(time.Second))
			assert.Equal(t, tt.status, w.Code)
			assert.EqualValues(t, tt.size, w.Body.Len())
			want := http.Header{"Age": {"0"}, "Content-Length": {"1000"}, "Content-Type": nil, "X-Request-Id": {id}, "Cache-Status": {"c; hit; ttl=99; detail=d"}}
			if tt.status == 206 {
				want["Content-Length"], want["Content-Range"] = []string{"10"}, []string{"bytes 10-19/1000"}
			}
			assert.Equal(t, want, w.Header())
			assert.NotEqual(t, "x", id)
		})
	}
	ask := func() (age string, ok bool) {
		r, w := httptest.NewRequest("GET", "/x", nil), httptest.NewRecorder()
		r.Host = "example.org"
		if ok = s.Serve(w, r); ok {
			<-heard
		}
		return w.Header().Get("Age") + " " + w.Header().Get("Cache-Status"), ok
	}
	s.now = s.now.Add(50 * time.Millisecond)
	_, ok := ask()
	assert.True(t, ok)
	s.now = s.now.Add(100 * time.Millisecond)
	_, ok = ask()
	assert.False(t, ok, "the first behind a lifetime looks again")
	said, ok := ask()
	assert.True(t, ok)
	assert.Equal(t, "1 c; hit; ttl=98; detail=d", said)
	done := s.epochs.Changing(key("/x"))
	_, ok = ask()
	assert.False(t, ok)
	done()
	_, ok = ask()
	assert.False(t, ok, "withdrawn")
}

// behind is a server whose handler has nothing but the shelf, and notes how it went.
func (s *shelf) behind(t *testing.T, below net.Conn) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.Serve(w, r) {
			http.NotFound(w, r)
		}
	})}
	s.front.Prepare(server)
	l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- below
	go server.Serve(s.front.Listener(l))
	t.Cleanup(func() { server.Close() })
}

type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// counted counts the writes to a connection.
type counted struct {
	net.Conn
	writes atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Head and content leave together, whatever their size, and the next request of the
// connection finds it as ever.
func TestServeTogether(t *testing.T) {
	for _, size := range []int{0, 1, 1000, roomy, roomy + 1, 4 << 10, 6 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := newShelf(t, 1<<20)
			s.publish(t, s.hit(t, "/x", size))
			client, server := net.Pipe()
			below := &counted{Conn: server}
			s.behind(t, below)
			in := bufio.NewReader(client)
			for range 3 {
				before := below.writes.Load()
				go io.WriteString(client, "GET /x HTTP/1.1\r\nHost: example.org\r\nCookie: a=b\r\n\r\n")
				resp, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, 200, resp.StatusCode)
				assert.Equal(t, strings.Repeat("x", size), string(body))
				assert.EqualValues(t, 1, below.writes.Load()-before)
			}
			client.Close()
		})
	}
}

// A client that is lost is told of, and its connection ends.
func TestServeLost(t *testing.T) {
	s := newShelf(t, 1<<20)
	h := s.hit(t, "/x", maxReady)
	heard := make(chan Answer, 1)
	h.Sent = hears(func(a *Answer) { heard <- *a })
	s.publish(t, h)
	client, server := net.Pipe()
	s.behind(t, server)
	go io.WriteString(client, "GET /x HTTP/1.1\r\nHost: example.org\r\nCookie: a=b\r\n\r\n")
	_, err := io.ReadFull(client, make([]byte, 1000))
	require.NoError(t, err)
	client.Close()
	a := <-heard
	assert.False(t, a.Complete)
	assert.Zero(t, a.Bytes)
}

// Where handlers say what takes time, a client that leaves is noticed from then on, and
// connections go on behind requests that nobody watched.
func TestWatch(t *testing.T) {
	f := New(Options{Watched: true})
	waits, gone := make(chan struct{}), make(chan error, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/slow":
			Watch(r)
			close(waits)
			<-r.Context().Done()
			gone <- r.Context().Err()
		case "/watched":
			Watch(r)
			fallthrough
		default:
			fmt.Fprintf(w, "%s %s", r.URL.Path, body)
		}
	})}
	f.Prepare(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go server.Serve(f.Listener(l))
	defer server.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	in := bufio.NewReader(c)
	var all bytes.Buffer
	var want []string
	for range 20 { // some in one piece, some behind an answer
		for _, path := range []string{"/a", "/watched", "/b"} {
			fmt.Fprintf(&all, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			fmt.Fprintf(&all, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", path)
			want = append(want, path+" ", path+" abc")
		}
	}
	go func() {
		for all.Len() > 0 {
			c.Write(all.Next(777))
		}
	}()
	for _, body := range want {
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, body, string(got))
	}
	fmt.Fprint(c, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-waits
	c.Close()
	assert.Error(t, <-gone)
}
