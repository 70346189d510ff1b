package freshness_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

func delta(seconds int) freshness.Delta {
	return freshness.Delta{Set: true, Time: time.Duration(seconds) * time.Second}
}

const largest = 1 << 31 // RFC 9111 §1.2.2

func TestParseDirectives(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		want  freshness.Directives
	}{
		{"none", nil, freshness.Directives{}},
		{"an empty field", []string{""}, freshness.Directives{}},
		{"empty members", []string{" , ,, no-store ,"}, freshness.Directives{NoStore: true}},
		{"any letter case", []string{"No-StOrE, MaX-aGe=5"}, freshness.Directives{NoStore: true, MaxAge: delta(5)}},
		{"all lines count", []string{"public", "must-revalidate"}, freshness.Directives{Public: true, MustRevalidate: true}},
		{"flags with an argument", []string{"no-store=1, public=\"x\""}, freshness.Directives{NoStore: true, Public: true}},
		{"unknown ones do no harm", []string{"community=\"a, no-store\", x=y, max-age=1"}, freshness.Directives{MaxAge: delta(1)}},
		{"the rest", []string{"no-transform, must-understand, proxy-revalidate, immutable, only-if-cached, s-maxage=1, min-fresh=2, stale-if-error=3, stale-while-revalidate=4"},
			freshness.Directives{NoTransform: true, MustUnderstand: true, ProxyRevalidate: true, Immutable: true, OnlyIfCached: true,
				SMaxAge: delta(1), MinFresh: delta(2), StaleIfError: delta(3), StaleWhileRevalidate: delta(4)}},

		{"§5.2: a quoted number", []string{`max-age="3600"`}, freshness.Directives{MaxAge: delta(3600)}},
		{"escapes in quotes", []string{`max-age="3\600"`}, freshness.Directives{MaxAge: delta(3600)}},
		{"quoted text hides what looks like a directive", []string{`x="max-age=5, no-store", max-age=7`}, freshness.Directives{MaxAge: delta(7)}},
		{"an open quote hides nothing", []string{`x="a, no-store`}, freshness.Directives{NoStore: true}},
		{"leading zeros", []string{"max-age=003600"}, freshness.Directives{MaxAge: delta(3600)}},
		{"§1.2.2: larger than can be", []string{"max-age=99999999999999999999"}, freshness.Directives{MaxAge: delta(largest)}},
		{"§4.2.1: of duplicates the first", []string{"max-age=1800, max-age=1"}, freshness.Directives{MaxAge: delta(1800)}},
		{"on other lines too", []string{"max-age=1", "max-age=1800"}, freshness.Directives{MaxAge: delta(1)}},
		{"an invalid one is the first too", []string{"max-age=x, max-age=1800"}, freshness.Directives{MaxAge: delta(0)}},

		{"negative", []string{"max-age=-1"}, freshness.Directives{MaxAge: delta(0)}},
		{"a fraction", []string{"max-age=3600.0"}, freshness.Directives{MaxAge: delta(0)}},
		{"letters", []string{"max-age=3600s, no-store"}, freshness.Directives{MaxAge: delta(0), NoStore: true}},
		{"single quotes are none", []string{"max-age='3600'"}, freshness.Directives{MaxAge: delta(0)}},
		{"no argument", []string{"max-age"}, freshness.Directives{MaxAge: delta(0)}},
		{"an empty argument", []string{"max-age="}, freshness.Directives{MaxAge: delta(0)}},
		{"a blank before the equals sign", []string{"max-age =5"}, freshness.Directives{MaxAge: delta(0)}},
		{"a blank behind it", []string{"max-age= 5"}, freshness.Directives{MaxAge: delta(0)}},
		{"blanks around the member", []string{" \tmax-age=5\t ,"}, freshness.Directives{MaxAge: delta(5)}},
		{"something behind a quoted number", []string{`max-age="5"0, public`}, freshness.Directives{MaxAge: delta(0), Public: true}},

		{"§5.2.2.4: no-cache", []string{"no-cache"}, freshness.Directives{NoCache: true}},
		{"for fields only", []string{`no-cache="Set-Cookie, x-a"`}, freshness.Directives{NoCacheFields: []string{"set-cookie", "x-a"}}},
		{"as a token", []string{`no-cache=Set-Cookie`}, freshness.Directives{NoCacheFields: []string{"set-cookie"}}},
		{"for no field at all is for all", []string{`no-cache=""`}, freshness.Directives{NoCache: true}},
		{"what names no field is for all", []string{`no-cache=" ,;"`}, freshness.Directives{NoCache: true}},
		{"both", []string{`no-cache="a", no-cache`}, freshness.Directives{NoCache: true, NoCacheFields: []string{"a"}}},
		{"§5.2.2.7: private", []string{"private"}, freshness.Directives{Private: true}},
		{"private fields", []string{`private="a"`}, freshness.Directives{PrivateFields: []string{"a"}}},
		{"§5.2.1.2: max-stale of any age", []string{"max-stale"}, freshness.Directives{MaxStale: freshness.Delta{Set: true, Time: freshness.Forever}}},
		{"of some", []string{"max-stale=5"}, freshness.Directives{MaxStale: delta(5)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, freshness.ParseDirectives(tt.lines))
		})
	}
}

