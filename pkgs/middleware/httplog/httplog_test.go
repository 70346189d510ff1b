package httplog_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/httplog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// run serves one request and returns the lines of its log.
func run(t *testing.T, r *http.Request, h http.HandlerFunc) []map[string]any {
	t.Helper()
	var log bytes.Buffer
	func() {
		defer func() { _ = recover() }()
		httplog.New(slog.New(slog.NewJSONHandler(&log, nil)), nil)(h).ServeHTTP(httptest.NewRecorder(), r)
	}()
	var lines []map[string]any
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		lines = append(lines, m)
	}
	return lines
}

func TestTwoLinesARequest(t *testing.T) {
	r := httptest.NewRequest("GET", "/debian/x?token=hunter2", nil)
	r.Pattern = "GET /"
	lines := run(t, r, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Cache", "MISS")
		w.Header()["Cache-Status"] = []string{"origin; hit", "cache-proxy; fwd=uri-miss; stored"}
		w.Header().Set("X-Cache-Upstream", "https://mirrors.example.org")
		w.WriteHeader(203)
		io.WriteString(w, "content")
	})
	require.Len(t, lines, 2)
	assert.Equal(t, "request started", lines[0]["msg"])
	assert.Equal(t, "INFO", lines[0]["level"])
	assert.Equal(t, "/debian/x", lines[0]["path"])
	assert.Equal(t, "GET /", lines[0]["handler"])
	finish := lines[1]
	assert.NotNil(t, finish["duration"])
	delete(finish, "duration")
	delete(finish, "time")
	assert.Equal(t, map[string]any{
		"level": "INFO", "msg": "request finished", "method": "GET", "path": "/debian/x", "handler": "GET /",
		"status": 203.0, "bytes": 7.0, "cache": "MISS", "cache_status": "cache-proxy; fwd=uri-miss; stored",
		"upstream": "https://mirrors.example.org", "client": "192.0.2.1:1234",
	}, finish)
}

func TestFinish(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		status  float64
		aborted any
	}{
		{"nothing written", func(http.ResponseWriter, *http.Request) {}, 200, nil},
		{"flushed only", func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, 200, nil},
		{"panic before the head", func(http.ResponseWriter, *http.Request) { panic("boom") }, 500, true},
		{"abort in the body", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(206)
			panic(http.ErrAbortHandler)
		}, 206, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := run(t, httptest.NewRequest("GET", "/x", nil), c.handler)
			require.Len(t, lines, 2)
			assert.Equal(t, c.status, lines[1]["status"])
			assert.Equal(t, c.aborted, lines[1]["aborted"])
		})
	}
}

func TestHostilePathsStayOneLine(t *testing.T) {
	for _, path := range []string{"/a%0d%0ab", "/a%1b[31m", "/a%00", "/" + strings.Repeat("x", 100_000)} {
		var log bytes.Buffer
		h := httplog.New(slog.New(slog.NewTextHandler(&log, nil)), nil)(http.NotFoundHandler())
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		assert.Equal(t, 2, strings.Count(log.String(), "\n"))
		assert.NotContains(t, log.String(), "\x1b")
		assert.NotContains(t, log.String(), "\x00")
		assert.NotContains(t, log.String(), "\r")
		assert.Less(t, log.Len(), 4096)
	}
}

func TestWriterKeepsWhatItWraps(t *testing.T) {
	name := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(name, []byte("content"), 0o600))
	inner := &sender{ResponseRecorder: httptest.NewRecorder()}
	var log bytes.Buffer
	wrap := httplog.New(slog.New(slog.NewTextHandler(&log, nil)), nil)
	wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		_, err = io.Copy(w, f)
		require.NoError(t, err)
		assert.NoError(t, http.NewResponseController(w).Flush())
	})).ServeHTTP(inner, httptest.NewRequest("GET", "/", nil))
	assert.Implements(t, (*syscall.Conn)(nil), inner.src, "the file itself must arrive, or there is no sendfile")
	assert.True(t, inner.Flushed)
	assert.Contains(t, log.String(), "status=200 bytes=7")

	wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, ok := w.(io.ReaderFrom)
		assert.False(t, ok, "what is below cannot")
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestQuietLogCostsNothing(t *testing.T) {
	inner := httptest.NewRecorder()
	log := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn}))
	httplog.New(log, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Same(t, inner, w)
	})).ServeHTTP(inner, httptest.NewRequest("GET", "/", nil))
}

func BenchmarkRequest(b *testing.B) {
	h := httplog.New(slog.New(slog.NewTextHandler(io.Discard, nil)), nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/debian/pool/x.deb", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

// sender notes what it was asked to send.
type sender struct {
	*httptest.ResponseRecorder
	src io.Reader
}

func (s *sender) ReadFrom(src io.Reader) (int64, error) {
	s.src = src
	return io.Copy(s.ResponseRecorder, src)
}
