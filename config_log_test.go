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
			log, err := config.NewLogger(&stderr, "v1")
			require.NoError(t, err)
			log.Log(t.Context(), LevelTrace, "traced")
			log.Info("shown")
			log.Close()
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
		log, err := config.NewLogger(io.Discard, "v1")
		require.NoError(t, err)
		log.Info("appended")
		log.Close()
	}
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(text), "appended"))

	config.Log.File = "/nowhere/log"
	_, err = config.NewLogger(io.Discard, "v1")
	assert.ErrorContains(t, err, "log.file: ")
}

// TestLoggerFollows: level and file of a configuration to come; what cannot
// change is refused.
func TestLoggerFollows(t *testing.T) {
	dir := t.TempDir()
	in := func(text string) *Config {
		c, _ := must(t, strings.ReplaceAll(text, "DIR", dir))
		return c
	}
	var stderr bytes.Buffer
	log, err := in("").NewLogger(&stderr, "v1")
	require.NoError(t, err)
	defer log.Close()
	logged := func(name string) int {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.Count(string(text), "shown")
	}
	for range 2 {
		commit, err := log.Prepare(in("log: {file: DIR/log}"))
		require.NoError(t, err)
		log.Info("shown")
		commit()
		log.Info("shown")
		require.NoError(t, os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "old"))) // logrotate
	}
	assert.Equal(t, 1, strings.Count(stderr.String(), "shown"))
	log.Warn("nothing waits behind this")
	assert.Equal(t, 1, logged("old"), "the second one; the first was renamed with two")
	log.Level.Set(slog.LevelWarn)
	log.Info("shown")
	log.Warn("nothing waits behind this")
	assert.Equal(t, 1, logged("old"))

	for _, c := range []struct{ text, want string }{
		{"log: {file: DIR/none/log}", "log.file: open"},
		{"log: {format: json}", "config.yaml:1: log.format: cannot be changed"},
		{"\nsentry: {dsn: 'http://key@example.org/1'}", "config.yaml:2: sentry.dsn: cannot be changed"},
	} {
		_, err := log.Prepare(in(c.text))
		assert.ErrorContains(t, err, c.want)
	}
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
	log, err := config.NewLogger(io.Discard, "v1")
	require.NoError(t, err)

	w := httptest.NewRecorder()
	recover.New(log.Logger)(http.HandlerFunc(explode)).ServeHTTP(w, httptest.NewRequest("GET", "/debian/x", nil))
	assert.Equal(t, 500, w.Code)
	log.Close()
	require.Len(t, events, 1)
	event := <-events
	assert.True(t, strings.HasPrefix(event, "POST /api/1/envelope/\n"), event)
	assert.Contains(t, event, `"function":"explode"`)
	assert.Contains(t, event, `"value":"boom"`)

	config.Sentry.DSN = NewSecret("ftp://hunter2@example.org/1")
	_, err = config.NewLogger(io.Discard, "v1")
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
