package cache

import (
	"context"
	"errors"
	"io"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Requests of class [freshness.Transparent] are answered as a shared cache does
// that knows nothing of the origin (RFC 9111): what may be stored and reused is
// what the fields of request and response say. Package freshness judges; here is
// what comes of it.
//
//	transparent.go  from the request to the answer
//	variants.go     which stored responses a request may mean (§4.1)
//	shared.go       a transfer whose response decides itself what becomes of it
//	revalidate.go   answers by validation (§4.3), and when it fails (§4.2.4)
//	unsafe.go       the other methods, and what they invalidate (§4.4)
//	partial.go      parts of content (§3.4)

// A held is a stored response with its content, and how far it may answer a request.
type held struct {
	entry *exchange.Entry
	body  io.ReadCloser
	use   freshness.Reuse
}

func judged(e *exchange.Entry) freshness.Stored {
	return freshness.Stored{Status: e.Status, Header: e.Header, Requested: e.Requested, Received: e.Received}
}

// transparent answers a request with a Wire.
func (c *Cache) transparent(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	switch req.Wire.Method {
	case http.MethodGet, http.MethodHead:
	default:
		return c.unsafe(ctx, next, req)
	}
	if req.Header["If-Match"] != nil || req.Header["If-Unmodified-Since"] != nil {
		return verbatim(ctx, next, req, exchange.FwdRequest) // §4.3.2: for the origin to judge
	}
	for range 3 {
		resp, err := c.shared(ctx, next, req)
		if !errors.Is(err, errAgain) {
			return resp, err
		}
	}
	return verbatim(ctx, next, req, exchange.FwdURIMiss)
}

// verbatim passes the request on, and its answer back, beside the cache.
func verbatim(ctx context.Context, next exchange.Source, req *exchange.Request, why exchange.Fwd) (*exchange.Response, error) {
	resp, err := next.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	resp.Outcome.Fwd, resp.Verbatim = why, true
	return resp, nil
}

// shared answers a GET or HEAD once: from a transfer that is under way, from the
// store, by validation, or by a transfer.
func (c *Cache) shared(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	sel := c.variants.get(ctx, req.Key)
	if resp := c.follow(ctx, req, sel); resp != nil {
		return resp, nil
	}
	h, why := c.find(ctx, req, sel)
	if h == nil && req.Header["Range"] != nil && !req.Head { // RFC 9110 §14.2: ranges are GET's
		if resp := c.part(ctx, req); resp != nil {
			return resp, nil
		}
	}
	if h != nil && h.use.Verdict == freshness.Fresh {
		return h.hit(req, exchange.Outcome{Hit: true}), nil
	}
	if freshness.ParseRequest(req.Header).OnlyIfCached { // §5.2.1.7
		if h == nil {
			return nil, &exchange.Error{Status: http.StatusGatewayTimeout, Message: "not in the cache"}
		}
		if h.use.Verdict == freshness.StaleUsable {
			return h.hit(req, exchange.Outcome{Hit: true, Stale: true}), nil
		}
		h.body.Close()
		return nil, &exchange.Error{Status: http.StatusGatewayTimeout, Message: "not fresh in the cache"}
	}
	if h != nil {
		return c.revalidate(ctx, next, req, sel, h)
	}
	return c.fetchShared(ctx, next, req, sel, why)
}

// hit is the response from what is stored.
func (h *held) hit(req *exchange.Request, o exchange.Outcome) *exchange.Response {
	o.TTL, o.HasTTL = h.use.Left, true
	e := *h.entry
	if o.FwdStatus != http.StatusNotModified {
		e.Header = h.use.Terms.Withheld(e.Header)
	}
	return &exchange.Response{Entry: &e, Body: content(req, h.body), Outcome: o}
}

// follow answers from a transfer that is under way and whose response is known to
// be one that may be shared; nil if there is none.
func (c *Cache) follow(ctx context.Context, req *exchange.Request, sel *selection) *exchange.Response {
	key := sel.flightKey(req)
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[key]
	if f == nil {
		return nil
	}
	select {
	case <-f.head:
	default:
		return nil
	}
	use, ok := f.answers(req)
	if !ok {
		return nil
	}
	r := f.attach(ctx)
	if r == nil {
		return nil
	}
	return f.response(req, r, use, exchange.Outcome{Fwd: exchange.FwdURIMiss, Collapsed: true})
}

// answers says whether the response of a flight whose head is known may answer
// another request than the one that started it: it is stored, or would be, and
// fresh enough (§4).
func (f *flight) answers(req *exchange.Request) (freshness.Reuse, bool) {
	if f.kind != streaming || f.shared == nil || f.shared.late() || !f.shared.matches(req) {
		return freshness.Reuse{}, false
	}
	use := judged(f.entry).Reuse(req.Header, f.cache.now(), 0)
	return use, use.Verdict == freshness.Fresh
}

// response is what a flight brings, for a request that did not start it.
func (f *flight) response(req *exchange.Request, r *reader, use freshness.Reuse, o exchange.Outcome) *exchange.Response {
	e := *f.entry
	e.Header = use.Terms.Withheld(e.Header)
	o.TTL, o.HasTTL = use.Left, true
	if o.Collapsed && f.complete() {
		o = exchange.Outcome{Hit: true, TTL: o.TTL, HasTTL: true}
	} else {
		o.Stored = f.keeping()
	}
	if req.Head {
		r.leave()
		return &exchange.Response{Entry: &e, Body: http.NoBody, Outcome: o}
	}
	return &exchange.Response{Entry: &e, Body: r, Outcome: o}
}
