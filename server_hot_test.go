package cacheproxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// A hotServer is a whole server on loopback that may be asked about itself.
type hotServer struct {
	*cacheproxy.Server
	addr, dir string
}

func runHot(t testing.TB, config string, now func() time.Time) *hotServer {
	t.Helper()
	r := &hotServer{dir: t.TempDir()}
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(config+"\nstorage: {local: {path: '"+r.dir+"', memory: "+memory(config)+"}}\n"), 0o600))
	cfg, _, err := cacheproxy.Load(file)
	require.NoError(t, err)
	r.Server, err = cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.DiscardHandler), Now: now})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return r
}

// memory is what "# cold" in a configuration leaves of the default.
func memory(config string) string {
	if strings.HasPrefix(config, "# cold") {
		return "0"
	}
	return "1MiB"
}

// talk sends request and returns all that comes back; the request ends the connection.
func (r *hotServer) talk(t testing.TB, request string) ([]byte, error) {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(2*time.Second)))
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	return io.ReadAll(c)
}

// get is the answer to GET path on a connection of its own, kept alive.
func (r *hotServer) get(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

// warm asks for path until it is answered in front of net/http.
func (r *hotServer) warm(t testing.TB, path string) {
	t.Helper()
	before := r.Stats().Hot
	for range 1000 {
		if r.get(t, path); r.Stats().Hot > before {
			return
		}
	}
	t.Fatalf("%s does not become hot", path)
}

// Of two answers these may differ: times of the wire, names of requests, processes and
// boundaries.
var unequal = regexp.MustCompile(`(?m)^(Date: .*|X-Request-Id: [0-9a-z]+|Via: .*|.{0,30} cache-proxy-[0-9a-f]{8}.*|(.* boundary=|--)[A-Z2-7]{26}(--)?)\r$`)

var warmed = []string{"/small", "/a.deb", "/large", "/huge", "/empty", "/page.html", "/q?a=b"}

// pairs are two servers before one origin, one of which answers in front of net/http.
func pairs(t testing.TB) (hot, cold *hotServer, clock *atomic.Int64) {
	t.Helper()
	origin := proxytest.NewOrigin(t)
	dated := http.Header{"Content-Type": {"text/plain"}, "X-Origin": {"a", "b"}, "Age": {"7"}, "Cache-Control": {"max-age=3600"}, "Etag": {`"v1"`}}
	for path, size := range map[string]int64{"/small": 1000, "/a.deb": 20_000, "/large": 60_000, "/empty": 0, "/huge": 200_000} {
		origin.Reply("GET", path, proxytest.Reply{Body: proxytest.Random(size, 1), Header: dated})
	}
	origin.Reply("GET", "/page.html", proxytest.Reply{Body: proxytest.Text("<p>"), Header: http.Header{"Content-Type": {"text/html"}, "Last-Modified": {"Thu, 02 Jan 2020 03:04:05 GMT"}}})
	origin.Reply("GET", "/q?a=b", proxytest.Reply{Body: proxytest.Text("query")})
	clock = new(atomic.Int64)
	clock.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	config := "cache: {timeout: 100s, policies: [{match: '[.]deb$', refresh-after: never}]}\nupstream: [{server: '" + origin.URL() + "'}]"
	hot, cold = runHot(t, config, now), runHot(t, "# cold\n"+config, now)
	for range 3 {
		for _, path := range warmed {
			hot.get(t, path)
			cold.get(t, path)
		}
	}
	return hot, cold, clock
}

// lessUnequal is an answer less what is unequal, which is whole lines. An expression is
// slow under the race detector, so it is not asked of the lines of a body.
func lessUnequal(answer []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(answer) {
		if bytes.HasSuffix(line, []byte("\r\n")) {
			line = unequal.ReplaceAll(line, nil)
		}
		kept = append(kept, line...)
	}
	return kept
}

const last = "GET /-/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// sameAnswers sends a request, twice on one connection, to both and compares all
// that comes back.
func sameAnswers(t *testing.T, hot, cold *hotServer, request string) {
	t.Helper()
	a, errA := hot.talk(t, request+request+last)
	b, errB := cold.talk(t, request+request+last)
	if errors.Is(errA, os.ErrDeadlineExceeded) && errors.Is(errB, os.ErrDeadlineExceeded) {
		return // it waits for a body
	}
	if fwd := []byte("; fwd="); bytes.Contains(a, fwd) || bytes.Contains(b, fwd) {
		return // the mirror was asked, and when is a matter of luck
	}
	a, b = lessUnequal(a), lessUnequal(b)
	if !bytes.Equal(a, b) {
		i := 0
		for i < min(len(a), len(b)) && a[i] == b[i] {
			i++
		}
		t.Errorf("%q:\nin front %.300q\nelse     %.300q", request, a[max(0, min(i, len(a))-100):], b[max(0, min(i, len(b))-100):])
	}
}

var eachField = []string{
	"User-Agent: x\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n", "Connection: Close\r\n",
	"Range: bytes=1-2\r\n", "Range: bytes=0-\r\n", "Range: bytes=-7\r\n", "Range: bytes=998-2000\r\n", "Range: bytes=150000-199999\r\n", "Range: bytes=0-0,2-3\r\n",
	"Range: bytes=3-2\r\n", "Range: bytes=200000-\r\n", "Range: Bytes=1-2\r\n", "Range: bytes= 1-2\r\n", "Range: bytes=-0\r\n", "Range: bytes=-\r\n", "Range:\r\n",
	"Range: bytes=1-2\r\nRange: bytes=3-4\r\n", "Range: bytes=1-2\r\nIf-Range: \"v1\"\r\n", "Range: bytes=1-99999999999999999999\r\n", "Range: bytes=-9999999\r\n", "If-None-Match: \"v1\"\r\n", "If-None-Match: \"v2\"\r\n", "If-Modified-Since: Thu, 02 Jan 2020 03:04:05 GMT\r\n",
	"Authorization: Basic eDp4\r\n", "Cache-Control: no-cache\r\n", "X-Request-ID: mine\r\n", "Content-Length: 0\r\n", "Expect: 100-continue\r\n",
	"X-Accel-Path: /x\r\n", "X-Forwarded-For: 1.2.3.4\r\n", "Via: 1.1 me\r\n", "Cookie: a=b\r\n", "Npm-Session: a\r\npacote-version: 1\r\n",
	"Referer: a\r\nPriority: u=1\r\nRange: bytes=1-2\r\n", "Dnt: 1\r\nDnt: 2\r\nX-Own: a\r\n", "Cookie: a=b\r\nRange: bytes=1-2,4-5\r\n", "Cookie: a=b\r\nAccept: a\r\nAccept: b\r\n",
}

// Requests that come to an answer in front of net/http, and many that do not, get
// the same bytes either way, at all times of an entry's life.
func TestHotIsEqual(t *testing.T) {
	hot, cold, clock := pairs(t)
	before := hot.Stats().Hot
	for _, wait := range []time.Duration{0, 300 * time.Millisecond, 700 * time.Millisecond, time.Second, 3 * time.Second, 42500 * time.Millisecond, 53 * time.Second, 90 * time.Second} {
		clock.Add(int64(wait))
		for _, path := range warmed {
			cold.get(t, path) // what is stale is validated
			hot.warm(t, path)
		}
		for i, path := range []string{"/small", "/huge", "/a.deb", "/large", "/empty", "/page.html", "/q?a=b", "/small?x", "//small", "/absent", "/-/healthz", "/%73mall"} {
			for _, method := range []string{"GET", "HEAD"} {
				fields := []string{"", "Accept: */*\r\n"}
				if i < 2 && (wait == 0 || wait == 3*time.Second) {
					fields = append(fields, eachField...)
				}
				for _, field := range fields {
					sameAnswers(t, hot, cold, method+" "+path+" HTTP/1.1\r\nHost: x\r\n"+field+"\r\n")
				}
			}
		}
		sameAnswers(t, hot, cold, "GET /small HTTP/1.0\r\n\r\n")
		sameAnswers(t, hot, cold, "GET /small HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
		sameAnswers(t, hot, cold, "GET /small HTTP/1.1\r\nHost: y:80\r\n\r\n")
		sameAnswers(t, hot, cold, "GET http://x/small HTTP/1.1\r\nHost: x\r\n\r\n")
		sameAnswers(t, hot, cold, "DELETE /small HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	assert.Greater(t, hot.Stats().Hot-before, uint64(100), "or this compares nothing")
	assert.Greater(t, hot.Stats().Warm, uint64(10), "likewise")
	assert.Zero(t, cold.Stats().Hot)
	assert.Zero(t, cold.Stats().Warm)
}

// So do those of HTTP/2, which net/http brings.
func TestWarmIsEqual(t *testing.T) {
	hot, cold, clock := pairs(t)
	overH2 := func(s *hotServer) (get func(method, path, ranged string) (*http.Response, string)) {
		server := httptest.NewUnstartedServer(s.Server)
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		return func(method, path, ranged string) (*http.Response, string) {
			r, err := http.NewRequest(method, server.URL+path, nil)
			require.NoError(t, err)
			r.Host = "x"
			if ranged != "" {
				r.Header.Set("Range", ranged)
			}
			resp, err := server.Client().Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			for name := range resp.Header {
				switch name {
				case "Date", "X-Request-Id", "Via":
					resp.Header[name] = []string{"some"}
				}
			}
			if mediaType, _, ok := strings.Cut(resp.Header.Get("Content-Type"), "; boundary="); ok {
				resp.Header.Set("Content-Type", mediaType)
				body = nil
			}
			return resp, string(body)
		}
	}
	one, other := overH2(hot), overH2(cold)
	for _, wait := range []time.Duration{0, time.Second, 3 * time.Second} {
		clock.Add(int64(wait))
		for _, path := range warmed {
			one("GET", path, "")
		}
		for _, path := range append(warmed, "/absent", "/-/healthz") {
			for _, method := range []string{"GET", "HEAD"} {
				for _, ranged := range []string{"", "bytes=5-9", "bytes=-3", "bytes=1-2,4-5", "bytes=999999-"} {
					got, gotBody := one(method, path, ranged)
					want, wantBody := other(method, path, ranged)
					assert.Equal(t, 2, got.ProtoMajor)
					assert.Equal(t, want.StatusCode, got.StatusCode)
					assert.Equal(t, want.Header, got.Header, "%s %s %s", method, path, ranged)
					assert.Equal(t, wantBody, gotBody, "%s %s %s", method, path, ranged)
				}
			}
		}
	}
	assert.Greater(t, hot.Stats().Warm, uint64(30), "or this compares nothing")
}

// FuzzHot is TestHotIsEqual for requests that nobody thought of.
func FuzzHot(f *testing.F) {
	hot, cold, clock := pairs(f)
	f.Add("GET", "/small", "Accept: a\r\nAccept: b\r\n", uint16(0))
	f.Add("HEAD", "/a.deb", "User-Agent: x\r\n", uint16(1500))
	f.Add("GET", "/page.html", "X-Http-Method-Override: POST\r\nTE: trailers\r\n", uint16(65000))
	f.Add("GET", "/large?", "Connection: keep-alive, X-A\r\nX-A: b\r\n", uint16(10))
	f.Add("GET", "/huge", "Range: bytes=-70000\r\n", uint16(10))
	f.Add("GET", "/small", "Range: bytes=007-8\r\nAccept: a\r\n", uint16(10))
	f.Add("GET", "/q?a=b", "If-Range: \"v1\"\r\nRange: bytes=0-\r\n", uint16(10))
	f.Fuzz(func(t *testing.T, method, target, fields string, wait uint16) {
		clock.Add(int64(wait) * int64(time.Millisecond))
		sameAnswers(t, hot, cold, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"+method+" "+target+" HTTP/1.1\r\nHost: x\r\n"+fields+"\r\n")
	})
}

// What replaces an entry withdraws what was ready of the old one, at once; what
// others do to the file is seen within two seconds.
func TestHotIsWithdrawn(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	clock := new(atomic.Int64)
	now := func() time.Time { return time.Unix(1_800_000_000, clock.Load()) }
	s := runHot(t, "cache: {timeout: 10s}\nupstream: [{server: '"+origin.URL()+"'}]", now)
	origin.Reply("GET", "/x", proxytest.Reply{Body: proxytest.Text("one"), Header: http.Header{"Etag": {`"1"`}}})
	s.warm(t, "/x")

	origin.Reply("GET", "/x", proxytest.Reply{Body: proxytest.Text("two"), Header: http.Header{"Etag": {`"2"`}}})
	clock.Add(int64(9 * time.Second))
	resp, body := s.get(t, "/x")
	assert.Equal(t, "one", body)
	assert.Equal(t, "9", resp.Header.Get("Age"))
	assert.Equal(t, "cache-proxy; hit; ttl=1", resp.Header.Get("Cache-Status"))
	_, body = s.get(t, "/x")
	assert.Equal(t, "one", body)
	clock.Add(int64(time.Second))
	for range 4 {
		_, body = s.get(t, "/x")
		assert.Equal(t, "two", body, "stale: validated, and replaced")
	}
	file := filepath.Join(s.dir, "x")
	require.Eventually(t, func() bool { // it is answered from memory before it is in its place
		text, err := os.ReadFile(file)
		return err == nil && string(text) == "two"
	}, 5*time.Second, time.Millisecond)
	s.warm(t, "/x")
	before := s.Stats().Hot
	require.NoError(t, os.Remove(file))
	_, body = s.get(t, "/x")
	assert.Equal(t, "two", body)
	assert.Eventually(t, func() bool { return s.Stats().Hot > before }, 5*time.Second, time.Millisecond, "for a moment it is still answered") // it is counted behind the answer
	origin.Reply("GET", "/x", proxytest.Reply{Body: proxytest.Text("three"), Header: http.Header{"Etag": {`"3"`}}})
	clock.Add(int64(2*time.Second + 1))
	_, body = s.get(t, "/x")
	assert.Equal(t, "three", body)
}

// One processor, many connections that wait, many that ask: hits and misses all
// end, and so does the server.
func TestOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	origin := proxytest.NewOrigin(t)
	for i := range 50 {
		origin.Reply("GET", fmt.Sprintf("/%d", i), proxytest.Reply{Body: proxytest.Text("content")})
	}
	s := runHot(t, "limits: {connections-per-client: 1000}\nupstream: [{server: '"+origin.URL()+"'}]", nil)
	s.warm(t, "/0")
	for range 500 {
		c, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer c.Close()
	}
	before := s.Stats().Hot
	var asking sync.WaitGroup
	for i := range 100 {
		asking.Go(func() {
			c, err := net.Dial("tcp", s.addr)
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			back := bufio.NewReader(c)
			for _, path := range []string{"/0", fmt.Sprintf("/%d", i/2), "/0"} {
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
				resp, err := http.ReadResponse(back, nil)
				if !assert.NoError(t, err) {
					return
				}
				body, err := io.ReadAll(resp.Body)
				assert.NoError(t, err)
				assert.Equal(t, "content", string(body), path)
			}
		})
	}
	asking.Wait()
	assert.Greater(t, s.Stats().Hot, before)
}
