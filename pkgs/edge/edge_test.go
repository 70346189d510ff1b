package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// tree is a hub that knows everything but /absent.
type tree struct{ policy freshness.Policy }

func (h tree) Parse(r *http.Request) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	if path == "/absent" {
		return nil, fmt.Errorf("path %q: %w", path, fs.ErrNotExist)
	}
	return &exchange.Request{Key: exchange.Key{Hub: "t", Path: path}, Target: target, Policy: h.policy}, nil
}

func (tree) Rewrite(next exchange.Source) exchange.Source { return next }

// A content is a body in memory that notes how it was closed.
type content struct {
	io.ReadSeeker
	closed func()
}

func (c *content) Close() error {
	if c.closed != nil {
		c.closed()
	}
	return nil
}

// stream hides all but Read and Close.
type stream struct{ io.ReadCloser }

const (
	etag     = `"v1"`
	modified = "Sun, 06 Nov 1994 08:49:37 GMT"
)

var now = time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)

// answer is a Source of one 200 response with text, as change makes it.
func answer(text string, change func(*exchange.Response)) exchange.SourceFunc {
	return func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp := &exchange.Response{
			Entry: &exchange.Entry{
				Key: req.Key, Status: http.StatusOK, Size: int64(len(text)), Mirror: "http://mirror.example.org/",
				Header:   http.Header{"Etag": {etag}, "Last-Modified": {modified}, "Content-Type": {"text/plain"}},
				Received: now.Add(-90 * time.Second),
			},
			Body:    &content{ReadSeeker: strings.NewReader(text)},
			Outcome: exchange.Outcome{Hit: true},
		}
		if req.Head {
			resp.Body = http.NoBody
		}
		if change != nil {
			change(resp)
		}
		return resp, nil
	}
}

func fail(err error) exchange.SourceFunc {
	return func(context.Context, *exchange.Request) (*exchange.Response, error) { return nil, err }
}

func handler(source exchange.Source) http.Handler {
	return New(Options{Hub: tree{}, Source: source, Via: "me-1", Now: func() time.Time { return now }})
}

func get(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func read(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		body   string
		retry  string
	}{
		{"stated", &exchange.Error{Status: 503, Message: "busy", RetryAfter: 1500 * time.Millisecond, Err: errors.New("http://secret")}, 503, "busy\n", "2"},
		{"stated, wrapped, without message", fmt.Errorf("get: %w", &exchange.Error{Status: 504}), 504, "Gateway Timeout\n", ""},
		{"stated before its cause", &exchange.Error{Status: 502, Err: fs.ErrNotExist}, 502, "Bad Gateway\n", ""},
		{"no status", &exchange.Error{}, 502, "Bad Gateway\n", ""},
		{"unknown status", &exchange.Error{Status: 499}, 499, "status 499\n", ""},
		{"missing", fmt.Errorf("open /secret: %w", fs.ErrNotExist), 404, "Not Found\n", ""},
		{"timeout", fmt.Errorf("get: %w", context.DeadlineExceeded), 504, "Gateway Timeout\n", ""},
		{"network timeout", &url.Error{Op: "Get", URL: "http://secret", Err: context.DeadlineExceeded}, 504, "Gateway Timeout\n", ""},
		{"canceled, but not by the client", context.Canceled, 502, "Bad Gateway\n", ""},
		{"anything else", errors.New("dial http://secret: refused"), 502, "Bad Gateway\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				resp := get(handler(fail(test.err)), method, "/x")
				assert.Equal(t, test.status, resp.StatusCode)
				assert.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
				assert.Equal(t, fmt.Sprint(len(test.body)), resp.Header.Get("Content-Length"))
				assert.Equal(t, test.retry, resp.Header.Get("Retry-After"))
				assert.Equal(t, "cache-proxy; detail=failed", resp.Header.Get("Cache-Status"))
				assert.Equal(t, "MISS", resp.Header.Get("X-Cache"))
				assert.Equal(t, "0", resp.Header.Get("Age"))
				assert.Equal(t, "text/plain; charset=utf-8", resp.Header.Get("Content-Type"))
				if method == "HEAD" {
					test.body = ""
				}
				assert.Equal(t, test.body, read(t, resp))
			}
		})
	}
	t.Run("client gone", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequest("GET", "/x", nil).WithContext(ctx)
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			handler(fail(context.Canceled)).ServeHTTP(httptest.NewRecorder(), r)
		})
	})
}

