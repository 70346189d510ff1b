package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stub is a Sentry that keeps the envelopes it is sent.
func stub(t *testing.T) (dsn string, envelopes chan string) {
	envelopes = make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		envelopes <- r.Method + " " + r.URL.Path + "\n" + string(body)
		io.WriteString(w, "{}")
	}))
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http://", "http://key@", 1) + "/1", envelopes
}

func TestSentryReportsErrors(t *testing.T) {
	dsn, envelopes := stub(t)
	wrap, flush, err := observe.Sentry(dsn, "v1.2.3")
	require.NoError(t, err)
	var text bytes.Buffer
	log := slog.New(wrap(slog.NewTextHandler(&text, nil))).With("hub", "default")

	log.Warn("only a warning")
	log.WithGroup("store").Error("content was lost", "key", "/debian/x", "err", errors.New("disk on fire"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	flush(ctx)

	require.Len(t, envelopes, 1)
	request, envelope, _ := strings.Cut(<-envelopes, "\n")
	assert.Equal(t, "POST /api/1/envelope/", request)
	lines := strings.Split(strings.TrimSpace(envelope), "\n")
	require.Len(t, lines, 3, "header, item header, item")
	var event struct {
		Message, Release, ServerName string
		Contexts                     struct{ Attributes map[string]string }
		Exception                    []struct {
			Type, Value string
			Stacktrace  struct{ Frames []struct{ Function string } }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &event))
	assert.Equal(t, "content was lost", event.Message)
	assert.Equal(t, "v1.2.3", event.Release)
	assert.Equal(t, map[string]string{"hub": "default", "store.key": "/debian/x", "store.err": "disk on fire"}, event.Contexts.Attributes)
	require.Len(t, event.Exception, 1)
	assert.Equal(t, "content was lost", event.Exception[0].Type)
	assert.Equal(t, "disk on fire", event.Exception[0].Value)
	frames := event.Exception[0].Stacktrace.Frames
	require.NotEmpty(t, frames)
	assert.Equal(t, "TestSentryReportsErrors", frames[len(frames)-1].Function, "the innermost frame is the one that logged")

	host, err := os.Hostname()
	require.NoError(t, err)
	assert.NotContains(t, envelope, `"server_name":"`+host)
	assert.NotContains(t, envelope, `"modules"`)

	assert.Contains(t, text.String(), "only a warning", "records are passed on")
	assert.Contains(t, text.String(), "store.key=/debian/x")
}

func TestSentryHasTheStackOfAPanic(t *testing.T) {
	dsn, envelopes := stub(t)
	wrap, flush, err := observe.Sentry(dsn, "")
	require.NoError(t, err)
	log := slog.New(wrap(slog.DiscardHandler))
	func() {
		defer func() { log.Error("panic", "panic", recover(), "stack", "as text") }()
		explode()
	}()
	flush(t.Context())
	require.Len(t, envelopes, 1)
	envelope := <-envelopes
	assert.Contains(t, envelope, `"explode"`)
	assert.Contains(t, envelope, `"value":"boom"`)
	assert.NotContains(t, envelope, "as text")
}

func explode() { panic("boom") }

func TestSentryOff(t *testing.T) {
	t.Setenv("SENTRY_DSN", "http://key@192.0.2.1/1") // the library would take it
	wrap, flush, err := observe.Sentry("", "v1")
	require.NoError(t, err)
	h := slog.DiscardHandler
	assert.Equal(t, h, wrap(h))
	flush(t.Context())
}

func TestSentryRefusesABadDSN(t *testing.T) {
	_, _, err := observe.Sentry("ftp://secret@example.org", "v1")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "secret")
}
