package upstream

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestVerdict(t *testing.T) { // F9, T18, M059, M060, PROTOCOLS 0.12
	tests := []struct {
		name       string
		mirrors    []http.HandlerFunc
		status     int
		retryAfter time.Duration
		response   bool
		body       string
	}{
		{"404", []http.HandlerFunc{says(404, "none here")}, 404, 0, true, "none here"},
		{"all 404", []http.HandlerFunc{says(404, "none"), late(time.Second, says(404, "none"))}, 404, 0, true, "none"},
		{"404 and 410", []http.HandlerFunc{says(410, "gone"), late(time.Second, says(404, "none"))}, 404, 0, true, "none"},
		{"all 410", []http.HandlerFunc{says(410, "gone"), says(410, "gone")}, 410, 0, true, "gone"},
		{"empty 404", []http.HandlerFunc{says(404, "")}, 404, 0, true, "404 Not Found\n"},
		{"long 404", []http.HandlerFunc{says(404, strings.Repeat("x", 65<<10))}, 404, 0, true, "404 Not Found\n"},
		{"all 403", []http.HandlerFunc{says(403, "no"), says(403, "no")}, 403, 0, true, "no"},
		{"404 and 403", []http.HandlerFunc{says(404, ""), says(403, "")}, 502, 0, false, ""},
		{"404 and 500", []http.HandlerFunc{says(404, ""), says(500, "")}, 502, 0, false, ""},
		{"404 and cut", []http.HandlerFunc{says(404, ""), abort}, 502, 0, false, ""},
		{"404 and silent", []http.HandlerFunc{says(404, ""), silent}, 502, 0, false, ""},
		{"401", []http.HandlerFunc{says(401, "")}, 502, 0, false, ""},
		{"500", []http.HandlerFunc{says(500, "", "Cache-Control", "max-age=31536000")}, 502, 0, false, ""},
		{"302 to nowhere", []http.HandlerFunc{says(302, "")}, 502, 0, false, ""},
		{"304 unasked", []http.HandlerFunc{says(304, "")}, 502, 0, false, ""},
		{"429", []http.HandlerFunc{says(429, "")}, 503, 5 * time.Second, false, ""},
		{"503", []http.HandlerFunc{says(503, "", "Retry-After", "7"), says(429, "", "Retry-After", "6"), says(500, "")}, 503, 6 * time.Second, false, ""},
		{"503 for long", []http.HandlerFunc{says(503, "", "Retry-After", "86400")}, 503, 10 * time.Minute, false, ""},
		{"404 and 503", []http.HandlerFunc{says(404, ""), says(503, "")}, 502, 0, false, ""},
		{"all silent", []http.HandlerFunc{silent, silent}, 504, 0, false, ""},
		{"silent and cut", []http.HandlerFunc{silent, abort}, 502, 0, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bubble(t, Options{}, test.mirrors...)
				start := time.Now()
				if test.response {
					res, text := get(t, g, request("/a"))
					assert.Equal(t, test.status, res.Entry.Status)
					assert.Equal(t, test.body, text)
					assert.EqualValues(t, len(text), res.Entry.Size)
				} else {
					e := failure(t, g, request("/a"))
					assert.Equal(t, test.status, e.Status)
					assert.Equal(t, test.retryAfter, e.RetryAfter)
					assert.NotContains(t, e.Message, "m0")
					assert.Contains(t, e.Error(), "http://m0", "for the log")
				}
				assert.LessOrEqual(t, time.Since(start), 15*time.Second)
			})
		})
	}
}

func TestDeadMirrorsHaveNoVeto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive := false
		g := bubble(t, Options{}, says(404, "none"), func(w http.ResponseWriter, r *http.Request) {
			if !alive {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(500)
		})
		for range sick - 1 {
			assert.Equal(t, 502, failure(t, g, request("/a")).Status)
		}
		for range 2 {
			res, _ := get(t, g, request("/a"))
			assert.Equal(t, 404, res.Entry.Status)
		}
		alive = true
		time.Sleep(lastTrip) // the breaker is half-open
		res, _ := get(t, g, request("/a"))
		assert.Equal(t, 404, res.Entry.Status, "a probe keeps nobody waiting")
		synctest.Wait()
		assert.Equal(t, 502, failure(t, g, request("/a")).Status, "one answer and it counts again")
	})
}

func TestHead404(t *testing.T) {
	s := origin(t, says(404, "none", "X-A", "b"))
	req := request("/a")
	req.Head = true
	res, text := get(t, join(t, Options{Mirrors: mirrors(t, s.URL)}), req)
	assert.Equal(t, 404, res.Entry.Status)
	assert.Equal(t, "b", res.Entry.Header.Get("X-A"))
	assert.Empty(t, text)
}

