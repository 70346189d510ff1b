package upstream

import (
	"math"
	"time"
)

// A Record is how a mirror has fared for one hub. It is a plain value: every
// method returns what the record is after some event, and looks at no clock, so
// that a simulation decides as the real thing does. What it knows fades.
type Record struct {
	Mirror string    `json:"mirror"`      // base URL
	At     time.Time `json:"at,omitzero"` // as of when the weights count
	Asked  time.Time `json:"asked,omitzero"`

	First  time.Duration `json:"first"`  // from request to head, smoothed
	Spread time.Duration `json:"spread"` // mean deviation from First
	Weight float64       `json:"weight"` // how many heads stand behind First

	Rate  float64 `json:"rate"`  // bytes a second of one body, smoothed
	Rated float64 `json:"rated"` // how many measurements stand behind Rate

	Errors float64 `json:"errors"` // share of requests that failed, smoothed

	// The breaker. Failures in a row open it until Until, then it is half-open:
	// the next answer closes it, the next failure opens it for longer.
	Failures int       `json:"failures,omitempty"`
	Since    time.Time `json:"since,omitzero"` // of the first of them
	Until    time.Time `json:"until,omitzero"`

	Pause    time.Time `json:"pause,omitzero"`    // by the mirror's own word: not asked before
	Answered time.Time `json:"answered,omitzero"` // its last word, whatever it said
}

const (
	halfLife  = 10 * time.Minute // of what a record knows
	maxWeight = 8                // older heads count no more than this many
	errorLike = 1.0 / 32         // how much of the share of errors the last request is
	enough    = 2.5              // heads, until a mirror is known

	tripAt    = 3 // failures in a row open a breaker
	firstTrip = time.Second
	lastTrip  = time.Minute
	dnsTrip   = 5 * time.Second // at most, for a name that does not resolve

	longestPause = 10 * time.Minute // whatever the mirror says
)

// A breaker is whether a mirror is asked.
type breaker string

const (
	closed   breaker = "closed"
	open     breaker = "open"      // only as a last resort
	halfOpen breaker = "half-open" // beside others, to see whether it has recovered
	paused   breaker = "paused"    // not at all: it said so
)

// breaker is the state at a time.
func (r Record) breaker(now time.Time) breaker {
	switch {
	case now.Before(r.Pause):
		return paused
	case now.Before(r.Until):
		return open
	case !r.Until.IsZero():
		return halfOpen
	}
	return closed
}

// believed is a record from elsewhere, made fit to use: no clock is trusted to
// have been right.
func (r Record) believed(now time.Time) Record {
	for _, t := range []*time.Time{&r.At, &r.Asked, &r.Since, &r.Answered} {
		if t.After(now) {
			*t = now
		}
	}
	if most := now.Add(lastTrip); r.Until.After(most) {
		r.Until = most
	}
	if most := now.Add(longestPause); r.Pause.After(most) {
		r.Pause = most
	}
	sound := func(f *float64, most float64) {
		if !(*f >= 0) { // NaN too
			*f = 0
		}
		*f = min(*f, most)
	}
	sound(&r.Weight, maxWeight)
	sound(&r.Rated, maxWeight)
	sound(&r.Errors, 1)
	sound(&r.Rate, math.MaxInt64)
	r.First, r.Spread = min(max(r.First, 0), time.Minute), min(max(r.Spread, 0), time.Minute)
	r.Failures = min(max(r.Failures, 0), 1000)
	return r
}

// aged is the record at a later time.
func (r Record) aged(now time.Time) Record {
	if past := now.Sub(r.At); past > 0 {
		if !r.At.IsZero() {
			keep := math.Exp2(-float64(past) / float64(halfLife))
			r.Weight *= keep
			r.Rated *= keep
			r.Errors *= keep
		}
		r.At = now
	}
	return r
}

// known reports whether the record is worth believing.
func (r Record) known(now time.Time) bool { return r.aged(now).Weight >= enough }

// asked notes a request. One to a mirror that is half-open is a probe: until its
// outcome, or for a while, there is no other.
func (r Record) asked(now time.Time) Record {
	r.Asked = now
	if r.breaker(now) == halfOpen {
		r.Until = now.Add(r.trip())
	}
	return r
}

