package upstream

import (
	"cmp"
	"slices"
	"time"
)

const (
	minPart   = 256 << 10              // less is not worth a request
	stealCost = 256 << 10              // what may be on its way, of a part that is taken over
	tardy     = 300 * time.Millisecond // a part that takes no longer is left alone
	slower    = 4                      // times slower than the fastest, and a lane works from the end
	hopeless  = 2.0                    // seconds: such a part of one so slow is taken over whatever that costs
)

// A span is some content that nobody fetches yet.
type span struct{ from, end int64 }

// A part is content that a lane fetches.
type part struct {
	lane    *lane
	from    int64
	at, end int64 // what is before at has come; end moves when a part is taken over
	began   time.Time
	moved   time.Time // the last byte
	recent  float64   // bytes a second over the last window that is over; 0: there was none
	window  time.Time // when the current one began
	mark    int64     // at then
	first   bool      // of the body that is the whole
	stalled bool      // why it was taken over

	leg  *leg // that brings it; nil before the head
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	stop func() // ends asking and reading
}

// parts are who fetches what. It does no I/O; callers hold the stripe's mutex.
type parts struct {
	gaps   []span // sorted, apart
	active []*part
	size   int64   // of a part, at most
	left   int64   // bytes in all
	steals float64 // bytes that taking over may still cost
}

func newParts(gaps []span, size int64) parts {
	left := int64(0)
	for _, g := range gaps {
		left += g.end - g.from
	}
	return parts{gaps: gaps, size: size, left: left, steals: float64(left) * 0.02}
}

// begin is the part of the body that is open, at an offset where something is missing.
func (x *parts) begin(l *lane, at int64) *part {
	i := slices.IndexFunc(x.gaps, func(g span) bool { return at < g.end })
	return x.take(l, i, at, x.size, time.Now())
}

// take makes a part of gap i, from an offset in it.
func (x *parts) take(l *lane, i int, from, n int64, now time.Time) *part {
	g := x.gaps[i]
	end := from + n
	if g.end-end < minPart {
		end = g.end
	}
	var rest []span
	if g.from < from {
		rest = append(rest, span{g.from, from})
	}
	if end < g.end {
		rest = append(rest, span{end, g.end})
	}
	x.gaps = slices.Replace(x.gaps, i, i+1, rest...)
	return x.add(l, from, end, now)
}

func (x *parts) add(l *lane, from, end int64, now time.Time) *part {
	p := &part{lane: l, from: from, at: from, end: end, began: now, moved: now, window: now, mark: from, stop: func() {}}
	x.active = append(x.active, p)
	return p
}

// extend moves a part's end on into the gap behind it.
func (x *parts) extend(p *part) bool {
	i := slices.IndexFunc(x.gaps, func(g span) bool { return g.from == p.end })
	if i < 0 {
		return false
	}
	g := x.gaps[i]
	p.end = min(g.from+x.size, g.end)
	if x.gaps[i].from = p.end; p.end == g.end {
		x.gaps = slices.Delete(x.gaps, i, i+1)
	}
	return true
}