func TestHeader(t *testing.T) { // B35
	origin := http.Header{
		"Etag": {etag}, "Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}, "X-Foo": {"a", "b"}, "Date": {modified},
		"Cache-Control": {"max-age=600"}, "Expires": {modified}, "Cache-Status": {"far; hit"}, "Via": {"1.1 far"}, "Age": {"5"},
		"Connection": {"close"}, "Transfer-Encoding": {"chunked"}, "X-Accel-Redirect": {"/etc"}, "X-Accel-Buffering": {"no"}, "X-Sendfile": {"/etc"},
		"Content-Range": {"bytes 0-1/2"}, "Content-Length": {"77"},
	}
	send := func(class freshness.Class, change func(*exchange.Response)) http.Header {
		before := fmt.Sprint(origin)
		h := New(Options{Hub: tree{freshness.Policy{Class: class}}, Via: "me-1", Now: func() time.Time { return now },
			Source: answer("hello", func(resp *exchange.Response) {
				resp.Entry.Header = origin
				if change != nil {
					change(resp)
				}
			})})
		resp := get(h, "GET", "/x")
		assert.Equal(t, before, fmt.Sprint(origin), "the entry is immutable")
		return resp.Header
	}

	h := send(freshness.Mutable, nil)
	for name, want := range map[string]string{
		"Etag": etag, "Content-Type": "text/plain", "Content-Encoding": "gzip", "Date": modified,
		"Cache-Control": "no-cache", "Expires": "", "Cache-Status": "far; hit, cache-proxy; hit", "Via": "1.1 far, 1.1 me-1",
		"Age": "95", "Connection": "", "Transfer-Encoding": "", "X-Accel-Redirect": "", "X-Accel-Buffering": "", "X-Sendfile": "",
		"Content-Range": "", "Content-Length": "5", "Accept-Ranges": "bytes",
		"X-Cache": "HIT", "X-Cache-Upstream": "http://mirror.example.org/", "X-Content-Type-Options": "nosniff",
		"Last-Modified": "Sun, 22 Nov 2026 00:58:30 GMT", "Content-Security-Policy": "",
	} {
		assert.Equal(t, want, h.Get(name), name)
	}
	assert.Equal(t, []string{"a", "b"}, h["X-Foo"])

	assert.Equal(t, "public, max-age=31536000, immutable", send(freshness.Immutable, nil).Get("Cache-Control"))
	h = send(freshness.Passthrough, nil)
	assert.Equal(t, "max-age=600", h.Get("Cache-Control"))
	assert.Equal(t, modified, h.Get("Expires"))

	h = send(freshness.Mutable, func(resp *exchange.Response) {
		resp.Entry.Header = http.Header{}
		resp.Entry.Size = -1
		resp.Outcome = exchange.Outcome{Fwd: exchange.FwdURIMiss, Stored: true}
	})
	assert.Equal(t, "cache-proxy; fwd=uri-miss; stored", h.Get("Cache-Status"))
	assert.Equal(t, "MISS", h.Get("X-Cache"))
	assert.Equal(t, "90", h.Get("Age"))
	assert.Empty(t, h["Content-Type"], "nobody guesses it")
	assert.Empty(t, h["Content-Length"])
	assert.Empty(t, h["Accept-Ranges"])

	for mediaType, want := range map[string]string{
		"text/html; charset=utf-8": "sandbox", "TEXT/HTML": "sandbox", "application/xhtml+xml": "sandbox", "image/svg+xml": "sandbox",
		"application/xml": "sandbox", "text/xml ;a=b": "sandbox", "application/rss+xml": "sandbox",
		"text/plain": "", "application/octet-stream": "", "": "", "x": "",
	} {
		h = send(freshness.Mutable, func(resp *exchange.Response) { resp.Entry.Header = http.Header{"Content-Type": {mediaType}} })
		assert.Equal(t, want, h.Get("Content-Security-Policy"), mediaType)
	}
}

func TestStatuses(t *testing.T) {
	tests := []struct {
		name         string
		status       int
		text         string
		size         int64
		cacheControl string
		body, length string
	}{
		{"203 as stored", 203, "hello", 5, "no-cache", "hello", "5"},
		{"301", 301, "moved", 5, "no-cache", "moved", "5"},
		{"204", 204, "", 0, "no-cache", "", ""},
		{"404 with content", 404, "gone", 4, "no-store", "gone", "4"},
		{"404 without", 404, "", 0, "no-store", "Not Found\n", "10"},
		{"403 of unknown length", 403, "<html>", -1, "no-store", "Forbidden\n", "10"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := handler(answer(test.text, func(resp *exchange.Response) {
				resp.Entry.Status, resp.Entry.Size = test.status, test.size
			}))
			resp := get(h, "GET", "/x", "If-None-Match", "*", "Range", "bytes=0-0")
			assert.Equal(t, test.status, resp.StatusCode)
			assert.Equal(t, test.cacheControl, resp.Header.Get("Cache-Control"))
			assert.Equal(t, test.length, resp.Header.Get("Content-Length"))
			assert.Equal(t, "90", resp.Header.Get("Age"))
			assert.Equal(t, test.body, read(t, resp))
		})
	}
}

