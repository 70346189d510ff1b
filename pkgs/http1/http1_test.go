package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// origin answers the requests of each connection with the next of some texts, byte
// for byte, and then closes it. It counts connections.
type origin struct {
	answers []string
	dialled atomic.Int64
	open    atomic.Int64
	asked   atomic.Int64
}

func (o *origin) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	o.dialled.Add(1)
	o.open.Add(1)
	client, server := net.Pipe()
	go func() {
		defer o.open.Add(-1)
		defer server.Close()
		in := bufio.NewReader(server)
		for _, a := range o.answers {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			o.asked.Add(1)
			r.Body.Close()
			if _, err := io.WriteString(server, a); err != nil {
				return
			}
		}
	}()
	return client, nil
}

// transport is one as upstream has it.
func transport(change func(*http.Transport)) *http.Transport {
	t := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8, MaxResponseHeaderBytes: 4 << 10, IdleConnTimeout: time.Minute}
	if change != nil {
		change(t)
	}
	return t
}

// client is one of http://a over a dialer, closed at the end.
func client(t testing.TB, dial Dialer, change func(*http.Transport)) *Client {
	t.Helper()
	base, err := url.Parse("http://a")
	require.NoError(t, err)
	c := New(base, transport(change), dial)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(t testing.TB, method string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://a/x?y", nil)
	require.NoError(t, err)
	return r
}

// all is a whole response's body.
func all(t testing.TB, rt http.RoundTripper, r *http.Request) string {
	t.Helper()
	res, err := rt.RoundTrip(r)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

const (
	plainOK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
)

// TestKept: a connection is used again behind a response that ends where its
// framing says, and only then.
func TestKept(t *testing.T) {
	for _, test := range []struct {
		name   string
		method string
		answer string
		kept   bool
		broken bool // the body does not come to its end
	}{
		{name: "length", answer: plainOK, kept: true},
		{name: "chunked", answer: chunked, kept: true},
		{name: "empty", answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", kept: true},
		{name: "no content", answer: "HTTP/1.1 204 No Content\r\n\r\n", kept: true},
		{name: "not modified", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", kept: true},
		{name: "head", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", kept: true},
		{name: "behind interim ones", answer: "HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + plainOK, kept: true},
		{name: "1.0 kept", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", kept: true},
		{name: "close", answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"},
		{name: "1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{name: "more than was promised", answer: plainOK + "HTTP/1.1 200 OK\r\n"},
		{name: "chunk of no length", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", broken: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &origin{answers: []string{test.answer, test.answer}}
			c := client(t, o.dial, nil)
			for range 2 {
				res, err := c.RoundTrip(get(t, test.method))
				require.NoError(t, err)
				_, err = io.ReadAll(res.Body)
				assert.Equal(t, test.broken, err != nil, "%v", err)
				res.Body.Close()
			}
			want := int64(2)
			if test.kept {
				want = 1
			}
			assert.Equal(t, want, o.dialled.Load())
		})
	}
}

// TestUntilClose: a body without a length ends with its connection.
func TestUntilClose(t *testing.T) {
	o := &origin{answers: []string{"HTTP/1.1 200 OK\r\n\r\nall of it"}}
	c := client(t, o.dial, nil)
	assert.Equal(t, "all of it", all(t, c, get(t, "GET")))
	assert.Equal(t, "all of it", all(t, c, get(t, "GET")))
	assert.EqualValues(t, 2, o.dialled.Load())
}

// TestEndedMeanwhile: a kept connection that the origin has ended costs nobody an
// answer; a new one that ends without an answer is an error.
func TestEndedMeanwhile(t *testing.T) {
	o := &origin{answers: []string{plainOK}} // and ends
	c := client(t, o.dial, nil)
	for range 3 {
		assert.Equal(t, "ok", all(t, c, get(t, "GET")))
	}
	assert.EqualValues(t, 3, o.asked.Load())
	o = &origin{}
	_, err := client(t, o.dial, nil).RoundTrip(get(t, "GET"))
	require.Error(t, err)
	assert.EqualValues(t, 1, o.dialled.Load())
}

// TestOnceAgain: a request that its origin does not answer is sent twice at most,
// however many connections are kept.
func TestOnceAgain(t *testing.T) {
	// Each connection answers once, and takes another request that it does not answer.
	var dialled, asked atomic.Int64
	c := client(t, func(context.Context, string, string) (net.Conn, error) {
		first := dialled.Add(1) <= 4
		ours, server := net.Pipe()
		go func() {
			defer server.Close()
			in := bufio.NewReader(server)
			for n := range 2 {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				if asked.Add(1); n == 0 && first {
					io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				} else {
					return
				}
			}
		}()
		return ours, nil
	}, nil)
	var open []*http.Response
	for range 4 {
		res, err := c.RoundTrip(get(t, "GET"))
		require.NoError(t, err)
		open = append(open, res)
	}
	for _, res := range open {
		_, err := io.ReadAll(res.Body)
		require.NoError(t, err)
	}
	before := asked.Load()
	_, err := c.RoundTrip(get(t, "GET"))
	assert.Error(t, err)
	assert.EqualValues(t, 2, asked.Load()-before, "RFC 9112 §9.3.1: a retry that fails is not tried again")
	assert.EqualValues(t, 5, dialled.Load(), "nor over another connection that was kept")
}

// TestLooksFirst: what an origin does to an idle connection is seen before it is used.
func TestLooksFirst(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(net.Conn)
	}{
		{"closed", func(c net.Conn) { c.Close() }},
		{"sent what nobody has asked for", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			var first net.Conn
			done := make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
			s.Config.ConnState = func(c net.Conn, state http.ConnState) {
				mu.Lock()
				defer mu.Unlock()
				if state == http.StateIdle && first == nil {
					first = c
					test.do(c)
					close(done)
				}
			}
			s.Start()
			defer s.Close()
			var d net.Dialer
			dialled := 0
			c := client(t, func(ctx context.Context, network, _ string) (net.Conn, error) {
				dialled++
				return d.DialContext(ctx, network, s.Listener.Addr().String())
			}, nil)
			assert.Equal(t, "ok", all(t, c, get(t, "GET")))
			<-done
			require.Eventually(t, func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return len(c.idle) == 0 || !c.idle[0].alive() // it may have come with the answer
			}, 10*time.Second, time.Millisecond)
			assert.Equal(t, "ok", all(t, c, get(t, "GET")))
			assert.Equal(t, 2, dialled)
		})
	}
}

// TestLooksAgain: a kept connection that its origin has ended does not stay open until
// it would have been idle for too long.
func TestLooksAgain(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	defer s.Close()
	var d net.Dialer
	c := client(t, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, s.Listener.Addr().String())
	}, nil)
	c.looks = time.Millisecond
	open := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.open
	}
	assert.Equal(t, "ok", all(t, c, get(t, "GET")))
	assert.Equal(t, 1, open())
	s.CloseClientConnections()
	assert.Eventually(t, func() bool { return open() == 0 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, "ok", all(t, c, get(t, "GET")))
}

// TestCancelled: the end of a request's context ends it at every stage, and its
// connection.
func TestCancelled(t *testing.T) {
	why := errors.New("enough")
	for _, test := range []struct{ name, answer string }{
		{"before the head", ""},
		{"within the head", "HTTP/1.1 200 OK\r\nContent-"},
		{"within the body", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nsome"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended atomic.Bool
				c := client(t, func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					go func() {
						if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
							io.WriteString(server, test.answer)
						}
						_, err := server.Read(make([]byte, 1))
						ended.Store(err == io.EOF)
					}()
					return client, nil
				}, func(t *http.Transport) { t.MaxConnsPerHost = 1 })
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(why) })
				res, err := c.RoundTrip(get(t, "GET").WithContext(ctx))
				if err == nil {
					_, err = io.ReadAll(res.Body)
				}
				assert.ErrorIs(t, err, why)
				synctest.Wait()
				assert.True(t, ended.Load())
				assert.Empty(t, c.room)
				assert.Zero(t, c.open)
			})
		})
	}
}

