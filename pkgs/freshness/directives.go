package freshness

import (
	"math"
	"strings"
	"time"
)

// Directives are the cache directives of a message (RFC 9111 §5.2): of its
// Cache-Control, or of a field that targets caches like this one (RFC 9213). The
// zero value is none.
type Directives struct {
	NoStore, NoTransform, MustUnderstand    bool
	Public, MustRevalidate, ProxyRevalidate bool
	Immutable                               bool // RFC 8246
	OnlyIfCached                            bool
	NoCache, Private                        bool     // without field names
	NoCacheFields, PrivateFields            []string // with them; in lower case
	MaxAge, SMaxAge, MinFresh, MaxStale     Delta
	StaleIfError, StaleWhileRevalidate      Delta // RFC 5861
}

// A Delta is the argument of a directive in seconds (RFC 9111 §1.2.2).
type Delta struct {
	Set  bool          // the directive is there
	Time time.Duration // 0 if the argument is none: such a response counts as stale (§4.2.1)
}

// maxDelta is what larger numbers count as (RFC 9111 §1.2.2).
const maxDelta = (1 << 31) * time.Second

// ParseDirectives reads the lines of Cache-Control fields. Each directive stands
// for itself: one that cannot be read never takes its neighbours along. Of
// duplicates with an argument the first counts (§4.2.1).
func ParseDirectives(lines []string) Directives {
	var d Directives
	for _, line := range lines {
		for rest := line; rest != ""; {
			var name, argument string
			var has bool
			name, argument, has, rest = cutDirective(rest)
			d.set(name, argument, has)
		}
	}
	return d
}

// set takes one directive. has says that it came with "=".
func (d *Directives) set(name, argument string, has bool) {
	switch strings.ToLower(name) {
	case "no-store":
		d.NoStore = true
	case "no-transform":
		d.NoTransform = true
	case "must-understand":
		d.MustUnderstand = true
	case "public":
		d.Public = true
	case "must-revalidate":
		d.MustRevalidate = true
	case "proxy-revalidate":
		d.ProxyRevalidate = true
	case "immutable":
		d.Immutable = true
	case "only-if-cached":
		d.OnlyIfCached = true
	case "no-cache":
		fieldNames(&d.NoCache, &d.NoCacheFields, argument, has)
	case "private":
		fieldNames(&d.Private, &d.PrivateFields, argument, has)
	case "max-age":
		d.MaxAge.first(parseDelta(argument))
	case "s-maxage":
		d.SMaxAge.first(parseDelta(argument))
	case "min-fresh":
		d.MinFresh.first(parseDelta(argument))
	case "max-stale":
		if !has { // §5.2.1.2: of any age
			d.MaxStale.first(Forever)
			return
		}
		d.MaxStale.first(parseDelta(argument))
	case "stale-if-error":
		d.StaleIfError.first(parseDelta(argument))
	case "stale-while-revalidate":
		d.StaleWhileRevalidate.first(parseDelta(argument))
	}
}

func (d *Delta) first(t time.Duration) {
	if !d.Set {
		*d = Delta{true, t}
	}
}

// fieldNames takes the argument of no-cache or private (§5.2.2.4, §5.2.2.7). One
// that names no field is none: the directive then means the whole response.
func fieldNames(whole *bool, fields *[]string, argument string, has bool) {
	n := len(*fields)
	if has {
		for name := range strings.SplitSeq(argument, ",") {
			if name = strings.Trim(name, " \t"); token(name) {
				*fields = append(*fields, strings.ToLower(name))
			}
		}
	}
	if len(*fields) == n {
		*whole = true
	}
}

// parseDelta is the number of seconds that s says; 0 if it says none.
func parseDelta(s string) time.Duration {
	if s == "" {
		return 0
	}
	n := int64(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		if n = n*10 + int64(s[i]-'0'); n > math.MaxInt32 {
			n = 1 << 31
		}
	}
	return min(time.Duration(n)*time.Second, maxDelta)
}

// cutDirective cuts the first directive off s, which is not empty. A name with
// blanks before "=" is none, nor is an argument with blanks before it: the
// argument then is what no number is.
func cutDirective(s string) (name, argument string, has bool, rest string) {
	end := strings.IndexAny(s, ",=")
	if end < 0 {
		return strings.Trim(s, " \t"), "", false, ""
	}
	name = strings.Trim(s[:end], " \t")
	if s[end] == ',' {
		return name, "", false, s[end+1:]
	}
	blank := end > 0 && (s[end-1] == ' ' || s[end-1] == '\t')
	s = s[end+1:]
	if text, after, ok := cutQuoted(s); ok {
		if i := strings.IndexByte(after, ','); i < 0 {
			rest = ""
		} else {
			rest = after[i+1:]
		}
		if blank || strings.Trim(before(after), " \t") != "" {
			text = " " + text
		}
		return name, text, true, rest
	}
	// A quote that does not end is no quote, or it would hide what follows.
	argument, rest, _ = strings.Cut(s, ",")
	argument = strings.TrimRight(argument, " \t")
	if blank {
		argument = " " + argument
	}
	return name, argument, true, rest
}

// before is s up to its first comma.
func before(s string) string {
	s, _, _ = strings.Cut(s, ",")
	return s
}

// cutQuoted cuts the quoted string that s begins with (RFC 9110 §5.6.4).
func cutQuoted(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", s, false
			}
		}
		b.WriteByte(s[i])
	}
	return "", s, false
}

// token says whether s is one (RFC 9110 §5.6.2).
func token(s string) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
