package cacheproxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A reuse is a response of an origin's, and whether it answers a second request.
// Fields are lines, "Name: value".
type reuse struct {
	status        int // 0: 200
	fields        []string
	first, second []string // of the requests
	hit           bool
}

func (r reuse) String() string { return fmt.Sprint(r.status, r.fields, r.first, r.second) }

// reuses are the families of RFC 9111 §3 to §5 and RFC 9213, as a client sees them
// through a whole server; what each spelling means is tested in package freshness.
func reuses() (all []reuse) {
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	each := func(name string, hit bool, values ...string) {
		for _, v := range values {
			all = append(all, reuse{fields: []string{name + ": " + v}, hit: hit})
		}
	}
	each("Cache-Control", true, "max-age=60", "MAX-AGE=60", `max-age="60"`, "max-age=060", " , ,max-age=60,,", `foo="no-store", max-age=60`,
		`max-age=60, private="x"`, `max-age=60, no-cache="x"`, "max-age=99999999999999999999", "s-maxage=60, max-age=0", "max-age=60, max-age=0",
		"no-store, must-understand, max-age=60", `x="unterminated, max-age=60`)
	each("Cache-Control", false, "max-age='60'", "max-age=60.0", "max-age=-60", "max-age=+60", "max-age=60s", "max-age", "max-age=", "max-age =60", "max-age= 60",
		"max-age=0, max-age=60", "max-age=60, no-store", "max-age=60, private", "max-age=60, no-cache", "s-maxage=0, max-age=60", "public", "max-age=60;a=b")
	each("Expires", true, at(time.Minute), strings.ToLower(at(time.Minute)), "Thursday, 18-Aug-50 02:01:18 GMT", "Thu Aug 18 02:01:18 2050", "Sun, 21 Nov 2286 04:46:39 GMT")
	each("Expires", false, at(-time.Minute), "0", "-1", "soon", "Thu, 18 Aug 2050 02:01:18 UTC", "Thu 18 Aug 2050 02:01:18 GMT", "Thu,  18 Aug 2050 02:01:18 GMT",
		"Thu, 18 Aug 50 02:01:18 GMT", "Thu, 18 Aug 2050 2:01:18 GMT", "Thu, 18-Aug-2050 02:01:18 GMT")
	for value, hit := range map[string]bool{"0": true, "50": true, "60": false, "old": true, "-7200": true, "7200.0": true, "7200, 0": false, "0, 7200": true, "99999999999999999999": false} {
		all = append(all, reuse{fields: []string{"Cache-Control: max-age=60", "Age: " + value}, hit: hit})
	}
	for _, date := range []string{at(-2 * time.Minute), "Mon, 01 Jan 0001 00:00:00 GMT"} {
		all = append(all, reuse{fields: []string{"Cache-Control: max-age=60", "Date: " + date}})
	}
	for _, status := range []int{200, 203, 204, 300, 301, 302, 307, 308, 400, 403, 404, 405, 410, 414, 500, 501, 503, 599, 999} {
		heuristic := strings.Contains(" 200 203 204 300 301 308 404 405 410 414 501 ", " "+strconv.Itoa(status)+" ")
		all = append(all, reuse{status: status, fields: []string{"Last-Modified: " + at(-1000*time.Hour)}, hit: heuristic},
			reuse{status: status, fields: []string{"Cache-Control: max-age=60"}, hit: true})
	}
	const fresh = "Cache-Control: max-age=60"
	for value, hit := range map[string]bool{"max-age=60": true, "no-store": false, "private": false, "max-age=0": false, "max-age=60, &": false, "": false, "MAX-AGE=60": false, `max-age="60"`: false, "max-age=60;a": true} {
		all = append(all, reuse{fields: []string{"Cdn-Cache-Control: " + value, "Cache-Control: no-store"}, hit: hit})
	}
	all = append(all, reuse{fields: []string{"Surrogate-Control: max-age=60"}}, reuse{fields: []string{fresh, "Pragma: no-cache"}, hit: true},
		reuse{fields: []string{fresh, "Set-Cookie: a=b"}, second: []string{"Cookie: c=d"}, hit: true},
		reuse{fields: []string{fresh}, first: []string{"Authorization: me"}}, reuse{fields: []string{fresh, "Cache-Control: public"}, first: []string{"Authorization: me"}, hit: true},
		reuse{fields: []string{fresh, "Vary: *"}}, reuse{fields: []string{fresh, "Vary: Foo"}, first: []string{"Foo: 1,2"}, second: []string{"Foo: 1, 2"}, hit: true},
		reuse{fields: []string{fresh, "Vary: Foo"}, first: []string{"Foo: 1"}}, reuse{fields: []string{fresh, "Vary: foo, BAR"}, second: []string{"Bar: 2"}},
		reuse{status: 416, fields: []string{fresh, "Content-Range: bytes */5"}, first: []string{"Range: bytes=9-"}})
	for directive, hit := range map[string]bool{"no-cache": false, "max-age=0": false, "max-age=30": true, "min-fresh=30": true, "min-fresh=61": false, "only-if-cached": true, "no-store": true, "max-stale": true} {
		all = append(all, reuse{fields: []string{fresh}, second: []string{"Cache-Control: " + directive}, hit: hit})
	}
	return append(all, reuse{fields: []string{fresh}, second: []string{"Pragma: no-cache"}}, reuse{fields: []string{fresh}, first: []string{"Cache-Control: no-store"}})
}

// TestReuse: what an origin says of its responses is what becomes of them in a hub
// of type http, from the bytes of one connection to those of the other.
func TestReuse(t *testing.T) {
	cases := reuses()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
			return
		}
		for _, line := range cases[n].fields {
			name, value, _ := strings.Cut(line, ": ")
			w.Header()[name] = append(w.Header()[name], value)
		}
		w.WriteHeader(max(cases[n].status, http.StatusOK))
		if cases[n].status != http.StatusNoContent {
			io.WriteString(w, "hello")
		}
	}))
	defer origin.Close()
	s := serverOf(t, "storage: {local: {max-size: 1GiB, min-free: 0}}\nhubs: [{name: o, type: http, upstream: [{server: '"+origin.URL+"'}]}]", io.Discard)
	for n, c := range cases {
		t.Run(c.String(), func(t *testing.T) {
			get := func(fields []string) *httptest.ResponseRecorder {
				r := httptest.NewRequest("GET", fmt.Sprint("/o/", n), nil)
				for _, line := range fields {
					name, value, _ := strings.Cut(line, ": ")
					r.Header.Add(name, value)
				}
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				return w
			}
			require.Equal(t, max(c.status, http.StatusOK), get(c.first).Code)
			require.Eventually(t, func() bool { return s.Stats().Fills.Now == 0 && s.cache.State().Flights == 0 }, 5*time.Second, time.Millisecond)
			got := get(c.second).Header().Get("Cache-Status")
			assert.Equal(t, c.hit, strings.HasPrefix(got, "cache-proxy; hit"), got)
		})
	}
}
