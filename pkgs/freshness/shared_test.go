package freshness_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// header makes fields of "Name: value" pairs.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// date is an HTTP date some seconds from noon.
func date(seconds int) string {
	return noon.Add(time.Duration(seconds) * time.Second).Format(http.TimeFormat)
}

// received is a response that came at noon.
func received(status int, pairs ...string) freshness.Stored {
	return freshness.Stored{Status: status, Header: header(pairs...), Requested: noon, Received: noon}
}

func TestLifetime(t *testing.T) {
	tests := []struct {
		name     string
		status   int
		fields   []string
		want     int // seconds
		explicit bool
	}{
		{"nothing said", 200, nil, 0, false},
		{"§5.2.2.1 max-age", 200, []string{"Cache-Control", "max-age=60"}, 60, true},
		{"§5.2.2.10 s-maxage wins", 200, []string{"Cache-Control", "max-age=60, s-maxage=5"}, 5, true},
		{"in any order", 200, []string{"Cache-Control", "s-maxage=5", "Cache-Control", "max-age=60"}, 5, true},
		{"max-age wins over Expires", 200, []string{"Cache-Control", "max-age=60", "Expires", date(-5)}, 60, true},
		{"an invalid one too", 200, []string{"Cache-Control", "max-age=x", "Expires", date(60)}, 0, true},
		{"§5.3 Expires from Date", 200, []string{"Expires", date(60), "Date", date(10)}, 50, true},
		{"from receipt without Date", 200, []string{"Expires", date(60)}, 60, true},
		{"from receipt with an invalid Date", 200, []string{"Expires", date(60), "Date", "foo"}, 60, true},
		{"past", 200, []string{"Expires", date(-60), "Date", date(0)}, 0, true},
		{"at once", 200, []string{"Expires", date(0), "Date", date(0)}, 0, true},
		{"zero is past", 200, []string{"Expires", "0", "Last-Modified", date(-86400)}, 0, true},
		{"of several the first", 200, []string{"Expires", date(60), "Expires", date(5)}, 60, true},
		{"§4.2.2 a tenth of its age", 200, []string{"Last-Modified", date(-1000), "Date", date(0)}, 100, false},
		{"at most a day", 200, []string{"Last-Modified", date(-86400 * 100)}, 86400, false},
		{"changed later than it was made", 200, []string{"Last-Modified", date(10), "Date", date(0)}, 0, false},
		{"not of every status", 403, []string{"Last-Modified", date(-1000)}, 0, false},
		{"unless it is public", 599, []string{"Last-Modified", date(-1000), "Cache-Control", "public"}, 100, false},
		{"RFC 9213 a targeted field wins", 200, []string{"CDN-Cache-Control", "max-age=5", "Cache-Control", "s-maxage=60"}, 5, true},
		{"over Expires too, even by silence", 200, []string{"CDN-Cache-Control", "foo", "Expires", date(60)}, 0, false},
		{"not if it is invalid", 200, []string{"CDN-Cache-Control", `max-age="5"`, "Cache-Control", "max-age=60"}, 60, true},
	}
	for _, status := range []int{200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501} {
		tests = append(tests, struct {
			name     string
			status   int
			fields   []string
			want     int
			explicit bool
		}{"RFC 9110 §15.1 " + strconv.Itoa(status), status, []string{"Last-Modified", date(-1000)}, 100, false})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			terms := received(tt.status, tt.fields...).Terms()
			assert.Equal(t, time.Duration(tt.want)*time.Second, terms.Lifetime)
			assert.Equal(t, tt.explicit, terms.Explicit)
		})
	}
}