// TestHeaderTimeout: it is a timeout, and the body has no such limit.
func TestHeaderTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pause atomic.Int64
		pause.Store(int64(2 * time.Second))
		c := client(t, func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				in := bufio.NewReader(server)
				http.ReadRequest(in)
				time.Sleep(time.Duration(pause.Load()))
				io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
				time.Sleep(time.Minute)
				io.WriteString(server, "done")
			}()
			return client, nil
		}, func(t *http.Transport) { t.ResponseHeaderTimeout = time.Second })
		_, err := c.RoundTrip(get(t, "GET"))
		var timeout interface{ Timeout() bool }
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		pause.Store(int64(500 * time.Millisecond))
		assert.Equal(t, "done", all(t, c, get(t, "GET")))
		time.Sleep(time.Minute) // of the first origin
	})
}

// TestIdleTimeout: idle connections end in time, each in its own.
func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{answers: []string{plainOK, plainOK, plainOK}}
		c := client(t, o.dial, nil)
		first, err := c.RoundTrip(get(t, "GET"))
		require.NoError(t, err)
		second, err := c.RoundTrip(get(t, "GET"))
		require.NoError(t, err)
		io.ReadAll(first.Body)
		time.Sleep(40 * time.Second)
		io.ReadAll(second.Body)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		assert.EqualValues(t, 1, o.open.Load())
		time.Sleep(40 * time.Second)
		synctest.Wait()
		assert.Zero(t, o.open.Load())
		assert.Zero(t, c.open)
		all(t, c, get(t, "GET"))
		assert.EqualValues(t, 3, o.dialled.Load())
	})
}