// finish takes a part out. What did not come of it is a gap again.
func (x *parts) finish(p *part, now time.Time) {
	x.active = slices.DeleteFunc(x.active, func(o *part) bool { return o == p })
	if took, n := now.Sub(p.began), p.at-p.from; n >= stealCost/4 && took > 0 {
		rate := float64(n) / took.Seconds()
		if p.lane.rate > 0 {
			rate = (rate + p.lane.rate) / 2
		}
		p.lane.rate = rate
	}
	if p.at >= p.end {
		return
	}
	x.gaps = append(x.gaps, span{p.at, p.end})
	slices.SortFunc(x.gaps, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := len(x.gaps) - 1; i > 0; i-- {
		if x.gaps[i-1].end == x.gaps[i].from {
			x.gaps[i-1].end = x.gaps[i].end
			x.gaps = slices.Delete(x.gaps, i, i+1)
		}
	}
}

// claim is what a lane fetches next: what a reader waits for, else the lowest
// gap, else what another lane would be long about; nil: nothing, for now.
func (x *parts) claim(l *lane, wanted int64, all, proved bool, now time.Time) *part {
	n := x.size
	switch {
	case all:
		n *= 8
	case l.rate > 0:
		n = min(n, max(int64(l.rate), minPart)) // a second's worth
	}
	slow := l.rate > 0 && l.rate*slower < x.fastest(now)
	if wanted >= 0 && !slow {
		if i := slices.IndexFunc(x.gaps, func(g span) bool { return g.from <= wanted && wanted < g.end }); i >= 0 {
			return x.take(l, i, wanted, n, now)
		}
		for _, p := range x.active {
			if p.at <= wanted && wanted < p.end && p.takes(now) > 2*float64(p.end-p.at)/max(l.rate, 1) {
				if stolen := x.steal(l, p, proved, now); stolen != nil {
					return stolen
				}
			}
		}
	}
	if len(x.gaps) > 0 {
		i, from := 0, x.gaps[0].from
		if slow { // the beginning is for those who have it soon
			i = len(x.gaps) - 1
			from = max(x.gaps[i].from, x.gaps[i].end-n)
		}
		return x.take(l, i, from, n, now)
	}
	var last *part
	for _, p := range x.active {
		if p.lane != l && (last == nil || p.takes(now) > last.takes(now)) {
			last = p
		}
	}
	if last == nil {
		return nil
	}
	return x.steal(l, last, proved, now)
}

// fastest is the best rate of all lanes that fetch.
func (x *parts) fastest(now time.Time) (best float64) {
	for _, p := range x.active {
		best = max(best, p.lane.rate, p.rate(now))
	}
	return best
}

// advance notes that a part has come up to an offset.
func (p *part) advance(at int64, now time.Time) {
	p.at, p.moved = at, now
	if d := now.Sub(p.window); d >= paceWindow {
		p.recent, p.window, p.mark = float64(at-p.mark)/d.Seconds(), now, at
	}
}

// rate is how fast a part comes of late, in bytes a second; that of its lane while
// it is new, 0 if it does not come at all.
func (p *part) rate(now time.Time) float64 {
	waiting := p.leg != nil && p.leg.waiting.Load() // for us, not for the mirror
	took := now.Sub(p.began)
	switch {
	case now.Sub(p.moved) >= stalled && !waiting:
		return 0
	case took < tardy && p.lane.rate > 0:
		return p.lane.rate
	}
	if p.recent > 0 {
		if d := now.Sub(p.window); d >= tardy {
			return float64(p.at-p.mark) / d.Seconds()
		}
		return p.recent
	}
	return float64(p.at-p.from) / max(took, time.Millisecond).Seconds()
}

// takes is how many seconds a part will still take.
func (p *part) takes(now time.Time) float64 {
	if p.at >= p.end {
		return 0
	}
	return float64(p.end-p.at) / max(p.rate(now), 1)
}

// steal takes over as much of a part as lets both lanes end at the same time;
// nil if that is not worth it.
func (x *parts) steal(l *lane, p *part, proved bool, now time.Time) *part {
	left, own, theirs := p.end-p.at, l.rate, p.rate(now)
	if own == 0 {
		own = max(theirs, x.fastest(now), 1)
	}
	hangs := theirs == 0 && now.Sub(p.moved) >= stalled
	young := now.Sub(p.began) < tardy && !hangs
	if left <= 0 || p.lane == l || p.first && !proved || young || p.takes(now) < tardy.Seconds() {
		return nil
	}
	share := int64(float64(left) * own / (own + theirs))
	if left-share < minPart {
		share = left
	}
	if !hangs {
		lost := theirs*slower < own && p.takes(now) > hopeless
		if !lost && (share < minPart || x.steals < stealCost) {
			return nil
		}
		x.steals = max(x.steals-stealCost, 0)
	}
	end := p.end
	p.end -= share
	if p.at >= p.end {
		p.stalled = hangs
		p.stop()
		if p.body != nil {
			go p.body.Close()
		}
	}
	return x.add(l, end-share, end, now)
}
