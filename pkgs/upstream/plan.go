package upstream

import (
	"cmp"
	"slices"
	"time"
)

// Politeness of an adaptive race: what a request may cost beyond one mirror
// asked, on average, once the group knows its best one.
const (
	hedgeShare   = 0.07 // requests to a second mirror because the first is late
	exploreShare = 0.03 // requests beside the best mirror, to see whether others have become better
	maxSaved     = 4.0  // what either may save up

	exploreEvery = 2 * time.Second // a mirror, at most
)

// A budget is what extra requests are left. It is a plain value.
type budget struct {
	hedges, explorations float64
}

// earn counts a request that is about to be raced.
func (b *budget) earn() {
	b.hedges = min(b.hedges+hedgeShare, maxSaved)
	b.explorations = min(b.explorations+exploreShare, maxSaved)
}

func take(left *float64) bool {
	if *left < 1 {
		return false
	}
	*left--
	return true
}

// A choice is whom of a tier to ask, in which order, and how.
type choice struct {
	order   []int // into the records; who is paused is not in it
	last    []int // those whose breaker is open: only if nobody else has an answer
	width   int   // of order, at once
	explore int   // one more of order to ask at once; -1: none
}

// choose ranks the mirrors of a tier for content of so many bytes. It draws on
// the budget if it wants to explore; b may be nil, then it does not.
func choose(records []Record, now time.Time, width int, size float64, b *budget) choice {
	c := choice{explore: -1}
	var probes []int
	for i, r := range records {
		switch r.breaker(now) {
		case closed:
			c.order = append(c.order, i)
		case halfOpen:
			probes = append(probes, i)
		case open:
			c.last = append(c.last, i)
		}
	}
	costs := expect(records, now, size)
	slices.SortStableFunc(c.order, func(a, b int) int { return cmp.Compare(costs[a], costs[b]) })
	settled := len(c.order)
	c.order = append(c.order, probes...) // behind those that are well
	switch {
	case settled == 0:
		c.width = min(width, len(c.order))
	case records[c.order[0]].known(now):
		c.width = 1
		if b != nil {
			c.explore = explore(records, c.order[1:], now, b)
		}
	default:
		c.width = min(width, settled)
	}
	return c
}

// expect is what each mirror may cost. One that is not known well is doubted;
// one that is not known at all stands behind the best of those that are, and
// before those that are much worse.
func expect(records []Record, now time.Time, size float64) []time.Duration {
	var fastest float64 // also the hope for those whose rate is not known, so that it will be
	for _, r := range records {
		if r.rated() {
			fastest = max(fastest, r.Rate)
		}
	}
	costs := make([]time.Duration, len(records))
	var best time.Duration
	for i, r := range records {
		costs[i] = r.cost(size, fastest)
		if r.known(now) && (best == 0 || costs[i] < best) {
			best = costs[i]
		}
	}
	for i, r := range records {
		switch {
		case r.known(now):
		case r.Weight < 0.5:
			costs[i] += 2 * best
		default:
			costs[i] += costs[i] / 2
		}
	}
	return costs
}

// explore picks who of the others is to be tried again: the one that is known
// least, then the one that was asked longest ago.
func explore(records []Record, others []int, now time.Time, b *budget) int {
	pick := -1
	for _, i := range others {
		r := records[i]
		if now.Sub(r.Asked) < exploreEvery {
			continue
		}
		if pick < 0 || r.known(now) != records[pick].known(now) && !r.known(now) ||
			r.known(now) == records[pick].known(now) && r.Asked.Before(records[pick].Asked) {
			pick = i
		}
	}
	if pick < 0 || !take(&b.explorations) {
		return -1
	}
	return pick
}

// hedgeAfter is how long to wait for a mirror before another is asked beside it,
// if the budget allows, and before one is asked whatever it allows.
func hedgeAfter(r Record, now time.Time, stagger time.Duration) (hedge, rescue time.Duration) {
	hedge = stagger
	if r.known(now) {
		hedge = min(r.late(), patience)
	}
	return hedge, min(max(stagger, 2*hedge), max(patience, stagger))
}

// crawls reports whether a body that comes at rate, in bytes a second, would be
// had much sooner from another mirror. It is judged by what the others' records
// promise; of those that promise nothing, by what the body itself has done at
// its peak. But if other bodies fill the line now, it may be only that.
func crawls(others []Record, now time.Time, rate, peak, elsewhere float64, left int64) bool {
	const (
		much   = 5  // times faster, as a record says
		hoped  = 10 // times faster, as hope says
		enough = time.Second
	)
	if float64(left) < rate*enough.Seconds() {
		return false
	}
	for _, r := range others {
		promise, times := peak, float64(hoped)
		if r.aged(now).rated() {
			promise, times = r.Rate, much
		}
		if r.breaker(now) == closed && rate*times < promise && elsewhere < promise/2 {
			return true
		}
	}
	return false
}