func TestCurrentAge(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		took   time.Duration
		since  time.Duration
		want   time.Duration
	}{
		{"of its stay here", nil, 0, 90 * time.Second, 90 * time.Second},
		{"and on its way", nil, 2 * time.Second, 90 * time.Second, 92 * time.Second},
		{"and elsewhere", []string{"Age", "100"}, 2 * time.Second, 90 * time.Second, 192 * time.Second},
		{"§4.2.3 or by Date, if that is more", []string{"Age", "100", "Date", date(-300)}, 0, 0, 300 * time.Second},
		{"a Date to come is none", []string{"Date", date(300)}, 0, 5 * time.Second, 5 * time.Second},
		{"§5.1 of a list the first", []string{"Age", "7, 100"}, 0, 0, 7 * time.Second},
		{"of lines too", []string{"Age", "7", "Age", "100"}, 0, 0, 7 * time.Second},
		{"not a number", []string{"Age", "old"}, 0, time.Second, time.Second},
		{"negative", []string{"Age", "-7200"}, 0, time.Second, time.Second},
		{"a fraction", []string{"Age", "7200.5"}, 0, time.Second, time.Second},
		{"a parameter", []string{"Age", "7200;a=b"}, 0, time.Second, time.Second},
		{"empty", []string{"Age", ""}, 0, time.Second, time.Second},
		{"larger than can be", []string{"Age", "99999999999999999999"}, 0, 0, largest * time.Second},
		{"made before anything was", []string{"Date", "Mon, 01 Jan 0001 00:00:00 GMT"}, 0, 5 * time.Second, (largest + 5) * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := received(200, tt.fields...)
			s.Requested = s.Received.Add(-tt.took)
			assert.Equal(t, tt.want, s.Age(noon.Add(tt.since)))
		})
	}
}

func TestStore(t *testing.T) {
	tests := []struct {
		name    string
		status  int
		fields  []string
		request []string
		want    bool
	}{
		{"explicit freshness", 200, []string{"Cache-Control", "max-age=60"}, nil, true},
		{"a validator", 200, []string{"Etag", `"a"`}, nil, true},
		{"neither", 200, nil, nil, false},
		{"stale without a validator", 200, []string{"Cache-Control", "max-age=0"}, nil, false},
		{"stale with one", 200, []string{"Cache-Control", "max-age=0", "Etag", `"a"`}, nil, true},
		{"an odd status with explicit freshness", 999, []string{"Cache-Control", "max-age=60"}, nil, true},
		{"an error with explicit freshness", 500, []string{"Expires", date(60)}, nil, true},
		{"one without", 500, []string{"Last-Modified", date(-60)}, nil, false},
		{"an interim response", 103, []string{"Cache-Control", "max-age=60"}, nil, false},
		{"a 304", 304, []string{"Cache-Control", "max-age=60"}, nil, false},
		{"§5.2.2.5 no-store", 200, []string{"Cache-Control", "max-age=60, no-store"}, nil, false},
		{"RFC 9213 that another field is for", 200, []string{"Cache-Control", "no-store", "CDN-Cache-Control", "max-age=60"}, nil, true},
		{"or the other way round", 200, []string{"CDN-Cache-Control", "no-store", "Cache-Control", "max-age=60"}, nil, false},
		{"§5.2.2.3 no-store for those who do not understand", 200, []string{"Cache-Control", "max-age=60, no-store, must-understand"}, nil, true},
		{"must-understand what is not known", 599, []string{"Cache-Control", "max-age=60, must-understand"}, nil, false},
		{"§5.2.2.7 private", 200, []string{"Cache-Control", "max-age=60, private"}, nil, false},
		{"private fields", 200, []string{"Cache-Control", `max-age=60, private="x"`}, nil, true},
		{"§5.2.2.4 no-cache without a validator", 200, []string{"Cache-Control", "max-age=60, no-cache"}, nil, false},
		{"with one", 200, []string{"Cache-Control", "no-cache", "Etag", `"a"`}, nil, true},
		{"§5.2.1.5 a request's no-store", 200, []string{"Cache-Control", "max-age=60"}, []string{"Cache-Control", "no-store"}, false},
		{"§3.5 Authorization", 200, []string{"Cache-Control", "max-age=60"}, []string{"Authorization", "x"}, false},
		{"public", 200, []string{"Cache-Control", "max-age=60, public"}, []string{"Authorization", "x"}, true},
		{"must-revalidate", 200, []string{"Cache-Control", "max-age=60, must-revalidate"}, []string{"Authorization", "x"}, true},
		{"s-maxage", 200, []string{"Cache-Control", "s-maxage=60"}, []string{"Authorization", "x"}, true},
		{"proxy-revalidate is not enough", 200, []string{"Cache-Control", "max-age=60, proxy-revalidate"}, []string{"Authorization", "x"}, false},
		{"RFC 9110 §15.5.17 a 416 is of the range", 416, []string{"Cache-Control", "max-age=60"}, []string{"Range", "bytes=9-"}, false},
		{"one to no range is odd, but said to be fresh", 416, []string{"Cache-Control", "max-age=60"}, nil, true},
		{"§4.1 Vary: *", 200, []string{"Cache-Control", "max-age=60", "Vary", "a, *"}, nil, false},
		{"Set-Cookie with explicit freshness", 200, []string{"Cache-Control", "max-age=60", "Set-Cookie", "a=b"}, nil, true},
		{"without", 200, []string{"Last-Modified", date(-1000), "Set-Cookie", "a=b"}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, received(tt.status, tt.fields...).Store(header(tt.request...)))
		})
	}
}

