package freshness

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Stored is what the arithmetic needs of a response that a shared cache has, or
// might store.
type Stored struct {
	Status              int
	Header              http.Header
	Requested, Received time.Time // §4.2.3: request_time and response_time
}

// Terms are what a response says of its reuse, the fields that count picked out:
// those of a targeted field if it has a good one (RFC 9213 §2.2), else of
// Cache-Control and Expires.
type Terms struct {
	Directives
	Lifetime time.Duration // §4.2.1; 0: stale from the start
	Explicit bool          // the response itself says Lifetime; else it is heuristic (§4.2.2)
}

// Terms are those of s.
func (s Stored) Terms() Terms {
	targeted, ok := ParseTargeted(s.Header["Cdn-Cache-Control"])
	if ok {
		t := Terms{Directives: targeted}
		t.Lifetime, t.Explicit = targeted.lifetime()
		return t.orHeuristic(s)
	}
	t := Terms{Directives: ParseDirectives(s.Header["Cache-Control"])}
	if t.Lifetime, t.Explicit = t.lifetime(); !t.Explicit {
		t.Lifetime, t.Explicit = s.expires()
	}
	return t.orHeuristic(s)
}

// lifetime is what s-maxage or else max-age says (§4.2.1).
func (d *Directives) lifetime() (lifetime time.Duration, explicit bool) {
	if d.SMaxAge.Set {
		return d.SMaxAge.Time, true
	}
	return d.MaxAge.Time, d.MaxAge.Set
}

// expires is the lifetime that Expires says (§5.3): from Date, which a response
// without a good one has from its receipt. Of several lines the first counts; what
// is no date has passed.
func (s Stored) expires() (lifetime time.Duration, explicit bool) {
	lines := s.Header["Expires"]
	if len(lines) == 0 {
		return 0, false
	}
	at, ok := ParseDate(lines[0], s.Received)
	if !ok {
		return 0, true
	}
	return min(max(at.Sub(s.Date()), 0), maxDelta), true
}

// Date is when the response was made (RFC 9110 §6.6.1), by its Date field, else
// when it came.
func (s Stored) Date() time.Time {
	if date, ok := ParseDate(s.Header.Get("Date"), s.Received); ok {
		return date
	}
	return s.Received
}

// The heuristic lifetime (§4.2.2): a tenth of the time since the last change, at
// most a day.
const (
	heuristicPart = 10
	heuristicMost = 24 * time.Hour
)

func (t Terms) orHeuristic(s Stored) Terms {
	if t.Explicit || !t.Public && !heuristic(s.Status) {
		return t
	}
	if modified, ok := ParseDate(s.Header.Get("Last-Modified"), s.Received); ok {
		t.Lifetime = min(max(s.Date().Sub(modified)/heuristicPart, 0), heuristicMost)
	}
	return t
}

