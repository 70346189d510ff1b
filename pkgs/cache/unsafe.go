package cache

import (
	"context"
	"net/http"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// unsafe passes on a request that no stored response answers. What it may have
// changed is invalidated (§4.4).
func (c *Cache) unsafe(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	resp, err := verbatim(ctx, next, req, exchange.FwdMethod)
	if safe(req.Wire.Method) {
		return resp, err
	}
	if err != nil { // it may have been done all the same
		c.invalidate(ctx, req.Key)
		return nil, err
	}
	e := resp.Entry
	if e.Status < 200 || e.Status >= 400 {
		return resp, nil
	}
	invalidated := c.invalidate(ctx, req.Key)
	about := false // the response is what a GET of the same URI would bring (RFC 9110 §8.7)
	if locate := req.Wire.Locate; locate != nil {
		for _, name := range [...]string{"Location", "Content-Location"} {
			if ref := e.Header.Get(name); ref != "" {
				key, ok := locate(e.Mirror, ref)
				if ok && key != req.Key {
					c.invalidate(ctx, key)
				}
				about = ok && key == req.Key && name == "Content-Location"
			}
		}
	}
	if req.Wire.Method == http.MethodPost && about && e.Status == http.StatusOK {
		return c.posted(ctx, req, resp, invalidated), nil
	}
	return resp, nil
}

// safe says whether a method is known to change nothing (RFC 9110 §9.2.1 and the
// registry of methods).
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "PROPFIND", "REPORT", "SEARCH", "QUERY":
		return true
	}
	return false
}

// invalidTime is how long an invalidation is remembered, for transfers that began before it.
const invalidTime = time.Hour

// invalidate forgets all that is stored under a primary key, and what was asked
// for until now and is on its way there.
func (c *Cache) invalidate(ctx context.Context, key exchange.Key) (now time.Time) {
	ctx = context.WithoutCancel(ctx)
	now = c.now()
	c.outdated.put(key, now, now.Add(invalidTime))
	c.variants.forget(ctx, key)
	for _, variant := range [...]string{"", partVariant} {
		key.Variant = variant
		_ = c.store.Delete(ctx, key) // of nothing is no error; of more than that, the time above tells
	}
	return now
}

// posted stores the response to a POST that says to be what a GET would bring,
// with explicit freshness (RFC 9110 §9.3.3), while the client reads it.
func (c *Cache) posted(ctx context.Context, req *exchange.Request, resp *exchange.Response, invalidated time.Time) *exchange.Response {
	s := judged(resp.Entry)
	if terms := s.Terms(); !terms.Explicit || terms.Lifetime <= 0 || !s.Store(req.Header) {
		return resp
	}
	e := *resp.Entry
	e.Requested = invalidated.Add(1) // it is of what came after
	e.Received = e.Requested
	resp.Entry = &e
	get := req.Clone()
	source := exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) { return resp, nil })
	f, r, _ := c.depart(ctx, source, req, req.Key, question{ask: get, alone: true})
	if f == nil {
		return resp
	}
	<-f.head // the source does not wait
	out, err := c.arrived(ctx, source, req, f, r, true, resp.Outcome)
	if err != nil {
		return resp
	}
	return out
}