func TestReuse(t *testing.T) {
	const (
		fresh  = freshness.Fresh
		behind = freshness.StaleUsable
		onlyIf = freshness.StaleError
		dead   = freshness.Dead
	)
	tests := []struct {
		name         string
		control      string // of the response
		age          int    // seconds
		request      []string
		disconnected time.Duration
		want         freshness.Verdict
		onError      bool
	}{
		{"fresh", "max-age=60", 59, nil, 0, fresh, false},
		{"§4.2 the first stale moment", "max-age=60", 60, nil, 0, dead, false},
		{"§4.2.4 the operator allows stale", "max-age=60", 90, nil, time.Minute, onlyIf, false},
		{"no longer", "max-age=60", 120, nil, time.Minute, dead, false},
		{"not against must-revalidate", "max-age=60, must-revalidate", 90, nil, time.Minute, dead, false},
		{"proxy-revalidate", "max-age=60, proxy-revalidate", 90, nil, time.Minute, dead, false},
		{"s-maxage", "s-maxage=60", 90, nil, time.Minute, dead, false},
		{"no-cache", "max-age=60, no-cache", 0, nil, time.Minute, dead, false},
		{"which for fields only does no harm", `max-age=60, no-cache="a"`, 0, nil, 0, fresh, false},
		{"RFC 5861 §4 the origin allows stale", "max-age=60, stale-if-error=60", 90, nil, 0, onlyIf, true},
		{"not for ever", "max-age=60, stale-if-error=60", 120, nil, 0, dead, false},
		{"nor against must-revalidate", "max-age=60, stale-if-error=60, must-revalidate", 90, nil, 0, dead, false},
		{"the client does", "max-age=60", 90, []string{"Cache-Control", "stale-if-error=60"}, 0, onlyIf, true},
		{"RFC 5861 §3", "max-age=60, stale-while-revalidate=60", 90, nil, 0, behind, false},
		{"not for ever either", "max-age=60, stale-while-revalidate=60", 120, nil, 0, dead, false},
		{"§5.2.1.4 no-cache", "max-age=60", 0, []string{"Cache-Control", "no-cache"}, time.Minute, dead, false},
		{"§5.4 Pragma", "max-age=60", 0, []string{"Pragma", "no-cache"}, time.Minute, dead, false},
		{"not beside Cache-Control", "max-age=60", 0, []string{"Pragma", "no-cache", "Cache-Control", "foo"}, 0, fresh, false},
		{"§5.2.1.1 max-age, though it is fresh", "max-age=60", 30, []string{"Cache-Control", "max-age=10"}, 0, onlyIf, false},
		{"old enough", "max-age=60", 30, []string{"Cache-Control", "max-age=30"}, 0, fresh, false},
		{"RFC 8246 a reload of what is immutable", "max-age=60, immutable", 30, []string{"Cache-Control", "max-age=0"}, 0, fresh, false},
		{"not once it is stale", "max-age=60, immutable", 60, []string{"Cache-Control", "max-age=0"}, 0, dead, false},
		{"§5.2.1.3 min-fresh", "max-age=60", 30, []string{"Cache-Control", "min-fresh=31"}, 0, onlyIf, false},
		{"that is there", "max-age=60", 30, []string{"Cache-Control", "min-fresh=30"}, 0, fresh, false},
		{"§5.2.1.2 max-stale", "max-age=60", 90, []string{"Cache-Control", "max-stale=30"}, 0, fresh, false},
		{"more than that", "max-age=60", 91, []string{"Cache-Control", "max-stale=30"}, 0, dead, false},
		{"of any age", "max-age=60", 1e6, []string{"Cache-Control", "max-stale"}, 0, fresh, false},
		{"not against must-revalidate", "max-age=60, must-revalidate", 90, []string{"Cache-Control", "max-stale"}, 0, dead, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := received(200, "Cache-Control", tt.control)
			got := s.Reuse(header(tt.request...), noon.Add(time.Duration(tt.age)*time.Second), tt.disconnected)
			assert.Equal(t, tt.want, got.Verdict)
			assert.Equal(t, tt.onError, got.OnError)
			assert.Equal(t, s.Terms().Lifetime-time.Duration(tt.age)*time.Second, got.Left)
		})
	}
}