func TestNotModified(t *testing.T) { // T16, PROTOCOLS 0.9
	const date, later = "Mon, 02 Jan 2006 15:04:05 GMT", "Tue, 03 Jan 2006 15:04:05 GMT"
	stored := func(etag string) *exchange.Entry {
		return &exchange.Entry{Mirror: "http://m0", Status: 200, Size: 3, Header: http.Header{"Etag": {etag}, "Last-Modified": {date}}}
	}
	tests := []struct {
		name     string
		validate *exchange.Entry
		mirrors  []http.HandlerFunc
		status   int
		mirror   string
		header   http.Header // of what matters
	}{
		{"the copy's own mirror", stored(`W/"a"`), []http.HandlerFunc{says(304, "", "Last-Modified", later), late(time.Second, says(200, "new"))},
			304, "http://m0", http.Header{"Last-Modified": {later}}},
		{"an equal strong validator", stored(`"a"`), []http.HandlerFunc{late(time.Second, says(200, "new")), says(304, "", "ETag", `"a"`, "Last-Modified", later)},
			304, "http://m1", http.Header{}},
		{"an equal weak validator", stored(`W/"a"`), []http.HandlerFunc{late(time.Second, says(200, "new")), says(304, "", "ETag", `W/"a"`)},
			200, "http://m0", nil},
		{"a date says nothing", stored(`"a"`), []http.HandlerFunc{late(time.Second, says(200, "new")), says(304, "", "Last-Modified", date)},
			200, "http://m0", nil},
		{"unless nobody knows better", stored(`"a"`), []http.HandlerFunc{late(time.Second, says(500, "")), says(304, "", "Last-Modified", later)},
			304, "http://m1", http.Header{}},
		{"rather than a 404", stored(`"a"`), []http.HandlerFunc{says(404, ""), says(304, "")},
			304, "http://m1", http.Header{}},
		{"preconditions ignored", stored(`"a"`), []http.HandlerFunc{says(500, ""), says(200, "old", "ETag", `"a"`, "X-A", "b")},
			304, "http://m1", http.Header{"X-A": {"b"}}},
		{"another length", stored(`"a"`), []http.HandlerFunc{says(500, ""), says(200, "longer", "ETag", `"a"`)},
			200, "http://m1", nil},
		{"a weak one of one's own", stored(`W/"a"`), []http.HandlerFunc{says(200, "old", "ETag", `W/"a"`)},
			200, "http://m0", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bubble(t, Options{}, test.mirrors...)
				req := request("/a")
				req.Validate = test.validate
				res, text := get(t, g, req)
				assert.Equal(t, test.status, res.Entry.Status)
				assert.Equal(t, test.mirror, res.Entry.Mirror)
				if test.status == 304 {
					assert.Empty(t, text)
					for _, name := range []string{"Etag", "Last-Modified", "X-A"} {
						assert.Equal(t, test.header.Get(name), res.Entry.Header.Get(name), name)
					}
				}
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "0": time.Second, "12": 12 * time.Second, " 12 ": 12 * time.Second, "999999999": 10 * time.Minute,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): time.Second,
	} {
		assert.Equal(t, want, retryAfter(s, now), s)
	}
}

var octets = regexp.MustCompile(`^application/octet-stream`)

func TestCheckers(t *testing.T) { // M036, M037, T19, T20, F12
	tests := []struct {
		name     string
		checkers []Checker
		answer   http.HandlerFunc
		status   int
	}{
		{"default", nil, says(203, ""), 502},
		{"listed", []Checker{{StatusCodes: []int{200, 203}}}, says(203, ""), 203},
		{"listed though an error", []Checker{{StatusCodes: []int{404}}}, says(404, ""), 404},
		{"never partial", []Checker{{StatusCodes: []int{200, 206}}}, says(206, "", "Content-Range", "bytes 0-1/2"), 502},
		{"exists", []Checker{{Headers: []HeaderCheck{{Name: "x-check"}}}}, says(200, "", "X-Check", ""), 200},
		{"does not exist", []Checker{{Headers: []HeaderCheck{{Name: "x-check"}}}}, says(200, ""), 502},
		{"matches", []Checker{{Headers: []HeaderCheck{{"content-type", octets}}}}, says(200, "", "Content-Type", "application/octet-stream"), 200},
		{"does not match", []Checker{{Headers: []HeaderCheck{{"content-type", octets}}}}, says(200, "", "Content-Type", "text/html"), 502},
		{"all must hold", []Checker{{Headers: []HeaderCheck{{Name: "x-a"}}}, {Headers: []HeaderCheck{{Name: "x-b"}}}}, says(200, "", "X-A", ""), 502},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := origin(t, test.answer)
			o := Options{Mirrors: mirrors(t, s.URL)}
			o.Mirrors[0].Checkers = test.checkers
			res, err := join(t, o).Get(t.Context(), request("/a"))
			if test.status == 502 {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.status, res.Entry.Status)
			res.Body.Close()
		})
	}
}

func TestLogs(t *testing.T) { // M061, B39
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := origin(t, says(302, "", "Location", "http://10.0.0.1/?sig=SECRET"))
	o := Options{Mirrors: mirrors(t, s.URL), Log: log}
	o.Mirrors[0].Server.User, o.Mirrors[0].Token = url.UserPassword("SECRET", "SECRET"), "SECRET"
	g := join(t, o)
	for range 3 {
		e := failure(t, g, request("/a?token=SECRET"))
		assert.NotContains(t, e.Error(), "SECRET")
	}
	text := out.String()
	assert.NotContains(t, text, "SECRET")
	assert.Contains(t, text, `level=DEBUG msg="asking mirror" hub=default key=default:/a mirror=`+s.URL+" index=0\n")
	assert.Contains(t, text, `level=DEBUG msg="mirror lost"`)
	assert.Equal(t, 1, strings.Count(text, "level=WARN"), "not once a request")
}