// TestHeadLimit: heads, interim ones included, have a limit; bodies have none.
func TestHeadLimit(t *testing.T) {
	long := strings.Repeat("x", 3<<10)
	for _, test := range []struct {
		name, answer string
		ok           bool
	}{
		{"within", "HTTP/1.1 200 OK\r\nX: " + long + "\r\nContent-Length: 2\r\n\r\nok", true},
		{"above", "HTTP/1.1 200 OK\r\nX: " + long + "\r\nY: " + long + "\r\nContent-Length: 2\r\n\r\nok", false},
		{"interim ones", strings.Repeat("HTTP/1.1 103 Early\r\nX: "+long[:1000]+"\r\n\r\n", 5) + plainOK, false},
		{"body", "HTTP/1.1 200 OK\r\nContent-Length: 30720\r\n\r\n" + strings.Repeat(long, 10), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &origin{answers: []string{test.answer}}
			res, err := client(t, o.dial, nil).RoundTrip(get(t, "GET"))
			if !test.ok {
				assert.ErrorIs(t, err, errHead)
				return
			}
			require.NoError(t, err)
			b, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			assert.EqualValues(t, res.ContentLength, len(b))
		})
	}
}

// TestRoom: the connections of both kinds are no more than there may be, and whoever
// waits gets one.
func TestRoom(t *testing.T) {
	o := &origin{answers: []string{plainOK, plainOK, plainOK, plainOK}}
	c := client(t, o.dial, func(t *http.Transport) { t.MaxConnsPerHost = 2 })
	most := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		assert.LessOrEqual(t, c.open, 2)
	}
	one, err := c.RoundTrip(get(t, "GET"))
	require.NoError(t, err)
	two, err := c.RoundTrip(get(t, "GET"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = c.RoundTrip(get(t, "GET").WithContext(ctx))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	got := make(chan string)
	go func() { got <- all(t, c, get(t, "GET")) }()
	one.Body.Close() // which ends its connection
	assert.Equal(t, "ok", <-got)
	most()
	io.ReadAll(two.Body)
	most()
	for range 3 { // both are idle now, and the Transport needs one
		r := get(t, "GET")
		r.Header.Set("Expect", "nothing")
		assert.Equal(t, "ok", all(t, c, r))
		most()
		assert.Equal(t, "ok", all(t, c, get(t, "GET")))
		most()
	}
	assert.Empty(t, c.room)
}

// TestDelegated: what is not plain goes through the Transport.
func TestDelegated(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"method":         func(r *http.Request) { r.Method = "DELETE" },
		"body":           func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 },
		"another host":   func(r *http.Request) { r.URL.Host = "b" },
		"https":          func(r *http.Request) { r.URL.Scheme = "https" },
		"upgrade":        func(r *http.Request) { r.Header["Upgrade"] = []string{"x"} },
		"connection":     func(r *http.Request) { r.Header["Connection"] = []string{"close"} },
		"close":          func(r *http.Request) { r.Close = true },
		"name":           func(r *http.Request) { r.Header["X y"] = []string{"x"} },
		"value":          func(r *http.Request) { r.Header["X"] = []string{"x\r\nY: z"} },
		"host":           func(r *http.Request) { r.Host = "ü" },
		"host of spaces": func(r *http.Request) { r.Host = "a b" },
	} {
		t.Run(name, func(t *testing.T) {
			r := get(t, "GET")
			c := client(t, nil, nil)
			assert.True(t, c.plain(r))
			change(r)
			assert.False(t, c.plain(r))
		})
	}
	c := client(t, nil, func(t *http.Transport) {
		t.Proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: "p"}, nil }
	})
	assert.False(t, c.plain(get(t, "GET")), "proxy")
	c = client(t, nil, func(t *http.Transport) { t.DisableCompression = false })
	assert.False(t, c.plain(get(t, "GET")), "decompressing")
}