func TestFreshened(t *testing.T) {
	stored := header("Etag", `"a"`, "Content-Length", "5", "Content-Encoding", "gzip", "Content-Type", "a/b",
		"Cache-Control", "max-age=1", "Age", "50", "X-Kept", "1", "Set-Cookie", "a=1")
	got := freshness.Freshened(stored, header("Etag", `"b"`, "Content-Length", "0", "Content-Encoding", "br", "Content-Range", "bytes 0-1/2",
		"Content-Type", "c/d", "Cache-Control", "max-age=2", "Set-Cookie", "a=2", "X-New", "1"))
	assert.Equal(t, header("Etag", `"a"`, "Content-Length", "5", "Content-Encoding", "gzip", "Content-Type", "c/d",
		"Cache-Control", "max-age=2", "X-Kept", "1", "Set-Cookie", "a=2", "X-New", "1"), got)
	assert.Equal(t, "50", stored.Get("Age"), "the stored header stays as it is")
}

func TestWithheld(t *testing.T) {
	s := received(200, "Cache-Control", `max-age=1, no-cache="x-a", private="X-B"`, "X-A", "1", "X-B", "2", "X-C", "3")
	assert.Equal(t, header("Cache-Control", `max-age=1, no-cache="x-a", private="X-B"`, "X-C", "3"), s.Terms().Withheld(s.Header))
	assert.Equal(t, header("Cache-Control", `max-age=1, no-cache="x-a", private="X-B"`, "X-A", "1", "X-C", "3"), s.Terms().Kept(s.Header))
}

func TestVary(t *testing.T) {
	names, any := freshness.VaryFields(header("Vary", " Foo ,, bar", "Vary", "foo"))
	assert.Equal(t, []string{"bar", "foo"}, names)
	assert.False(t, any)
	for _, value := range []string{"*", ", *", "*, *", "Foo, *", "a b"} {
		_, any := freshness.VaryFields(header("Vary", value))
		assert.True(t, any, value)
	}

	tests := []struct {
		name, field string
		a, b        []string // lines
		same        bool
	}{
		{"equal", "foo", []string{"1"}, []string{"1"}, true},
		{"other", "foo", []string{"1"}, []string{"2"}, false},
		{"letter case may matter", "foo", []string{"a"}, []string{"A"}, false},
		{"order may matter", "foo", []string{"1, 2"}, []string{"2, 1"}, false},
		{"lines are joined", "foo", []string{"1, 2"}, []string{"1", "2"}, true},
		{"blanks around commas", "foo", []string{"1,2"}, []string{" 1 ,  2 "}, true},
		{"blanks within do matter", "foo", []string{"1 2"}, []string{"1  2"}, false},
		{"commas in quotes are none", "foo", []string{`"a,b"`}, []string{`"a, b"`}, false},
		{"escaped quotes", "foo", []string{`"a\",b"`}, []string{`"a\", b"`}, false},
		{"languages in any order", "accept-language", []string{"en, de"}, []string{"de, en"}, true},
		{"and letter case", "accept-language", []string{"en-GB;q=0.5"}, []string{"EN-gb; Q=0.5"}, true},
		{"not of other weight", "accept-language", []string{"en;q=0.5, de"}, []string{"en, de;q=0.5"}, false},
		{"codings", "accept-encoding", []string{"gzip, br"}, []string{"BR,GZIP"}, true},
		{"types in any order", "accept", []string{"a/b, c/d"}, []string{"c/d,a/b"}, true},
		{"absent is not empty", "foo", nil, []string{""}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			of := func(lines []string) http.Header {
				if lines == nil {
					return http.Header{}
				}
				return http.Header{http.CanonicalHeaderKey(tt.field): lines}
			}
			a, hasA := freshness.Selected(of(tt.a), tt.field)
			b, hasB := freshness.Selected(of(tt.b), tt.field)
			assert.Equal(t, tt.same, a == b && hasA == hasB, "%q %q", a, b)
		})
	}
}