// spoke notes that the mirror has said anything at all.
func (r Record) spoke(now time.Time) Record {
	r.Answered = now
	return r
}

// answered notes an answer that shows the mirror well, content or not.
func (r Record) answered(now time.Time) Record {
	r = r.aged(now).spoke(now)
	r.Failures, r.Since, r.Until = 0, time.Time{}, time.Time{}
	return r
}

// headed notes a good head, d after it was asked for.
func (r Record) headed(now time.Time, d time.Duration) Record {
	r = r.answered(now).sample(d, 1)
	r.Errors /= 2 // who has recovered is seldom asked, and must be believed soon
	return r
}

// outrun notes that no head had come after d, when nobody waited any longer. It
// says something only of a mirror that was thought to be faster.
func (r Record) outrun(now time.Time, d time.Duration) Record {
	if r = r.aged(now); r.Weight == 0 || d > r.First {
		r = r.sample(d+d/2, 0.5)
	}
	return r
}

func (r Record) sample(d time.Duration, weight float64) Record {
	share := weight / (r.Weight + weight)
	diff := float64(d - r.First)
	if r.Weight == 0 {
		r.First, r.Spread = d, d/2
	} else {
		// One that is far out says that something happened, not how long things take.
		diff = min(diff, 4*float64(max(r.First, time.Millisecond)))
		r.Spread += time.Duration(share * (math.Abs(diff) - float64(r.Spread)))
		if diff < 0 {
			share = max(share, 0.3) // likewise
		}
		r.First += time.Duration(share * diff)
	}
	r.Weight = min(r.Weight+weight, maxWeight)
	return r
}

// failed notes that no use was to be had of the mirror: no connection, no head,
// a body that ended early, a server error. witness says that another mirror has
// answered since the first failure in a row: else it may be our own line, and
// nobody is judged for long by that.
func (r Record) failed(now time.Time, witness bool) Record {
	r = r.aged(now)
	r.Errors += (1 - r.Errors) * errorLike
	if r.Failures++; r.Failures == 1 {
		r.Since = now
	}
	if r.Failures >= tripAt {
		d := firstTrip
		if witness {
			d = r.trip()
		}
		r.Until = now.Add(d)
	}
	return r
}

// nameless notes that the mirror's name does not resolve. The breaker opens at
// once, but never for long: it is a new address as a rule that ends this.
func (r Record) nameless(now time.Time, witness bool) Record {
	r.Failures = max(r.Failures, tripAt-1)
	r = r.failed(now, witness)
	if most := now.Add(dnsTrip); r.Until.After(most) {
		r.Until = most
	}
	return r
}

// trip is how long the breaker opens after so many failures.
func (r Record) trip() time.Duration {
	return min(firstTrip<<min(max(r.Failures-tripAt, 0), 10), lastTrip)
}

// lacks notes that the mirror does not have what another one has.
func (r Record) lacks(now time.Time) Record {
	r = r.aged(now)
	r.Errors += (1 - r.Errors) * errorLike
	return r
}

// told notes that the mirror wants to be left alone for a while.
func (r Record) told(now time.Time, d time.Duration) Record {
	r.Pause = now.Add(d)
	return r.lacks(now)
}

// moved notes how fast a body came, in bytes a second.
func (r Record) moved(now time.Time, rate float64) Record {
	r = r.aged(now)
	r.Rate += (rate - r.Rate) / (r.Rated + 1)
	r.Rated = min(r.Rated+1, maxWeight/2)
	return r
}

// late is how long after it was asked a head is later than usual, so that
// another mirror may be asked; rarely before.
func (r Record) late() time.Duration {
	return r.First + max(3*r.Spread, r.First/2, 5*time.Millisecond)
}

// rated reports whether the record says how fast bodies come.
func (r Record) rated() bool { return r.Rated >= 0.5 && r.Rate > 0 }

// cost is how long the mirror is expected to take for so many bytes. fallback
// is the rate if its own is not known.
func (r Record) cost(size, fallback float64) time.Duration {
	const failure = time.Second // what one costs who runs into it
	rate := fallback
	if r.rated() {
		rate = r.Rate
	}
	d := r.First + time.Duration(r.Errors*float64(failure))
	if rate > 0 {
		d += time.Duration(min(size/rate, 86400) * float64(time.Second))
	}
	return d
}