func TestParseTargeted(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		want  freshness.Directives
		ok    bool
	}{
		{"none", nil, freshness.Directives{}, false},
		{"empty", []string{""}, freshness.Directives{}, false},
		{"a dictionary", []string{"max-age=60, no-store"}, freshness.Directives{MaxAge: delta(60), NoStore: true}, true},
		{"on several lines", []string{"max-age=60", "private"}, freshness.Directives{MaxAge: delta(60), Private: true}, true},
		{"of equal keys the last", []string{"max-age=60, max-age=5"}, freshness.Directives{MaxAge: delta(5)}, true},
		{"a flag that is off", []string{"no-store=?0, public=?1"}, freshness.Directives{Public: true}, true},
		{"extensions of every type", []string{`a=1.5, b=tok:en/x, c=:aGk=:, d=@17, e=%"f%c3%bc", f=(1 "a";q=2 x), g="s", h;p=1;q, *i`}, freshness.Directives{}, true},
		{"parameters do not count", []string{"max-age=60;foo=bar"}, freshness.Directives{MaxAge: delta(60)}, true},
		{"larger than can be", []string{"max-age=99999999999"}, freshness.Directives{MaxAge: delta(largest)}, true},
		{"fields", []string{`no-cache="a, b"`}, freshness.Directives{NoCacheFields: []string{"a", "b"}}, true},
		{"capital letters are no key", []string{"MaX-aGe=60"}, freshness.Directives{}, false},
		{"a blank before the equals sign", []string{"max-age =60"}, freshness.Directives{}, false},
		{"a blank behind it", []string{"max-age= 60"}, freshness.Directives{}, false},
		{"what is no item", []string{"max-age=60, &&&&&"}, freshness.Directives{}, false},
		{"a comma at the end", []string{"max-age=60,"}, freshness.Directives{}, false},
		{"another type", []string{`max-age="60"`}, freshness.Directives{}, false},
		{"a fraction", []string{"max-age=60.5"}, freshness.Directives{}, false},
		{"a flag for a number", []string{"max-age"}, freshness.Directives{}, false},
		{"a number for a flag", []string{"no-store=1"}, freshness.Directives{}, false},
		{"negative", []string{"max-age=-1"}, freshness.Directives{}, false},
		{"too many digits", []string{"max-age=1234567890123456"}, freshness.Directives{}, false},
		{"an open string", []string{`a="b`}, freshness.Directives{}, false},
		{"an open list", []string{`a=(1 2`}, freshness.Directives{}, false},
		{"an open byte sequence", []string{`a=:aGk=`}, freshness.Directives{}, false},
		{"capital hex", []string{`a=%"%C3"`}, freshness.Directives{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := freshness.ParseTargeted(tt.lines)
			assert.Equal(t, tt.ok, ok)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestParseDate(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	tests := []struct {
		name string
		in   string
		want time.Time // zero: no date
	}{
		{"IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", want},
		{"RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", want},
		{"asctime", "Sun Nov  6 08:49:37 1994", want},
		{"asctime with a zero", "Sun Nov 06 08:49:37 1994", want},
		{"the wrong day of the week", "Mon, 06 Nov 1994 08:49:37 GMT", want},
		{"two digits, at most 50 years ahead", "Thursday, 18-Aug-50 02:01:18 GMT", time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC)},
		{"two digits, 50 years ahead", "Friday, 18-Aug-76 02:01:18 GMT", time.Date(2076, 8, 18, 2, 1, 18, 0, time.UTC)},
		{"two digits, more than that is past", "Friday, 18-Aug-77 02:01:18 GMT", time.Date(1977, 8, 18, 2, 1, 18, 0, time.UTC)},
		{"empty", "", time.Time{}},
		{"zero", "0", time.Time{}},
		{"another zone", "Sun, 06 Nov 1994 08:49:37 UTC", time.Time{}},
		{"another zone in RFC 850", "Sunday, 06-Nov-94 08:49:37 PST", time.Time{}},
		{"an offset", "Sun, 06 Nov 1994 08:49:37 +0000", time.Time{}},
		{"capital weekday", "SUN, 06 Nov 1994 08:49:37 GMT", want}, // RFC 9111 §4.2
		{"capital month", "Sun, 06 NOV 1994 08:49:37 GMT", want},
		{"lower zone", "Sun, 06 Nov 1994 08:49:37 gMT", want},
		{"lower RFC 850", "sunday, 06-nov-94 08:49:37 gmt", want},
		{"lower asctime", "sun nov  6 08:49:37 1994", want},
		{"another zone in lower case", "Sun, 06 Nov 1994 08:49:37 utc", time.Time{}},
		{"no comma", "Sun 06 Nov 1994 08:49:37 GMT", time.Time{}},
		{"no weekday", "06 Nov 1994 08:49:37 GMT", time.Time{}},
		{"no such weekday", "Foo, 06 Nov 1994 08:49:37 GMT", time.Time{}},
		{"two blanks", "Sun, 06  Nov  1994 08:49:37 GMT", time.Time{}},
		{"two blanks behind the weekday", "Sun,  06 Nov 1994 08:49:37 GMT", time.Time{}},
		{"one digit of hours", "Sun, 06 Nov 1994 8:49:37 GMT", time.Time{}},
		{"one digit of days", "Sun, 6 Nov 1994 08:49:37 GMT", time.Time{}},
		{"dashes", "Sun, 06-Nov-1994 08:49:37 GMT", time.Time{}},
		{"dots", "Sun, 06 Nov 1994 08.49.37 GMT", time.Time{}},
		{"two digits of years", "Sun, 06 Nov 94 08:49:37 GMT", time.Time{}},
		{"no such day", "Sun, 31 Feb 1994 08:49:37 GMT", time.Time{}},
		{"something behind", "Sun, 06 Nov 1994 08:49:37 GMT ", time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := freshness.ParseDate(tt.in, noon)
			assert.Equal(t, !tt.want.IsZero(), ok)
			assert.True(t, tt.want.Equal(got), "%v", got)
		})
	}
}

func FuzzDirectives(f *testing.F) {
	for _, seed := range []string{
		"no-store", "max-age=1, private", `no-cache="a, b"`, `x="\`, `a="b\"c", no-store`, "max-age=,=,no-store", " max-age = 1 ", "\x00=\xff,no-store",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		if strings.ContainsAny(field, "\r\n") {
			return
		}
		d := freshness.ParseDirectives([]string{field})
		for _, delta := range [...]freshness.Delta{d.MaxAge, d.SMaxAge, d.MinFresh, d.StaleIfError, d.StaleWhileRevalidate} {
			assert.GreaterOrEqual(t, delta.Time, time.Duration(0))
			assert.LessOrEqual(t, delta.Time, largest*time.Second)
		}
		// Whatever stands before it on a line of its own, a directive is not lost.
		assert.True(t, freshness.ParseDirectives([]string{field, "no-store"}).NoStore)
		// Nor on the same line, unless it is within quotes that end.
		if !strings.Contains(field, `"`) {
			assert.True(t, freshness.ParseDirectives([]string{field + ", no-store"}).NoStore)
		}
	})
}