func TestNotModified(t *testing.T) {
	tests := []struct {
		name    string
		stored  []string
		request []string
		want    bool
	}{
		{"no condition", []string{"Etag", `"a"`}, nil, false},
		{"the same tag", []string{"Etag", `"a"`}, []string{"If-None-Match", `"a"`}, true},
		{"another", []string{"Etag", `"a"`}, []string{"If-None-Match", `"b"`}, false},
		{"RFC 9110 §8.8.3.2 compared weakly", []string{"Etag", `W/"a"`}, []string{"If-None-Match", `"a"`}, true},
		{"the other way round", []string{"Etag", `"a"`}, []string{"If-None-Match", `W/"a"`}, true},
		{"in a list", []string{"Etag", `"a"`}, []string{"If-None-Match", `"b", W/"c", "a"`}, true},
		{"on another line", []string{"Etag", `"a"`}, []string{"If-None-Match", `"b"`, "If-None-Match", `"a"`}, true},
		{"commas within", []string{"Etag", `"a,b"`}, []string{"If-None-Match", `"x", "a,b"`}, true},
		{"any", []string{"Etag", `"a"`}, []string{"If-None-Match", "*"}, true},
		{"any, of what has no tag", nil, []string{"If-None-Match", "*"}, true},
		{"no tag at all", nil, []string{"If-None-Match", `""`}, false},
		{"the same text that is no tag", []string{"Etag", "abc"}, []string{"If-None-Match", "abc"}, true},
		{"§13.2.2 the tag goes before the date", []string{"Etag", `"a"`, "Last-Modified", date(-60)}, []string{"If-None-Match", `"b"`, "If-Modified-Since", date(0)}, false},
		{"since then not modified", []string{"Last-Modified", date(-60)}, []string{"If-Modified-Since", date(-60)}, true},
		{"nor later", []string{"Last-Modified", date(-60)}, []string{"If-Modified-Since", date(0)}, true},
		{"modified", []string{"Last-Modified", date(-60)}, []string{"If-Modified-Since", date(-61)}, false},
		{"an obsolete form of date", []string{"Last-Modified", date(-60)}, []string{"If-Modified-Since", noon.Format("Monday, 02-Jan-06 15:04:05 GMT")}, true},
		{"no date", []string{"Last-Modified", date(-60)}, []string{"If-Modified-Since", "today"}, false},
		{"RFC 9111 §4.3.2 by Date without Last-Modified", []string{"Date", date(-60)}, []string{"If-Modified-Since", date(-60)}, true},
		{"modified, by that", []string{"Date", date(-60)}, []string{"If-Modified-Since", date(-61)}, false},
		{"by receipt without either", nil, []string{"If-Modified-Since", date(0)}, true},
		{"§13.1.3 not two dates", []string{"Last-Modified", date(-60)}, []string{"If-Modified-Since", date(0), "If-Modified-Since", date(0)}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, received(200, tt.stored...).NotModified(header(tt.request...)))
		})
	}
}

