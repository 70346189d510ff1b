package cacheproxy

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/recover"
)

func TestNewLogger(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"default", "", "level=INFO msg=shown\n"},
		{"json", "log: {format: json}", `"level":"INFO","msg":"shown"}` + "\n"},
		{"trace", "log: {level: trace}", "level=TRACE msg=traced\n"},
		{"warn", "log: {level: warn}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, _ := must(t, c.text)
			var stderr bytes.Buffer
			log, closeLog, err := config.NewLogger(&stderr, "v1")
			require.NoError(t, err)
			defer closeLog()
			log.Log(t.Context(), LevelTrace, "traced")
			log.Info("shown")
			assert.Contains(t, stderr.String(), c.want)
			assert.Equal(t, c.name == "trace", strings.Contains(stderr.String(), "traced"))
			assert.Equal(t, c.name != "warn", strings.Contains(stderr.String(), "shown"))
		})
	}
}

func TestNewLoggerFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	config, _ := must(t, "log: {file: "+name+"}")
	for range 2 {
		log, closeLog, err := config.NewLogger(io.Discard, "v1")
		require.NoError(t, err)
		log.Info("appended")
		closeLog()
	}
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(text), "appended"))

	config.Log.File = "/nowhere/log"
	_, _, err = config.NewLogger(io.Discard, "v1")
	assert.ErrorContains(t, err, "log.file: ")
}

// TestPanicIsReported: the whole way of a panic to Sentry (M005).
func TestPanicIsReported(t *testing.T) {
	events := make(chan string, 10)
	sentry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		events <- r.Method + " " + r.URL.Path + "\n" + string(body)
		io.WriteString(w, "{}")
	}))
	defer sentry.Close()
	config, _ := must(t, "sentry: {dsn: '"+strings.Replace(sentry.URL, "//", "//key@", 1)+"/1'}")
	log, closeLog, err := config.NewLogger(io.Discard, "v1")
	require.NoError(t, err)

	w := httptest.NewRecorder()
	recover.New(log)(http.HandlerFunc(explode)).ServeHTTP(w, httptest.NewRequest("GET", "/debian/x", nil))
	assert.Equal(t, 500, w.Code)
	closeLog()
	require.Len(t, events, 1)
	event := <-events
	assert.True(t, strings.HasPrefix(event, "POST /api/1/envelope/\n"), event)
	assert.Contains(t, event, `"function":"explode"`)
	assert.Contains(t, event, `"value":"boom"`)

	config.Sentry.DSN = NewSecret("ftp://hunter2@example.org/1")
	_, _, err = config.NewLogger(io.Discard, "v1")
	require.ErrorContains(t, err, "sentry.dsn: ")
	assert.NotContains(t, err.Error(), "hunter2")
}

func explode(http.ResponseWriter, *http.Request) { panic("boom") }

func TestLevels(t *testing.T) {
	for _, name := range []string{"trace", "debug", "info", "warn", "error"} {
		l, err := ParseLevel(name)
		require.NoError(t, err)
		assert.Equal(t, name, l.String())
	}
	_, err := ParseLevel("INFO")
	assert.Error(t, err)
	assert.Less(t, LevelTrace, slog.LevelDebug)
}