// heuristic says whether a status may be reused without explicit freshness (RFC
// 9110 §15.1).
func heuristic(status int) bool {
	switch status {
	case 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood says whether a status is one whose meaning for caches is known here
// (RFC 9111 §5.2.2.3): all of RFC 9110 §15.
func understood(status int) bool {
	switch {
	case status >= 200 && status <= 206, status >= 300 && status <= 305, status == 307, status == 308,
		status >= 400 && status <= 417, status == 421, status == 422, status == 426,
		status >= 500 && status <= 505:
		return true
	}
	return false
}

// Store says whether a shared cache may store s, the response to a GET with these
// fields (§3), and has a use for it: it is fresh for a while, or can be validated.
func (s Stored) Store(request http.Header) bool {
	t, asked := s.Terms(), ParseRequest(request)
	switch {
	case s.Status < 200, s.Status == http.StatusNotModified,
		s.Status == http.StatusRequestedRangeNotSatisfiable && request["Range"] != nil, // of the range, not of the URI
		t.MustUnderstand && !understood(s.Status),
		t.NoStore && !(t.MustUnderstand && understood(s.Status)), // §5.2.2.3: it is for caches that do not understand
		asked.NoStore,
		t.Private:
		return false
	case request["Authorization"] != nil && !t.MustRevalidate && !t.Public && !t.SMaxAge.Set: // §3.5
		return false
	case !t.Public && !t.Explicit && !heuristic(s.Status):
		return false
	case !t.Explicit && s.Header["Set-Cookie"] != nil: // allowed, but nobody has asked for it
		return false
	}
	if _, any := VaryFields(s.Header); any {
		return false // §4.1: it would match nothing
	}
	return t.Lifetime > 0 && !t.NoCache || s.Header.Get("Etag") != "" || s.Header.Get("Last-Modified") != ""
}

// Age is the current age of s (§4.2.3). An Age field that is a list counts by its
// first member, one that is no number not at all (§5.1).
func (s Stored) Age(now time.Time) time.Duration {
	apparent := min(max(s.Received.Sub(s.Date()), 0), maxDelta) // a sum of larger ones would run over
	corrected := time.Duration(0)
	if lines := s.Header["Age"]; len(lines) > 0 {
		first, _, _ := strings.Cut(lines[0], ",")
		if first = strings.Trim(first, " \t"); first != "" && strings.Trim(first, "0123456789") == "" {
			corrected = parseDelta(first)
		}
	}
	if !s.Requested.IsZero() && s.Received.After(s.Requested) {
		corrected += s.Received.Sub(s.Requested) // response_delay
	}
	return max(apparent, corrected) + min(max(now.Sub(s.Received), 0), maxDelta)
}

// ParseRequest reads what a request asks of caches: its Cache-Control or, without
// one, the Pragma of HTTP/1.0 (§5.4).
func ParseRequest(request http.Header) Directives {
	d := ParseDirectives(request["Cache-Control"])
	if request["Cache-Control"] == nil {
		d.NoCache = ParseDirectives(request["Pragma"]).NoCache
	}
	return d
}

// A Reuse is how far a stored response may answer a request.
type Reuse struct {
	Verdict Verdict       // Fresh, StaleUsable: now; StaleError: if upstream cannot be reached; Dead: only once validated
	Left    time.Duration // of its lifetime; negative when stale

	// OnError is whether it may also answer in place of a 500, 502, 503 or 504 (RFC 5861 §4).
	OnError bool

	Terms Terms // by which it was judged
}

// Reuse judges s for a request with these fields. disconnected is how long past
// its lifetime a response may answer if upstream cannot be reached and nothing
// forbids it (§4.2.4).
func (s Stored) Reuse(request http.Header, now time.Time, disconnected time.Duration) Reuse {
	t, asked, age := s.Terms(), ParseRequest(request), s.Age(now)
	r := Reuse{Verdict: Dead, Left: t.Lifetime - age, Terms: t}
	stale := -r.Left // by how much

	// §5.2.2.2, §5.2.2.8, §5.2.2.10: stale is never good enough.
	strict := t.MustRevalidate || t.ProxyRevalidate || t.SMaxAge.Set || t.NoCache
	allowed := func(d Delta) bool { return d.Set && stale < d.Time }
	if !strict {
		if r.OnError = allowed(t.StaleIfError) || allowed(asked.StaleIfError); r.OnError || stale < disconnected {
			r.Verdict = StaleError
		}
	}
	switch {
	case asked.NoCache:
		return Reuse{Verdict: Dead, Left: r.Left, Terms: t} // §5.2.1.4: not even if upstream cannot be reached
	case t.NoCache:
		return r
	case asked.MaxAge.Set && age > asked.MaxAge.Time && !(t.Immutable && r.Left > 0 && asked.MaxAge.Time == 0):
		// A reload asks with max-age=0, which immutable says is needless (RFC 8246 §2).
		return r
	case asked.MinFresh.Set && r.Left < asked.MinFresh.Time:
		return r
	case r.Left > 0:
		r.Verdict = Fresh
	case strict:
	case asked.MaxStale.Set && (stale <= asked.MaxStale.Time):
		r.Verdict = Fresh
	case allowed(t.StaleWhileRevalidate):
		r.Verdict = StaleUsable
	}
	return r
}

// Freshened is the header of a stored response that a validation has found good
// (§4.3.4), or that a HEAD has told about (§4.3.5): the new fields replace those
// stored, but for the ones that describe the stored content (§3.2).
func Freshened(stored, fresh http.Header) http.Header {
	h := stored.Clone()
	if h == nil {
		h = http.Header{}
	}
	// What was said of freshness and age is of the past, whether it is said anew or not.
	delete(h, "Age")
	for name, values := range fresh {
		switch name {
		case "Content-Length", "Content-Encoding", "Content-Range", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest", "Etag":
		default:
			h[name] = values
		}
	}
	return h
}

// Withheld is the header of a stored response as it may be sent without having
// been validated: without the fields that no-cache or private name (§5.2.2.4,
// §5.2.2.7). It is the same header where they name none.
func (t Terms) Withheld(h http.Header) http.Header {
	if len(t.NoCacheFields) == 0 && len(t.PrivateFields) == 0 {
		return h
	}
	return without(h, t.NoCacheFields, t.PrivateFields)
}

// Kept is the header as a shared cache may store it: without the fields that
// private names (§5.2.2.7).
func (t Terms) Kept(h http.Header) http.Header {
	if len(t.PrivateFields) == 0 {
		return h
	}
	return without(h, t.PrivateFields)
}

func without(h http.Header, names ...[]string) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if !slices.ContainsFunc(names, func(list []string) bool { return slices.Contains(list, strings.ToLower(name)) }) {
			kept[name] = values
		}
	}
	return kept
}