// TestTrace: the hooks that are promised.
func TestTrace(t *testing.T) {
	o := &origin{answers: []string{"HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n" + plainOK, "HTTP/1.1 100 Continue\r\n\r\n" + plainOK}}
	c := client(t, o.dial, nil)
	var heard []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { heard = append(heard, fmt.Sprintf("conn %v", i.Reused)) },
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			heard = append(heard, fmt.Sprint(code, h.Get("Link")))
			return nil
		},
	})
	all(t, c, get(t, "GET").WithContext(ctx))
	all(t, c, get(t, "GET").WithContext(ctx))
	assert.Equal(t, []string{"conn false", "103<x>", "conn true", "100"}, heard)
	refuse := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { return errClosed },
	})
	_, err := c.RoundTrip(get(t, "GET").WithContext(refuse))
	assert.ErrorIs(t, err, errClosed)
}

// TestClosed: a Client that is closed keeps nothing, and what is under way goes on.
func TestClosed(t *testing.T) {
	o := &origin{answers: []string{plainOK, plainOK}}
	c := client(t, o.dial, nil)
	res, err := c.RoundTrip(get(t, "GET"))
	require.NoError(t, err)
	c.CloseIdleConnections()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, "ok", string(b))
	assert.Zero(t, c.open)
	n, err := res.Body.Read(make([]byte, 1))
	assert.Equal(t, []any{0, io.EOF}, []any{n, err}, "behind the end")
}

// TestMany: requests, and ends of requests, at once.
func TestMany(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path)
		io.WriteString(w, strings.Repeat(r.URL.Path, 1000))
	}))
	defer s.Close()
	base, err := url.Parse(s.URL)
	require.NoError(t, err)
	c := New(base, transport(func(t *http.Transport) { t.MaxConnsPerHost = 4 }), new(net.Dialer).DialContext)
	defer c.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 100 {
				path := fmt.Sprintf("/%d/%d", i, n)
				ctx, cancel := context.WithCancel(t.Context())
				r, _ := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
				if n%3 == 0 {
					go cancel()
				}
				res, err := c.RoundTrip(r)
				if err == nil {
					assert.Equal(t, path, res.Header.Get("X-Path"))
					if n%5 == 0 {
						res.Body.Close()
					}
					b, err := io.ReadAll(res.Body)
					assert.True(t, err != nil || string(b) == strings.Repeat(path, 1000))
					res.Body.Close()
				} else {
					assert.Zero(t, n%3, "%v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	assert.Eventually(t, func() bool { return len(c.room) == 0 }, 10*time.Second, time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	assert.Equal(t, len(c.idle), c.open)
}
