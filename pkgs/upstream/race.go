package upstream

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	// patience is how long a tier may go without progress before the next one joins.
	patience = 2 * time.Second

	// grace is how much longer than its race a leg may wait for its head, so
	// that its mirror's record learns how long that takes.
	grace = time.Second
)

var (
	// errLost is why a leg is cancelled that did not win. It says nothing about the mirror.
	errLost = errors.New("another mirror was faster")

	errPaused = errors.New("the mirror wants to be left alone")
)

// A race is one Get: legs start tier by tier, in mode Adaptive one by one in
// each, and report once; settle decides after each report. All of it runs on
// Get's goroutine, so there is no lock; only the legs themselves run beside it.
type race struct {
	group      *Group
	req        *exchange.Request
	mode       string
	rest       *continuation // of a body, where that is what is asked for
	all        [][]candidate
	tiers      [][]candidate // not yet asked
	candidates int           // in all

	queue []candidate // of the tier that is asked, those who wait
	last  []candidate // with an open breaker, of all tiers so far

	reports chan *leg     // from each leg, once, unless over is closed
	over    chan struct{} // closed when run returns

	timer   *time.Timer // until the next one is asked
	started time.Time   // the last leg
	rescue  time.Duration

	legs    []*leg // started
	pending int    // started, and not yet reported
	moved   int64  // progress of all legs at the last look
	held    *leg   // a 304 that nothing vouches for: the answer if there is no better one
	winner  *leg
	lost    []*leg // reported without an answer to use

	began   time.Time
	running atomic.Int32 // run, and legs beside it: whoever ends last tells of the race
}

func (r *race) run(ctx context.Context) (*exchange.Response, error) {
	if r.candidates == 1 { // nobody to race with, so neither goroutines nor spools
		c := r.tiers[0][0]
		if r.resting(c) {
			return r.verdict(ctx)
		}
		l := r.newLeg(ctx, c)
		l.run()
		if r.settle(l) {
			return r.response(ctx, l), nil
		}
		return r.verdict(ctx)
	}

	r.reports, r.over = make(chan *leg), make(chan struct{})
	r.began = time.Now()
	r.running.Add(1)
	defer r.ended()
	defer close(r.over)
	r.timer = time.NewTimer(patience)
	defer r.timer.Stop()
	r.join(ctx)
	for r.pending > 0 {
		select {
		case l := <-r.reports:
			r.pending--
			l.reported = true
			if r.settle(l) {
				r.dismiss(l)
				return r.response(ctx, l), nil
			}
			if r.follow(ctx, l); r.agreed() {
				r.dismiss(nil)
				return r.verdict(ctx)
			}
		case <-r.timer.C:
			r.widen(ctx)
		case <-ctx.Done():
			r.dismiss(nil)
			return nil, interrupted(ctx, r.req)
		}
	}
	return r.verdict(ctx)
}

// join starts the next tier, or at the end those with an open breaker, and
// reports whether there was anybody.
func (r *race) join(ctx context.Context) bool {
	for len(r.tiers) > 0 {
		tier := r.tiers[0]
		r.tiers = r.tiers[1:]
		if r.begin(ctx, tier) {
			return true
		}
	}
	last := r.last
	r.last = nil
	if len(r.lost) > 0 && r.unanimous() { // those who have no vote are not worth the wait
		last = slices.DeleteFunc(last, func(c candidate) bool { return !c.mirror.healthy() })
	}
	for _, c := range last {
		r.start(ctx, c)
	}
	return len(last) > 0
}

// begin asks the first of a tier.
func (r *race) begin(ctx context.Context, tier []candidate) bool {
	if r.mode == All {
		for _, c := range tier {
			r.start(ctx, c)
		}
		return true
	}
	tier = slices.DeleteFunc(slices.Clone(tier), r.resting)
	c := r.group.league.choose(tier, time.Now(), r.group.options.Race.Width, r.req.Size, r.rest == nil)
	for _, i := range c.last {
		r.last = append(r.last, tier[i])
	}
	if v := r.req.Validate; v != nil && !strong(v.Header.Get("Etag")) { // only its own mirror can vouch for it
		if at := slices.IndexFunc(c.order, func(i int) bool { return tier[i].mirror.base == v.Mirror }); at > 0 {
			own := c.order[at]
			c.order = slices.Insert(slices.Delete(c.order, at, at+1), 0, own)
			if c.explore == own {
				c.explore = -1
			}
		}
	}
	for n, i := range c.order {
		switch {
		case n < c.width:
			r.start(ctx, tier[i])
		case i != c.explore:
			r.queue = append(r.queue, tier[i])
		}
	}
	if c.explore >= 0 {
		r.group.league.count(func(s *Stats) { s.Explorations++ })
		r.start(ctx, tier[c.explore])
		r.schedule(tier[c.order[0]].mirror) // who is explored has time
	}
	return len(c.order) > 0
}

// resting reports whether a mirror is not to be asked now, by its own word. It
// counts as if it had been asked and said so again.
func (r *race) resting(c candidate) bool {
	if r.mode == All {
		return false
	}
	d := time.Until(c.mirror.standing.record().Pause)
	if d <= 0 {
		return false
	}
	r.lost = append(r.lost, &leg{candidate: c, outcome: busy, retryAfter: d.Truncate(time.Second) + time.Second, err: errPaused})
	return true
}

