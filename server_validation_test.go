package cacheproxy

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestValidation: A014, of the whole and of one hub.
func TestValidation(t *testing.T) {
	const etag, date = `"v1"`, "Mon, 02 Jan 2006 15:04:05 GMT"
	var tags, dates []string // of each request
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tags, dates = append(tags, r.Header.Get("If-None-Match")), append(dates, r.Header.Get("If-Modified-Since"))
		w.Header().Set("Etag", etag)
		w.Header().Set("Last-Modified", date)
		if tags[len(tags)-1]+dates[len(dates)-1] != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		io.WriteString(w, "content")
	}))
	defer origin.Close()
	for _, c := range []struct{ name, whole, hub, tag, date, outcome string }{
		{"default", "", "", etag, date, "fwd-status=304"},
		{"all", "never", "all", etag, date, "fwd-status=304"},
		{"etag", "", "etag", etag, "", "fwd-status=304"},
		{"last-modified", "", "last-modified", "", date, "fwd-status=304"},
		{"never", "etag", "never", "", "", "fwd=stale"},
		{"of the whole", "last-modified", "", "", date, "fwd-status=304"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tags, dates = nil, nil
			text := "cache: {timeout: 1h, revalidate-budget: 1h"
			if c.whole != "" {
				text += ", validation: " + c.whole
			}
			text += "}\nhubs: [{name: tools, upstream: [{server: '" + origin.URL + "'}]"
			if c.hub != "" {
				text += ", cache: {validation: " + c.hub + "}"
			}
			config, _ := must(t, text+"}]")
			config.Storage.Local.Path = t.TempDir()
			clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
			s, err := New(config, Options{Log: slog.New(slog.DiscardHandler), Now: clock.Now})
			require.NoError(t, err)
			defer func() { assert.NoError(t, s.Close()) }()
			require.Equal(t, "content", ask(s, "GET", "/tools/x").Body.String())
			settled(t, s)
			clock.pass(2 * time.Hour)
			var status string
			require.Eventually(t, func() bool { // a request may still share the transfer that just ended
				w := ask(s, "GET", "/tools/x")
				assert.Equal(t, "content", w.Body.String())
				status = w.Header().Get("Cache-Status")
				return len(tags) == 2
			}, 5*time.Second, time.Millisecond)
			assert.Contains(t, status, c.outcome)
			assert.Equal(t, []string{"", c.tag}, tags)
			assert.Equal(t, []string{"", c.date}, dates)
		})
	}
	_, _, err := parse("config.yaml", []byte("cache: {validation: date}"))
	require.Error(t, err)
	assert.Equal(t, `config.yaml:1: cache.validation: "date" is none of all, etag, last-modified or never`, err.Error())
}
