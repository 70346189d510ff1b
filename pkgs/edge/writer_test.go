package edge

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func traceReuse(ctx context.Context, reused *bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { *reused = info.Reused }})
}

// A spy is the ResponseWriter of a connection that has sendfile.
type spy struct {
	*httptest.ResponseRecorder
	pieces []int64 // of ReadFrom
	files  int     // of those, how many came from a file
	read   func(r *io.LimitedReader) (int64, error)
}

func (s *spy) ReadFrom(r io.Reader) (int64, error) {
	limited := r.(*io.LimitedReader)
	s.pieces = append(s.pieces, limited.N)
	if _, ok := limited.R.(syscall.Conn); ok {
		s.files++
	}
	if s.read != nil {
		return s.read(limited)
	}
	return io.Copy(s.ResponseRecorder, limited)
}

func fileOf(t *testing.T, content []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(name, content, 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// net's sendfile takes an io.LimitedReader over a syscall.Conn.
func TestSendfile(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*filePiece/16+1)
	for _, test := range []struct {
		name   string
		size   int
		header []string
		pieces []int64
	}{
		{"large", len(content), nil, []int64{copyPiece, filePiece, filePiece, int64(len(content)) - copyPiece - 2*filePiece}},
		{"range", len(content), []string{"Range", "bytes=1000-100999"}, []int64{copyPiece, 100_000 - copyPiece}},
		{"small", smallFile, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := fileOf(t, content[:test.size])
			h := handler(answer("", func(resp *exchange.Response) { resp.Entry.Size, resp.Body = int64(test.size), f }))
			r := httptest.NewRequest("GET", "/x", nil)
			want := content[:test.size]
			if test.header != nil {
				r.Header.Set(test.header[0], test.header[1])
				want = content[1000:101000]
			}
			w := &spy{ResponseRecorder: httptest.NewRecorder()}
			h.ServeHTTP(w, r)
			assert.Equal(t, test.pieces, w.pieces)
			assert.Equal(t, len(test.pieces), w.files)
			assert.True(t, bytes.Equal(want, w.Body.Bytes()))
		})
	}
	t.Run("file shorter than its entry", func(t *testing.T) {
		f := fileOf(t, content[:100_000])
		h := handler(answer("", func(resp *exchange.Response) { resp.Entry.Size, resp.Body = 100_001, f }))
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			h.ServeHTTP(&spy{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest("GET", "/x", nil))
		})
	})
	t.Run("in pieces as they come", func(t *testing.T) {
		s := &spy{ResponseRecorder: httptest.NewRecorder()}
		w := newWriter(s, httptest.NewRequest("GET", "/x", nil), 0, 0)
		for _, n := range []int64{100_000, 200_000, 300_000} {
			m, err := io.CopyN(w, fileOf(t, content), n)
			require.NoError(t, err)
			assert.Equal(t, n, m)
		}
		assert.Equal(t, []int64{copyPiece, 100_000 - copyPiece, 200_000, 300_000}, s.pieces)
	})
	t.Run("not of unknown size", func(t *testing.T) {
		f := fileOf(t, content)
		h := handler(answer("", func(resp *exchange.Response) { resp.Entry.Size, resp.Body = -1, f }))
		w := &spy{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, httptest.NewRequest("GET", "/x", nil))
		assert.Empty(t, w.pieces)
		assert.True(t, bytes.Equal(content, w.Body.Bytes()))
	})
	t.Run("over TCP", func(t *testing.T) {
		server := httptest.NewServer(New(Options{Hub: tree{}, WriteTimeout: time.Minute,
			Source: answer("", func(resp *exchange.Response) {
				f, err := os.Open(fileOf(t, content).Name())
				assert.NoError(t, err)
				resp.Entry.Size, resp.Body = int64(len(content)), f
			})}))
		defer server.Close()
		for range 2 {
			resp, err := http.Get(server.URL + "/x")
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content, []byte(read(t, resp))))
			resp.Body.Close()
		}
	})
}

// deadlines makes a spy accept them.
type deadlines struct{ *spy }

func (deadlines) SetWriteDeadline(time.Time) error { return nil }