func FuzzTargeted(f *testing.F) {
	for _, seed := range []string{
		"max-age=60, no-store", `a=(1 "x";q=2), b;c=?0`, `a="\"`, "a=:aGk=:", `a=%"%c3"`, "a=@-1", "a=1.25;b", "*a=*", "a=(", "a=-",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		d, ok := freshness.ParseTargeted([]string{field})
		if !ok {
			assert.Equal(t, freshness.Directives{}, d)
			return
		}
		// What is a dictionary stays one with a member behind it.
		with, ok := freshness.ParseTargeted([]string{field, "no-store"})
		assert.True(t, ok)
		d.NoStore = true
		assert.Equal(t, d, with)
	})
}

func FuzzDate(f *testing.F) {
	for _, seed := range []string{
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "0", "Mon, 29 Feb 2100 24:60:60 GMT",
		"Sun, 01 Nov 0000 00:00:00 GMt",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := freshness.ParseDate(s, noon)
		if !ok {
			assert.True(t, got.IsZero())
			return
		}
		again, ok := freshness.ParseDate(got.Format(http.TimeFormat), noon)
		assert.True(t, ok)
		assert.True(t, got.Equal(again), "%q", s)
		if at := len(s) - 3; strings.EqualFold(s[at:], "GMT") { // which is all that net/http reads letter by letter
			s = s[:at] + "GMT"
		}
		_, err := http.ParseTime(s)
		assert.NoError(t, err, "no date of net/http's: %q", s)
	})
}
