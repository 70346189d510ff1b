package upstream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// patience is how long a tier may go without progress before the next one joins.
const patience = 2 * time.Second

// errLost is why a leg is cancelled that did not win. It says nothing about the mirror.
var errLost = errors.New("another mirror was faster")

// A race is one Get: legs start tier by tier and report once, and settle
// decides after each report. All of it runs on Get's goroutine, so there is no
// lock; only the legs themselves run beside it.
type race struct {
	group      *Group
	req        *exchange.Request
	tiers      [][]candidate // not yet asked
	candidates int

	reports chan *leg     // from each leg, once, unless over is closed
	over    chan struct{} // closed when run returns

	legs    []*leg // started
	pending int    // started, and not yet reported
	moved   int64  // progress of all legs at the last look
	held    *leg   // a 304 that nothing vouches for: the answer if there is no better one
	lost    []*leg // reported without an answer to use
}

func (r *race) run(ctx context.Context) (*exchange.Response, error) {
	if r.candidates == 1 { // nobody to race with, so neither goroutines nor spools
		l := r.newLeg(ctx, r.tiers[0][0])
		l.run()
		if r.settle(l) {
			return l.response(), nil
		}
		return r.verdict(ctx)
	}

	r.reports, r.over = make(chan *leg), make(chan struct{})
	defer close(r.over)
	r.join(ctx)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for r.pending > 0 {
		select {
		case l := <-r.reports:
			r.pending--
			if r.settle(l) {
				r.dismiss(l)
				return l.response(), nil
			}
			if r.pending == 0 && r.held == nil && r.join(ctx) {
				timer.Reset(patience)
			}
		case <-timer.C:
			if !r.progress() {
				r.join(ctx)
			}
			timer.Reset(patience)
		case <-ctx.Done():
			r.dismiss(nil)
			return nil, interrupted(ctx, r.req)
		}
	}
	return r.verdict(ctx)
}

// join starts the next tier, and reports whether there is one.
func (r *race) join(ctx context.Context) bool {
	if len(r.tiers) == 0 {
		return false
	}
	tier := r.tiers[0]
	r.tiers = r.tiers[1:]
	for _, c := range tier {
		l := r.newLeg(ctx, c)
		r.pending++
		r.group.legs.Go(func() { // ends with its report, or soon after the race is over
			l.run()
			select {
			case r.reports <- l:
			case <-r.over:
				l.discard()
			}
		})
	}
	return true
}

func (r *race) newLeg(ctx context.Context, c candidate) *leg {
	l := &leg{candidate: c, options: &r.group.options, req: r.req}
	if l.options.Race.Mode == All && r.candidates > 1 && !r.req.Head {
		l.firstChunk = l.options.Race.FirstChunk
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	r.legs = append(r.legs, l)
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

// dismiss cancels all legs but the winner. Those that still run close what they
// have themselves.
func (r *race) dismiss(winner *leg) {
	for _, l := range r.legs {
		if l != winner {
			l.cancel(errLost)
		}
	}
}
