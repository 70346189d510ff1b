// Package freshness is the arithmetic of RFC 9111 §4: pure functions of header
// fields, times and policy. It reads no clock and does no I/O.
package freshness

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Forever is a duration without end: the configuration's "never" expires.
const Forever = time.Duration(math.MaxInt64)

// A Class says how long the content under a key stays the same.
type Class uint8

// The classes of keys. The zero value is Mutable: misclassifying mutable
// content as immutable cannot be undone.
const (
	Mutable     Class = iota // fresh for a while, then validated
	Immutable                // never validated
	Passthrough              // never stored
	Transparent              // as the origin's own fields say (RFC 9111): see [Stored]
)

func (c Class) String() string {
	return [...]string{"mutable", "immutable", "passthrough", "transparent"}[c]
}

// A Policy is what configuration and protocol say of one key's freshness.
// Durations may be [Forever].
type Policy struct {
	Class    Class
	TTL      time.Duration // of a Mutable entry, from its receipt or last validation
	Negative time.Duration // how long a unanimous 404 answers

	StaleIfError         time.Duration // past TTL: an entry answers when no upstream can (RFC 5861 §4)
	StaleWhileRevalidate time.Duration // past TTL: an entry answers at once and is validated behind (RFC 5861 §3)

	// Budget is how long a request with a stale copy at hand waits for upstream
	// before the copy answers and the validation goes on behind.
	Budget time.Duration
}

// A Verdict is how far an entry may be used.
type Verdict uint8

// From most to least useful.
const (
	Fresh       Verdict = iota // answers without upstream
	StaleUsable                // answers at once; a validation follows behind
	StaleError                 // must be validated; answers if no upstream can
	Dead                       // must be validated; never answers
)

// Judge says how an entry received (or last validated) at received may be used
// now, and what is left of its TTL: negative when stale, [Forever] when immutable.
// An entry from the future counts as fresh up to 5 minutes of clock difference,
// as stale beyond.
func (p Policy) Judge(received, now time.Time) (Verdict, time.Duration) {
	if p.Class == Immutable || p.TTL == Forever {
		return Fresh, Forever
	}
	age := now.Sub(received)
	if age < -5*time.Minute {
		age = max(p.TTL, 0) // a clock was set back: RFC 9111 has no word for it, so be careful
	} else if age < 0 {
		age = 0
	}
	left := p.TTL - age
	switch {
	case p.Class == Passthrough:
		return Dead, left
	case left > 0:
		return Fresh, left
	case p.StaleWhileRevalidate == Forever || -left < p.StaleWhileRevalidate:
		return StaleUsable, left
	case p.StaleIfError == Forever || -left < p.StaleIfError:
		return StaleError, left
	}
	return Dead, left
}

// Age is the value of the Age field of a stored response (RFC 9111 §4.2.3), in
// whole seconds.
func Age(header http.Header, requested, received, now time.Time) time.Duration {
	var initial time.Duration
	if s := header.Get("Age"); s != "" {
		first, _, _ := strings.Cut(s, ",")
		if n, err := strconv.ParseUint(strings.TrimSpace(first), 10, 31); err == nil {
			initial = time.Duration(n) * time.Second
			if !requested.IsZero() && received.After(requested) {
				initial += received.Sub(requested)
			}
		}
	}
	return max(initial+now.Sub(received), 0).Truncate(time.Second)
}
