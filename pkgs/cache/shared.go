package cache

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A sharing is what a flight knows of a response that says itself whether it is stored.
type sharing struct {
	cache     *Cache
	primary   exchange.Key // of the request
	requested time.Time
	request   http.Header  // that selected it
	vary      []string     // by these fields
	place     exchange.Key // under which it is stored
	kept      http.Header  // what is stored of its header
	whole     bool         // it is a 206 of all there is, and stored as the 200 that it is as good as
	alone     bool         // the flight is not on the table
	merged    exchange.Key // of a part that is in the content, to be deleted; zero: none
}

// late says whether the key was invalidated after the flight's request was made.
func (s *sharing) late() bool {
	at, _, ok := s.cache.outdated.get(s.primary, s.cache.now())
	return ok && !s.requested.After(at)
}

// matches says whether another request means the same response (§4.1).
func (s *sharing) matches(req *exchange.Request) bool {
	for _, name := range s.vary {
		a, hasA := freshness.Selected(s.request, name)
		b, hasB := freshness.Selected(req.Header, name)
		if a != b || hasA != hasB {
			return false
		}
	}
	return true
}

// claim gives e, about to be stored, its place; false if it was invalidated meanwhile.
func (s *sharing) claim(e *exchange.Entry) bool {
	if s.late() {
		return false
	}
	e.Key, e.Header = s.place, s.kept
	if s.whole {
		e.Status = http.StatusOK
	}
	if s.merged != (exchange.Key{}) {
		_ = s.cache.store.Delete(context.Background(), s.merged)
	}
	return true
}

// A question is what a flight asks for a transparent request.
type question struct {
	ask   *exchange.Request
	old   *exchange.Entry // that the ask would validate; nil: none
	alone bool            // the flight is not on the table
	rest  *rest           // of content whose beginning is stored, that the ask completes; nil: the whole is asked
}

// depart starts a flight, or joins the one that is on the table under key. No
// flight: the cache is closing, or too many wait.
func (c *Cache) depart(ctx context.Context, next exchange.Source, req *exchange.Request, key exchange.Key, q question) (f *flight, r *reader, leader bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f = cmp.Or(c.flights[key], c.selected[key]); f != nil && !q.alone {
		if r = f.attach(ctx); r != nil {
			return f, r, false
		}
		return nil, nil, false
	}
	if c.closed {
		return nil, nil, false
	}
	f = newFlight(c, req)
	f.key = key
	if !q.alone {
		c.flights[key] = f
	}
	r = f.attach(ctx)
	fly, cancel := context.WithCancelCause(c.carry(c.daemon, ctx))
	f.cancel = cancel
	c.wg.Go(func() {
		defer cancel(nil)
		f.roam(fly, next, q)
	})
	return f, r, true
}

// roam is run for a transparent request.
func (f *flight) roam(ctx context.Context, next exchange.Source, q question) {
	defer func() {
		if p := recover(); p != nil {
			f.cache.log.Error("flight panicked", "hub", f.key.Hub, "key", f.key.Path, "err", p, "stack", string(debug.Stack()))
			f.fail(&exchange.Error{Status: http.StatusInternalServerError, Err: fmt.Errorf("panic: %v", p)})
		}
		f.mu.Lock()
		f.over = true
		f.mu.Unlock()
		f.release()
	}()
	resp, err := next.Get(ctx, q.ask)
	if err == nil && q.rest != nil {
		resp, err = q.rest.complete(ctx, next, resp)
	}
	switch {
	case err != nil:
		f.lost(ctx, nil, err)
	case resp.Entry.Status == http.StatusNotModified && q.old != nil:
		resp.Body.Close()
		f.renew(ctx, q, resp.Entry)
	default:
		f.receive(ctx, next, q, resp)
	}
}

// receive takes a response that is none of a validation.
func (f *flight) receive(ctx context.Context, next exchange.Source, q question, resp *exchange.Response) {
	c, e := f.cache, resp.Entry
	request := q.ask.Header
	s := judged(e)
	unfit := resp.NoStore || c.object > 0 && e.Size > c.object
	if unfit || !s.Store(request) {
		// What one request alone forbids says nothing of the others.
		if e.Status != http.StatusNotModified && len(f.key.Path) <= maxPath && (unfit || !s.Store(nil)) {
			c.aloof.put(f.key, struct{}{}, c.now().Add(aloofTime))
		}
		if q.old != nil && (e.Status < http.StatusBadRequest || e.Status == http.StatusNotFound || e.Status == http.StatusGone) {
			_ = c.store.Delete(ctx, q.old.Key) // it is of the past
		}
		f.handOver(ctx, resp)
		return
	}
	f.shared = &sharing{cache: c, alone: q.alone, primary: q.ask.Key, requested: e.Requested, request: request, kept: s.Terms().Kept(e.Header)}
	if e.Status == http.StatusPartialContent {
		p, ok := partOf(q.ask, e)
		if !ok {
			f.shared = nil
			f.handOver(ctx, resp)
			return
		}
		f.shared.place = partKey(q.ask.Key)
		if p.Len() == p.Total { // RFC 9110 §15.3.7.3
			f.shared.whole, f.shared.place, f.shared.kept = true, q.ask.Key, combined(nil, f.shared.kept)
		} else if old, _, body, ok := c.stored206(ctx, q.ask.Key); ok {
			defer func() {
				c.combine(ctx, q.ask.Key, old, body)
				body.Close()
			}()
		}
	} else {
		f.shared.vary, _ = freshness.VaryFields(e.Header)
		sel := c.variants.add(ctx, q.ask.Key, f.shared.vary)
		f.shared.place = sel.place(q.ask.Key, f.shared.vary, request)
		f.found(sel.flightKey(q.ask))
		if q.rest != nil && q.rest.done {
			f.shared.merged = q.rest.key
		}
	}
	c.aloof.delete(f.key)
	_ = f.stream(ctx, next, q.ask, resp) // nothing is promised of the content, so it is not wrong
}