// start asks a candidate.
func (r *race) start(ctx context.Context, c candidate) {
	l := r.newLeg(ctx, c)
	r.pending++
	r.schedule(c.mirror)
	r.running.Add(1)
	r.group.legs.Go(func() { // ends with its report, or soon after the race is over
		defer r.ended()
		l.run()
		select {
		case r.reports <- l:
		case <-r.over:
			l.linger()
			l.discard()
		}
	})
}

// schedule says when the mirror that was just asked is late.
func (r *race) schedule(m *mirror) {
	r.started = time.Now()
	wait := patience
	if len(r.queue) > 0 || r.mode == Adaptive {
		wait, r.rescue = hedgeAfter(m.standing.record(), r.started, r.group.options.Race.Stagger)
	}
	r.timer.Reset(wait)
}

// widen asks one more, because those asked so far keep us waiting.
func (r *race) widen(ctx context.Context) {
	waited := time.Since(r.started)
	switch {
	case len(r.queue) > 0 && (waited >= r.rescue || r.rest != nil || r.group.league.hedge()):
		c := r.queue[0]
		r.queue = r.queue[1:]
		r.group.league.count(func(s *Stats) { s.Hedges++ })
		c.mirror.standing.count(func(s *MirrorStats) { s.Hedges++ })
		r.start(ctx, c)
	case len(r.queue) > 0:
		r.timer.Reset(r.rescue - waited)
	case waited < patience:
		r.timer.Reset(patience - waited)
	default:
		r.timer.Reset(patience)
		if !r.progress() {
			r.join(ctx)
		}
	}
}

// follow asks who comes next after a leg that brought nothing to use: another
// one for a failure; all for what they must agree on or vouch for.
func (r *race) follow(ctx context.Context, l *leg) {
	n := min(1, len(r.queue))
	switch l.outcome {
	case absent, forbidden, doubtful:
		n = len(r.queue)
	}
	next := r.queue[:n]
	r.queue = r.queue[n:]
	for _, c := range next {
		r.start(ctx, c)
	}
	if r.pending == 0 && r.held == nil {
		r.join(ctx)
	}
}

// agreed reports whether the verdict is clear though some legs run: those of
// mirrors that have no vote.
func (r *race) agreed() bool {
	if r.pending == 0 || len(r.queue) > 0 || len(r.tiers) > 0 || len(r.last) > 0 || r.held != nil || !r.unanimous() {
		return false
	}
	return r.mode != All && !slices.ContainsFunc(r.legs, func(l *leg) bool { return !l.reported && l.mirror.healthy() })
}

func (r *race) newLeg(ctx context.Context, c candidate) *leg {
	l := &leg{candidate: c, options: &r.group.options, req: r.req, rest: r.rest}
	if r.mode == All && r.candidates > 1 && !r.req.Head {
		l.firstChunk = l.options.Race.FirstChunk
	}
	if r.mode == Adaptive && r.candidates > 1 {
		l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
		l.detach = context.AfterFunc(ctx, func() { l.cancel(context.Cause(ctx)) })
	} else {
		l.ctx, l.cancel = context.WithCancelCause(ctx)
	}
	r.legs = append(r.legs, l)
	now := time.Now()
	c.mirror.standing.note(func(r Record) Record { return r.asked(now) })
	c.mirror.standing.count(func(s *MirrorStats) { s.Requests++ })
	r.group.league.count(func(s *Stats) { s.Asked++ })
	l.log(ctx, slog.LevelDebug, "asking mirror", nil)
	return l
}

// settle takes a leg's report, and reports whether it ends the race.
func (r *race) settle(l *leg) bool {
	switch l.outcome {
	case good, notModified:
		return true
	case doubtful:
		if r.held == nil {
			r.held = l
		}
	default:
		r.lost = append(r.lost, l)
		l.log(l.ctx, slog.LevelDebug, "mirror lost", l.err)
	}
	return false
}

// response is the winner's.
func (r *race) response(ctx context.Context, l *leg) *exchange.Response {
	r.winner = l
	if r.rest != nil {
		return l.response()
	}
	now := time.Now()
	l.mirror.standing.count(func(s *MirrorStats) { s.Wins++ })
	if l.outcome == good && l.entry.Status == http.StatusOK && !r.req.Head && r.req.Post == nil {
		r.group.league.sized(l.entry.Size)
		r.group.league.sampled(r.req, l.entry.Size)
		for _, other := range r.lost {
			switch other.outcome {
			case absent, forbidden, refused:
				other.mirror.standing.note(func(r Record) Record { return r.lacks(now) })
			}
		}
	}
	res := l.response()
	if l.outcome == good {
		if y := r.newRelay(ctx, l); y != nil {
			res.Body, res.From = y, l.from
			if l.from > 0 || !deniesRanges(l.entry.Header) {
				res.Ranges = y
			}
		}
	}
	return res
}

// progress reports whether any leg moved on since the last call.
func (r *race) progress() bool {
	var sum int64
	for _, l := range r.legs {
		sum += l.received.Load()
	}
	moved := sum > r.moved
	r.moved = sum
	return moved
}

// dismiss ends all legs but the winner. Those that still run close what they
// have themselves, the ones that may tell their mirror's record something a
// little later.
func (r *race) dismiss(winner *leg) {
	for _, l := range r.legs {
		if l != winner && !l.reported {
			l.release(r.group.league.over)
		}
	}
}
