package upstream

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	settling  = 50 * time.Millisecond  // what has come before the first mirror is measured does not count
	alone     = 150 * time.Millisecond // it is read alone, to see what the line brings from one
	joining   = 250 * time.Millisecond // until the others bring what they can
	trial     = time.Second            // over which it is measured what they add
	worth     = 1.2                    // times as much, or one goes on alone
	reviewed  = 100 * time.Millisecond // how often those who have nothing to do look whether a part lags
	flagging  = 500 * time.Millisecond // over which it is measured whether the one that goes on alone still fills the line
	laneLives = 3                      // transport failures of one mirror, each after some bytes
)

// errNobody ends a striped transfer.
var errNobody = fmt.Errorf("no mirror has the rest: %w", io.ErrUnexpectedEOF)

// Striped says that the content is large and that at least two mirrors of the
// first one's tier are well, which a validator or a digest lets go on.
func (y *relay) Striped() bool {
	min := y.group.options.Race.Stripe.MinSize
	return min > 0 && y.rest.size >= min && y.ranges && y.rest.anywhere() && len(y.peers()) > 0
}

// missing are the spans that have to be brought.
func (y *relay) missing() []span {
	if y.gaps == nil {
		return []span{{y.off, y.rest.size}}
	}
	gaps := make([]span, len(y.gaps))
	for i, g := range y.gaps {
		gaps[i] = span{g.From, g.To}
	}
	return gaps
}

// peers are the other mirrors of the tier that has answered, best first.
func (y *relay) peers() (others []candidate) {
	if !y.rest.anywhere() {
		return nil
	}
	y.mu.Lock()
	own := y.leg.mirror
	y.mu.Unlock()
	for _, tier := range y.tiers {
		if !slices.ContainsFunc(tier, func(c candidate) bool { return c.mirror == own }) {
			continue
		}
		o := &y.group.options.Race
		for _, i := range y.group.league.choose(tier, time.Now(), o.Stripe.Width, y.rest.size, false).order {
			if tier[i].mirror != own {
				others = append(others, tier[i])
			}
		}
	}
	return others
}

// A stripe is a body that comes in parts. Each lane is a mirror and a goroutine:
// it claims a part, fetches it, and claims the next one. When no part is left, a
// lane takes over what a slower one would be long about.
type stripe struct {
	relay   *relay
	ctx     context.Context // of this transfer; bound to one request
	cancel  context.CancelFunc
	w       io.WriterAt
	arrived func(off, n int64)
	wanted  func() int64

	mu     sync.Mutex
	moved  chan struct{} // closed and replaced when there may be something to claim; guarded by mu, like all below
	plan   parts
	lanes  []*lane     // that have a mirror
	spare  []candidate // of the tier
	proved bool        // another mirror than the first has the rest
	only   *lane       // the others rest, because the line is full; nil: none does
	full   float64     // bytes a second of the full line
	looked time.Time   // when it was last measured what only brings
	before int64       // got then
	got    int64       // bytes written
	err    error       // why it ends early
}

// CopyParts implements [exchange.Ranges]. The first mirror's body, which is open
// already, is the beginning, and is not let go before another one has shown
// that it has parts. Errors of w are returned as they are.
func (y *relay) CopyParts(ctx context.Context, w io.WriterAt, arrived func(off, n int64), wanted func() int64) error {
	if y.gaps == nil && y.ahead > 0 && !y.Striped() {
		return y.copyBegun(ctx, w, arrived, wanted)
	}
	o := y.group.options.Race.Stripe
	y.group.league.count(func(s *Stats) { s.Stripes++ })
	s := &stripe{relay: y, w: w, arrived: arrived, wanted: wanted, moved: make(chan struct{}), spare: y.peers()}
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	stop := context.AfterFunc(y.ctx, s.cancel)
	defer stop()
	y.mu.Lock()
	leg, body := y.leg, y.body
	y.mu.Unlock()
	begins := max(y.off, y.ahead)
	s.plan, s.proved = newParts(y.missing(), o.Part), y.gaps != nil || y.ahead > 0
	y.ahead = 0
	closing := context.AfterFunc(s.ctx, func() { body.Close() })
	defer closing()

	var running sync.WaitGroup
	run := func(c candidate, open func(*lane) *part) {
		l := &lane{candidate: c, lives: laneLives}
		s.mu.Lock()
		s.lanes = append(s.lanes, l)
		var p *part
		if open != nil {
			p = open(l)
		}
		s.mu.Unlock()
		running.Go(func() { s.run(l, p) }) // ends with the transfer
	}
	run(leg.candidate, func(l *lane) *part {
		p := s.plan.begin(l, begins)
		p.leg, p.body, p.first = leg, body, true
		return p
	})
	base := s.measure(settling, alone)
	for range o.Width - 1 {
		s.mu.Lock()
		c, ok := s.next()
		s.mu.Unlock()
		if ok {
			run(c, nil)
		}
	}
	s.judge(base, s.measure(joining, trial))
	tick := time.NewTicker(reviewed)
	defer tick.Stop()
	for s.ctx.Err() == nil {
		select {
		case <-tick.C:
			s.review(time.Now())
		case <-s.ctx.Done():
		}
	}
	running.Wait()
	return s.result(ctx)
}

// result is how it has ended.
func (s *stripe) result(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case s.plan.left == s.got:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return errClosed
}

// measure is how many bytes a second come, after a while.
func (s *stripe) measure(after, window time.Duration) float64 {
	was := int64(0)
	for _, d := range [...]time.Duration{after, window} {
		s.mu.Lock()
		was = s.got
		s.mu.Unlock()
		select {
		case <-time.After(d):
		case <-s.ctx.Done():
			return 0
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return float64(s.got-was) / window.Seconds()
}

// judge lets the fastest go on alone if all together are no faster than one was.
func (s *stripe) judge(one, all float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || !s.proved || len(s.lanes) < 2 || all >= one*worth {
		return
	}
	s.only = slices.MaxFunc(s.lanes, func(a, b *lane) int { return int(a.rate - b.rate) })
	s.full, s.looked, s.before = all, time.Now(), s.got
	s.relay.group.league.count(func(s *Stats) { s.Alone++ })
	s.relay.group.options.Log.Debug("one mirror fills the line", slog.String("key", s.relay.req.Key.String()),
		slog.String("mirror", s.only.mirror.base))
}

// next takes a spare mirror. mu is held.
func (s *stripe) next() (c candidate, ok bool) {
	if len(s.spare) == 0 {
		return c, false
	}
	c, s.spare = s.spare[0], s.spare[1:]
	return c, true
}

// review lets those who have nothing to do look again, and those who rest come
// back when the one that goes on alone does not fill the line any more.
func (s *stripe) review(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := now.Sub(s.looked); s.only != nil && d >= flagging {
		if float64(s.got-s.before) < s.full/2*d.Seconds() {
			s.only = nil
		}
		s.looked, s.before = now, s.got
	}
	s.woken()
}

// woken makes lanes look again. mu is held.
func (s *stripe) woken() {
	close(s.moved)
	s.moved = make(chan struct{})
}