// found puts a flight on the table under the key that requests which say the same have
// from now on, since it is known what selects: until its response is stored they would
// find nothing.
func (f *flight) found(key exchange.Key) {
	c := f.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if key != f.key && c.flights[f.key] == f && c.flights[key] == nil && c.selected[key] == nil {
		f.selected, c.selected[key] = key, f
	}
}

// aloofTime is how long requests do not wait for each other after a response that
// could not be shared.
const aloofTime = 2 * time.Minute

// renew is a 304: the stored response is as fresh as that says (§4.3.4). The
// request named one response only, so it speaks of that one, whatever tag it bears.
func (f *flight) renew(ctx context.Context, q question, notModified *exchange.Entry) {
	f.entry = f.cache.freshen(ctx, q.old, notModified, q.ask.Header)
	f.decide(freshened)
}

// freshen is the stored response with what a 304, or a HEAD's answer, to a request
// with these fields says of it. So it is stored, if it still may be; where that
// cannot be done the answer holds, it is only not remembered.
func (c *Cache) freshen(ctx context.Context, old, news *exchange.Entry, request http.Header) *exchange.Entry {
	e := *old
	e.Header = freshness.Freshened(old.Header, news.Header)
	e.Requested, e.Received = news.Requested, news.Received
	var err error
	switch {
	case lasting(old, &e, request):
		err = c.store.Update(ctx, &e)
	case !lasting(old, &e, nil): // it is private by now, or other fields select it
		err = c.store.Delete(ctx, old.Key)
	}
	if err != nil {
		c.log.DebugContext(ctx, "validation not stored", "hub", old.Key.Hub, "key", old.Key.Path, "err", err)
	}
	return &e
}

// lasting says whether e, which is old with newer fields, may be stored in its
// place: as far as it says itself, and a request with these fields does.
func lasting(old, e *exchange.Entry, request http.Header) bool {
	before, _ := freshness.VaryFields(old.Header)
	now, any := freshness.VaryFields(e.Header)
	return !any && slices.Equal(before, now) && judged(e).Store(request)
}

// fetchShared answers a request for which nothing is stored.
func (c *Cache) fetchShared(ctx context.Context, next exchange.Source, req *exchange.Request, sel *selection, why exchange.Fwd) (*exchange.Response, error) {
	if req.Head {
		return verbatim(ctx, next, req, why) // a head alone is nothing to store
	}
	key := sel.flightKey(req)
	q := question{ask: req}
	// Who asks for less than the whole, or says who he is, gets an answer of his own.
	q.alone = !sharable(req.Header)
	if !q.alone {
		if p := c.rest(ctx, req); p != nil {
			q.ask, q.rest, why = p.ask(req), p, exchange.FwdPartial
		} else if _, _, ok := c.aloof.get(key, c.now()); ok {
			q.alone = true
		}
	}
	f, r, leader := c.depart(ctx, next, req, key, q)
	if f == nil {
		return verbatim(ctx, next, req, why)
	}
	select {
	case <-f.head:
	case <-ctx.Done():
		r.Close()
		return nil, context.Cause(ctx)
	}
	return c.arrived(ctx, next, req, f, r, leader, exchange.Outcome{Fwd: why, Collapsed: !leader})
}

// sharable says whether a request asks for the whole of what anybody gets.
func sharable(h http.Header) bool {
	for _, name := range [...]string{"Authorization", "Range", "If-None-Match", "If-Modified-Since", "If-Range"} {
		if h[name] != nil {
			return false
		}
	}
	asked := freshness.ParseRequest(h)
	return !asked.NoStore && !asked.NoCache
}

// arrived makes the response of a flight whose head is known, for a request that
// has nothing stored to fall back on; it takes r over.
func (c *Cache) arrived(ctx context.Context, next exchange.Source, req *exchange.Request, f *flight, r *reader, leader bool, o exchange.Outcome) (*exchange.Response, error) {
	switch f.kind {
	case failed:
		r.Close()
		return nil, f.err
	case unshared:
		defer r.Close()
		if !leader {
			return verbatim(ctx, next, req, o.Fwd)
		}
		resp := f.claim()
		if resp == nil {
			return nil, errAgain
		}
		resp.Outcome, resp.Verbatim = o, true
		resp.Body = content(req, resp.Body)
		return resp, nil
	case streaming:
		if leader {
			o.Stored = f.keeping()
			s := judged(f.entry)
			o.TTL, o.HasTTL = s.Terms().Lifetime-s.Age(c.now()), true
			resp := &exchange.Response{Entry: f.entry, Body: r, Outcome: o, Verbatim: true}
			if req.Head {
				r.leave()
				resp.Body = http.NoBody
			}
			return resp, nil
		}
		if use, ok := f.answers(req); ok {
			return f.response(req, r, use, o), nil
		}
		r.leave()
		if f.shared.matches(req) { // but it may not be reused
			return verbatim(ctx, next, req, o.Fwd)
		}
		return nil, errAgain // now it is known what selects
	}
	r.Close()
	return nil, errAgain
}