func TestPart(t *testing.T) {
	for value, want := range map[string]freshness.Part{
		"bytes 0-4/10":                   {First: 0, Last: 4, Total: 10},
		"Bytes 5-9/10":                   {First: 5, Last: 9, Total: 10},
		"bytes 5-9/*":                    {First: 5, Last: 9, Total: -1},
		" bytes 0-0/1 ":                  {First: 0, Last: 0, Total: 1},
		"bytes 0-4":                      {},
		"bytes */10":                     {},
		"bytes 4-3/10":                   {},
		"bytes 0-10/10":                  {},
		"bytes -1-4/10":                  {},
		"bytes 0-4/x":                    {},
		"items 0-4/10":                   {},
		"bytes 0-4/10,1":                 {},
		"bytes 0-99999999999999999999/*": {},
	} {
		got, ok := freshness.ParseContentRange([]string{value})
		assert.Equal(t, want != freshness.Part{}, ok, value)
		assert.Equal(t, want, got, value)
	}
	have := freshness.Part{First: 4, Last: 8, Total: 10}
	for field, want := range map[string]string{
		"bytes=4-8": "bytes 4-8/10", "bytes=5-5": "bytes 5-5/10", "BYTES= 6-7 ": "bytes 6-7/10",
		"bytes=4-": "", "bytes=-5": "", "bytes=3-5": "", "bytes=8-9": "", "bytes=0-": "", "bytes=4-5,6-7": "", "bytes=-0": "", "bytes=6-5": "", "lines=4-5": "", "bytes=x-5": "",
	} {
		got, ok := have.Within([]string{field})
		assert.Equal(t, want != "", ok, field)
		if ok {
			assert.Equal(t, want, got.String(), field)
		}
	}
	tail := freshness.Part{First: 5, Last: 9, Total: 10}
	for field, want := range map[string]string{"bytes=-5": "bytes 5-9/10", "bytes=-1": "bytes 9-9/10", "bytes=7-": "bytes 7-9/10", "bytes=7-100": "bytes 7-9/10"} {
		got, ok := tail.Within([]string{field})
		assert.True(t, ok, field)
		assert.Equal(t, want, got.String(), field)
	}
	_, ok := freshness.Part{First: 5, Last: 9, Total: -1}.Within([]string{"bytes=7-"})
	assert.False(t, ok, "where the end is nobody knows")
}

func TestFirstByte(t *testing.T) {
	for field, want := range map[string]int64{
		"bytes=4-8": 4, "bytes=4-4": 4, "bytes=4-": 4, "bytes=0-": 0, "BYTES= 6-7 ": 6, "bytes=9223372036854775806-": 9223372036854775806,
		"bytes=-5": -1, "bytes=6-5": -1, "bytes=4-5,6-7": -1, "bytes=4": -1, "lines=4-5": -1, "bytes=x-5": -1, "bytes=4-x": -1, "bytes": -1, "": -1,
		"bytes=9223372036854775808-": -1, "bytes=+4-": -1,
	} {
		got, ok := freshness.FirstByte([]string{field})
		assert.Equal(t, want >= 0, ok, field)
		if ok {
			assert.Equal(t, want, got, field)
		}
	}
	_, ok := freshness.FirstByte(nil)
	assert.False(t, ok)
	_, ok = freshness.FirstByte([]string{"bytes=4-", "bytes=5-"})
	assert.False(t, ok)
}

func FuzzPart(f *testing.F) {
	f.Add("bytes 0-4/10", "bytes=-3")
	f.Add("bytes 4-9/*", "bytes=5-")
	f.Add("bytes 9223372036854775807-9223372036854775807/*", "bytes=-9223372036854775807")
	f.Fuzz(func(t *testing.T, contentRange, field string) {
		p, ok := freshness.ParseContentRange([]string{contentRange})
		if !ok {
			return
		}
		again, ok := freshness.ParseContentRange([]string{p.String()})
		assert.True(t, ok)
		assert.Equal(t, p, again)
		if asked, ok := p.Within([]string{field}); ok {
			assert.GreaterOrEqual(t, asked.First, p.First)
			assert.LessOrEqual(t, asked.Last, p.Last)
			assert.Positive(t, asked.Len())
			if first, ok := freshness.FirstByte([]string{field}); ok {
				assert.Equal(t, asked.First, first)
			}
		}
	})
}

func FuzzVary(f *testing.F) {
	f.Add("foo, bar", `a, "b,c"`)
	f.Add("*", `"\`)
	f.Add("accept-language", "en;q=1, DE")
	f.Fuzz(func(t *testing.T, vary, value string) {
		names, any := freshness.VaryFields(http.Header{"Vary": {vary}})
		if any {
			return
		}
		for _, name := range names {
			request := http.Header{http.CanonicalHeaderKey(name): {value}}
			got, present := freshness.Selected(request, name)
			assert.True(t, present)
			again, _ := freshness.Selected(http.Header{http.CanonicalHeaderKey(name): {got}}, name)
			assert.Equal(t, got, again, "what is normal stays so")
		}
	})
}