func TestHead(t *testing.T) {
	var asked *exchange.Request
	source := answer("hello", nil)
	h := handler(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		asked = req
		return source(ctx, req)
	}))
	resp := get(h, "HEAD", "/x", "Range", "bytes=1-2")
	assert.True(t, asked.Head)
	assert.Equal(t, "192.0.2.1", asked.Client.Addr.String())
	assert.Equal(t, 200, resp.StatusCode, "Range is for GET")
	assert.Empty(t, read(t, resp))
	head := resp.Header

	resp = get(h, "GET", "/x")
	assert.False(t, asked.Head)
	assert.Equal(t, head, resp.Header, "the fields of a GET")
	assert.Equal(t, "5", head.Get("Content-Length"))
}

// How the body is closed tells the cache what became of its client.
func TestClose(t *testing.T) {
	var ctx context.Context
	var cause error
	var closed atomic.Int32
	broken := errors.New("broken")
	source := func(change func(*exchange.Response)) exchange.Source {
		inner := answer("hello", func(resp *exchange.Response) {
			resp.Body = &content{strings.NewReader("hello"), func() {
				closed.Add(1)
				cause = context.Cause(ctx)
			}}
			if change != nil {
				change(resp)
			}
		})
		return exchange.SourceFunc(func(c context.Context, req *exchange.Request) (*exchange.Response, error) {
			ctx = c
			return inner(c, req)
		})
	}
	for _, header := range [][]string{nil, {"Range", "bytes=1-2"}, {"Range", "bytes=9-"}, {"If-None-Match", etag}, {"If-Match", `"x"`}} {
		closed.Store(0)
		get(handler(source(nil)), "GET", "/x", header...)
		assert.EqualValues(t, 1, closed.Load(), header)
		assert.NoError(t, cause, header)
	}

	t.Run("write fails", func(t *testing.T) {
		closed.Store(0)
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			handler(source(nil)).ServeHTTP(&failing{httptest.NewRecorder(), broken}, httptest.NewRequest("GET", "/x", nil))
		})
		assert.EqualValues(t, 1, closed.Load())
		assert.ErrorIs(t, cause, broken)
		assert.ErrorAs(t, cause, new(*lostError))
	})
	t.Run("body ends early", func(t *testing.T) {
		closed.Store(0)
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			get(handler(source(func(resp *exchange.Response) { resp.Entry.Size = 6 })), "GET", "/x")
		})
		assert.EqualValues(t, 1, closed.Load())
		assert.ErrorIs(t, cause, io.ErrUnexpectedEOF)
	})
}

type failing struct {
	http.ResponseWriter
	err error
}

func (w *failing) Write([]byte) (int, error) { return 0, w.err }

// growing is a body as the cache's reader of a flight: CopyTo, and Seek.
type growing struct {
	*bytes.Reader
	copied []int64
}

func (g *growing) Close() error { return nil }
func (g *growing) CopyTo(w io.Writer, n int64) (int64, error) {
	g.copied = append(g.copied, n)
	w.(interface{ Flush() }).Flush() // as before a wait
	if n < 0 {
		return io.Copy(w, g.Reader)
	}
	return io.CopyN(w, g.Reader, n)
}

func TestCopyTo(t *testing.T) {
	for _, test := range []struct {
		name   string
		size   int64
		header []string
		body   string
		copied []int64
	}{
		{"whole", 10, nil, "0123456789", []int64{10}},
		{"range", 10, []string{"Range", "bytes=2-4"}, "234", []int64{3}},
		{"unknown size", -1, []string{"Range", "bytes=2-4"}, "0123456789", []int64{-1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := &growing{Reader: bytes.NewReader([]byte("0123456789"))}
			h := handler(answer("", func(resp *exchange.Response) { resp.Entry.Size, resp.Body = test.size, body }))
			assert.Equal(t, test.body, read(t, get(h, "GET", "/x", test.header...)))
			assert.Equal(t, test.copied, body.copied)
		})
	}
}

func BenchmarkHit(b *testing.B) {
	text := strings.Repeat("x", 1<<10)
	entry := &exchange.Entry{
		Status: http.StatusOK, Size: 1 << 10, Mirror: "http://mirror.example.org/", Received: now,
		Header: http.Header{"Etag": {etag}, "Last-Modified": {modified}, "Content-Type": {"application/octet-stream"}, "Date": {modified}},
	}
	req := &exchange.Request{Key: exchange.Key{Hub: "t", Path: "/x"}}
	h := New(Options{Hub: constant{req}, Via: "me-1", Source: exchange.SourceFunc(
		func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return &exchange.Response{Entry: entry, Body: &content{ReadSeeker: strings.NewReader(text)}, Outcome: exchange.Outcome{Hit: true}}, nil
		})})
	r := httptest.NewRequest("GET", "/x", nil)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}

type constant struct{ req *exchange.Request }

func (c constant) Parse(*http.Request) (*exchange.Request, error) { return c.req, nil }
func (constant) Rewrite(next exchange.Source) exchange.Source     { return next }

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
