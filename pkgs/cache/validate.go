package cache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// stored is an entry that is not fresh, with its content and how far it may be used.
type stored struct {
	entry   *exchange.Entry
	body    io.ReadCloser
	verdict freshness.Verdict
	left    time.Duration
}

// stale is the response from what is stored, though it is not fresh.
func (s stored) stale(req *exchange.Request, o exchange.Outcome) *exchange.Response {
	o.Stale, o.TTL, o.HasTTL = true, s.left, true
	return &exchange.Response{Entry: s.entry, Body: content(req, s.body), Outcome: o}
}

// How long an entry whose validation failed answers without another try: the
// first pause, doubled at each failure up to the last.
const (
	firstBackoff = 2 * time.Second
	lastBackoff  = time.Minute
)

// validate answers from a stale entry and the flight that validates it (RFC
// 9111 §4.3). It takes s.body over.
func (c *Cache) validate(ctx context.Context, next exchange.Source, req *exchange.Request, s stored) (*exchange.Response, error) {
	usable := s.verdict != freshness.Dead
	if _, _, ok := c.backoff.get(req.Key, c.now()); ok && usable {
		return s.stale(req, exchange.Outcome{Hit: true, Detail: "back-off"}), nil
	}
	if n, left, ok := c.negative.get(req.Key, c.now()); ok {
		s.body.Close()
		return n.response(left), nil
	}
	f, r, leader := c.join(ctx, next, req, s.entry, 0)
	if f == nil {
		if usable {
			return s.stale(req, exchange.Outcome{Hit: true, Detail: "overload"}), nil
		}
		s.body.Close()
		return c.forward(ctx, next, req, exchange.FwdStale)
	}
	if s.verdict == freshness.StaleUsable {
		r.leave()
		return s.stale(req, exchange.Outcome{Hit: true, Detail: "while-revalidate"}), nil
	}
	var spent <-chan time.Time
	if usable && req.Policy.Budget > 0 {
		t := time.NewTimer(req.Policy.Budget)
		defer t.Stop()
		spent = t.C
	}
	select {
	case <-f.head:
	case <-spent:
		r.leave()
		return s.stale(req, exchange.Outcome{Fwd: exchange.FwdStale, Detail: "timeout"}), nil
	case <-ctx.Done():
		r.leave()
		s.body.Close()
		return nil, context.Cause(ctx)
	}
	o := exchange.Outcome{Fwd: exchange.FwdStale, Collapsed: !leader}
	switch {
	case f.freshens(s.entry):
		r.Close()
		o.FwdStatus = http.StatusNotModified
		_, o.TTL = req.Policy.Judge(f.entry.Received, c.now())
		o.HasTTL = true
		return &exchange.Response{Entry: f.entry, Body: content(req, s.body), Outcome: o}, nil
	case f.refused() && usable:
		// F15: a refusal is no reason to take content away that is at hand.
		r.Close()
		o.FwdStatus, o.Detail = f.status(), "upstream-failed"
		c.log.WarnContext(ctx, "stale entry answers, upstream cannot",
			"hub", req.Key.Hub, "key", req.Key.Path, "age", -s.left, "err", f.err)
		return s.stale(req, o), nil
	}
	s.body.Close()
	o.TTL, o.HasTTL = req.Policy.TTL, true
	return c.landed(ctx, next, req, f, r, o)
}

// freshens says, of a flight whose head is known, that it has validated e, and not
// what has taken its place since e was looked up: that one's entry is none for the
// content that was found with e.
func (f *flight) freshens(e *exchange.Entry) bool {
	return f.kind == freshened && f.entry.Key == e.Key && f.entry.Digest == e.Digest && f.entry.Size == e.Size
}

// postpone remembers that the key's validation failed, and how long not to try again.
func (c *Cache) postpone(key exchange.Key, err error) {
	now := c.now()
	pause := firstBackoff
	if last, ok := c.backoff.last(key); ok {
		pause = min(2*last, lastBackoff)
	}
	wait := pause
	var e *exchange.Error
	if errors.As(err, &e) && e.RetryAfter > wait {
		wait = e.RetryAfter
	}
	c.backoff.put(key, pause, now.Add(wait))
}