// A deadline within a file is no end as long as the rate is good.
func TestSendfileSlow(t *testing.T) {
	const size = 4 << 20
	content := bytes.Repeat([]byte("x"), size)
	for _, test := range []struct {
		name    string
		taken   int64 // by the client in a minute
		fails   bool
		minRate int64
	}{
		{"at the rate", 64 << 10, false, 1 << 10},
		{"below it", 50 << 10, true, 1 << 10},
		{"nothing", 0, true, 1 << 10},
		{"lower rate", 50 << 10, false, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := fileOf(t, content)
				s := &spy{ResponseRecorder: httptest.NewRecorder()}
				s.read = func(r *io.LimitedReader) (int64, error) {
					if len(s.pieces) == 1 { // the first fits the connection's buffers
						return io.Copy(s.ResponseRecorder, r)
					}
					n := min(test.taken, r.N)
					if n == r.N {
						return io.Copy(s.ResponseRecorder, r)
					}
					time.Sleep(time.Minute)
					n, err := io.CopyN(s.ResponseRecorder, r, n)
					if r.N > 0 {
						err = &net.OpError{Op: "readfrom", Err: os.ErrDeadlineExceeded}
					}
					return n, err
				}
				w := newWriter(deadlines{s}, httptest.NewRequest("GET", "/x", nil), time.Minute, test.minRate)
				err := copyBody(w, f, size)
				if test.fails {
					assert.ErrorAs(t, err, new(*lostError))
				} else {
					assert.NoError(t, err)
					assert.Equal(t, size, s.Body.Len())
				}
			})
		})
	}
}

// pipes is a listener of net.Pipe ends, for synctest.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Net: "pipe"} }

// serve runs h on one connection and returns the client's end.
func serve(t *testing.T, h http.Handler) net.Conn {
	client, server := net.Pipe()
	listener := make(pipes, 1)
	listener <- server
	s := &http.Server{Handler: h, ConnContext: ConnContext}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(listener)
	}()
	t.Cleanup(func() {
		close(listener)
		client.Close()
		s.Close()
		<-done
	})
	return client
}

func TestWriteTimeout(t *testing.T) { // F19
	const size = 1 << 20
	start := func(t *testing.T, body io.ReadCloser, size int64) (*bufio.Reader, chan error) {
		closed := make(chan error, 1)
		conn := serve(t, New(Options{Hub: tree{}, WriteTimeout: time.Minute, MinRate: 1 << 10,
			Source: exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
				return &exchange.Response{Entry: &exchange.Entry{Status: 200, Size: size, Received: now},
					Body: closer{body, func() { closed <- context.Cause(ctx) }}}, nil
			})}))
		_, err := io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		return bufio.NewReaderSize(conn, 16), closed
	}
	content := func() io.ReadCloser { return io.NopCloser(strings.NewReader(strings.Repeat("x", size))) }

	t.Run("client that takes nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			_, closed := start(t, content(), size)
			assert.Error(t, <-closed)
			assert.Equal(t, time.Minute, time.Since(began))
		})
	})
	t.Run("client slower than the rate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			in, closed := start(t, content(), size)
			began := time.Now()
			drained := drain(in, 512)
			assert.Error(t, <-closed)
			assert.Less(t, time.Since(began), 3*time.Minute)
			<-drained
		})
	})
	t.Run("client a little faster than the rate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			in, closed := start(t, content(), size)
			drained := drain(in, 1200)
			assert.NoError(t, <-closed)
			<-drained
		})
	})
	t.Run("slow mirror is not a slow client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			body, mirror := io.Pipe()
			in, closed := start(t, body, 10)
			go func() {
				for range 10 {
					time.Sleep(10 * time.Minute)
					_, _ = mirror.Write([]byte("x"))
				}
			}()
			began := time.Now()
			resp, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			_, err = io.ReadFull(resp.Body, make([]byte, 1))
			require.NoError(t, err)
			assert.Equal(t, 10*time.Minute, time.Since(began), "bytes go on as they come")
			assert.Equal(t, strings.Repeat("x", 9), read(t, resp))
			assert.NoError(t, <-closed)
		})
	})
	t.Run("head alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source := answer("hello", nil)
			conn := serve(t, New(Options{Hub: tree{}, WriteTimeout: time.Minute,
				Source: exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
					time.Sleep(10 * time.Minute)
					return source(ctx, req)
				})}))
			in := bufio.NewReader(conn)
			ask := func() {
				_, err := io.WriteString(conn, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n")
				require.NoError(t, err)
			}
			ask()
			_, err := http.ReadResponse(in, &http.Request{Method: "HEAD"})
			require.NoError(t, err, "a slow answer is not a slow client")
			ask()
			time.Sleep(12 * time.Minute)
			_, err = in.ReadByte()
			assert.Equal(t, io.EOF, err, "a client that takes no head is cut")
		})
	})
}

// drain reads n bytes a second to the end of the connection.
func drain(r io.Reader, n int64) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		for err := error(nil); err == nil; _, err = io.CopyN(io.Discard, r, n) {
			time.Sleep(time.Second)
		}
	}()
	return done
}

type closer struct {
	io.ReadCloser
	closed func()
}

func (c closer) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}
