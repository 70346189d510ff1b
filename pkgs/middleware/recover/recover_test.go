package recover_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	middleware "git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/recover"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serve returns the URL of a server and its log, which waits for the server's end.
func serve(t *testing.T, h http.HandlerFunc) (string, func() string) {
	var log bytes.Buffer
	s := httptest.NewUnstartedServer(middleware.New(slog.New(slog.NewTextHandler(&log, nil)))(h))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, func() string {
		s.Close()
		return log.String()
	}
}

func TestPanicBeforeAnything(t *testing.T) {
	url, log := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"stale"`)
		if r.URL.Path != "/good" {
			panic("boom")
		}
	})
	resp, err := http.Get(url + "/bad%0aline")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 500, resp.StatusCode)
	assert.Empty(t, resp.Header.Get("ETag"))

	resp, err = http.Get(url + "/good")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	assert.NotEmpty(t, resp.Header.Get("ETag"))

	text := log()
	assert.Equal(t, 1, strings.Count(text, "\n"), "one line: %s", text)
	assert.Contains(t, text, "level=ERROR msg=panic panic=boom method=GET path=/bad%0aline")
	assert.Contains(t, text, "recover_test.go", "the stack is that of the panic")
}

func TestPanicAfterTheHead(t *testing.T) {
	url, log := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half of it")
		w.(http.Flusher).Flush()
		panic("boom")
	})
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	assert.Error(t, err, "the client must not believe that it has all")
	assert.Contains(t, log(), "panic=boom")
}

func TestAbortPassesThrough(t *testing.T) {
	url, log := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := http.Get(url)
	assert.Error(t, err)
	assert.Empty(t, log())
}

func TestWriterKeepsWhatItWraps(t *testing.T) {
	name := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(name, []byte("content"), 0o600))
	inner := &sender{ResponseRecorder: httptest.NewRecorder()}
	middleware.New(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		_, err = io.Copy(w, f)
		require.NoError(t, err)
		assert.NoError(t, http.NewResponseController(w).Flush())
	})).ServeHTTP(inner, httptest.NewRequest("GET", "/", nil))
	assert.Implements(t, (*syscall.Conn)(nil), inner.src, "the file itself must arrive, or there is no sendfile")
	assert.True(t, inner.Flushed)

	middleware.New(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, ok := w.(io.ReaderFrom)
		assert.False(t, ok, "what is below cannot")
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
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
