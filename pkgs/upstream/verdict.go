package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// defaultRetryAfter is what clients of busy mirrors are told that do not say themselves.
const defaultRetryAfter = 5 * time.Second

// verdict weighs what all candidates said when none was good. A failure never
// becomes a 404: clients would believe it, and not ask again. So 404, 410 and
// 403 need all mirrors to agree; only one that has long been failing, or has
// asked to be left alone, has no vote.
func (r *race) verdict(ctx context.Context) (*exchange.Response, error) {
	if ctx.Err() != nil {
		return nil, interrupted(ctx, r.req)
	}
	if r.held != nil {
		return r.held.response(), nil
	}
	votes := r.votes()
	all := func(o outcome) bool {
		return !slices.ContainsFunc(votes, func(l *leg) bool { return l.outcome != o })
	}
	if all(absent) || all(forbidden) {
		answer := votes[0]
		for _, l := range votes {
			if l.entry.Status == http.StatusNotFound { // less final than a 410
				answer = l
				break
			}
		}
		return answer.response(), nil
	}
	e := &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has a good answer", Err: r.causes()}
	if all(timedOut) {
		e.Status, e.Message = http.StatusGatewayTimeout, "no mirror answered in time"
	}
	some := func(o outcome) bool {
		return slices.ContainsFunc(votes, func(l *leg) bool { return l.outcome == o })
	}
	for _, l := range votes {
		if l.outcome == busy && !some(absent) && !some(forbidden) {
			e.Status, e.Message = http.StatusServiceUnavailable, "the mirrors are busy"
			if l.retryAfter > 0 && (e.RetryAfter == 0 || l.retryAfter < e.RetryAfter) {
				e.RetryAfter = l.retryAfter
			}
		}
	}
	if e.Status == http.StatusServiceUnavailable && e.RetryAfter == 0 {
		e.RetryAfter = defaultRetryAfter
	}
	return nil, e
}

// votes are the reports that count.
func (r *race) votes() []*leg {
	votes := make([]*leg, 0, len(r.lost))
	for _, l := range r.lost {
		if l.err != errPaused && (!l.transport || l.mirror.healthy()) {
			votes = append(votes, l)
		}
	}
	if len(votes) == 0 {
		return r.lost
	}
	return votes
}

// unanimous reports whether all mirrors have so far said that there is no such
// thing, or all that it is not for us.
func (r *race) unanimous() bool {
	votes := r.votes()
	if len(votes) == 0 || votes[0].outcome != absent && votes[0].outcome != forbidden {
		return false
	}
	return !slices.ContainsFunc(votes, func(l *leg) bool { return l.outcome != votes[0].outcome })
}

// causes joins what every mirror failed of, for the log.
func (r *race) causes() error {
	errs := make([]error, len(r.lost))
	for i, l := range r.lost {
		errs[i] = fmt.Errorf("%s: %w", l.mirror.base, l.err)
	}
	return fmt.Errorf("ask upstream for %v: %w", r.req.Key, errors.Join(errs...))
}

// interrupted is the error of a Get whose caller gave up.
func interrupted(ctx context.Context, req *exchange.Request) error {
	cause := context.Cause(ctx)
	e := &exchange.Error{Status: http.StatusBadGateway, Err: fmt.Errorf("ask upstream for %v: %w", req.Key, cause)}
	if errors.Is(cause, context.DeadlineExceeded) {
		e.Status = http.StatusGatewayTimeout
	}
	return e
}
