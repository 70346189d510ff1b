package cache

import (
	"context"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// revalidate answers from a stored response that must be validated, or may be
// behind the client (RFC 5861 §3). It takes h.body over.
func (c *Cache) revalidate(ctx context.Context, next exchange.Source, req *exchange.Request, sel *selection, h *held) (*exchange.Response, error) {
	why := exchange.FwdStale
	if h.use.Left > 0 {
		why = exchange.FwdRequest // it is fresh, but not for this client
	}
	if req.Head && h.use.Verdict != freshness.StaleUsable {
		return c.ahead(ctx, next, req, h, why)
	}
	q := question{ask: validation(req, h.entry), old: h.entry, alone: req.Header["Authorization"] != nil}
	f, r, leader := c.depart(ctx, next, req, sel.flightKey(req), q)
	if f == nil {
		h.body.Close()
		return verbatim(ctx, next, req, why)
	}
	if h.use.Verdict == freshness.StaleUsable {
		r.leave()
		return h.hit(req, exchange.Outcome{Hit: true, Stale: true, Detail: "while-revalidate"}), nil
	}
	select {
	case <-f.head:
	case <-ctx.Done():
		r.leave()
		h.body.Close()
		return nil, context.Cause(ctx)
	}
	o := exchange.Outcome{Fwd: why, Collapsed: !leader}
	switch {
	case f.kind == failed && h.use.Verdict == freshness.StaleError,
		f.kind != failed && f.kind != freshened && h.use.OnError && stumbled(f.headStatus()):
		o.FwdStatus, o.Stale, o.Detail = f.headStatus(), true, "upstream-failed"
		r.leave()
		return h.hit(req, o), nil
	case f.freshens(h.entry) && (leader || lasting(h.entry, f.entry, req.Header)):
		r.Close()
		o.FwdStatus = http.StatusNotModified
		h.entry = f.entry
		s := judged(f.entry)
		h.use.Left = s.Terms().Lifetime - s.Age(c.now())
		return h.hit(req, o), nil
	}
	h.body.Close()
	if f.kind == failed {
		r.Close() // §5.2.2.2: what is stored may not stand in
		return nil, &exchange.Error{Status: http.StatusGatewayTimeout, Message: "the origin cannot be asked whether what is stored is still good", Err: f.err}
	}
	resp, err := c.arrived(ctx, next, req, f, r, leader, o)
	if err == nil && leader && f.kind == streaming {
		resp.Verbatim = false // the client's own conditions and ranges were not sent
	}
	return resp, err
}

// validation is the request that validates e: with its validators in place of the
// client's own conditions, which are judged by what comes of it.
func validation(req *exchange.Request, e *exchange.Entry) *exchange.Request {
	ask := req.Clone()
	ask.Head = false
	for _, name := range [...]string{"If-None-Match", "If-Modified-Since", "If-Range", "Range"} {
		delete(ask.Header, name)
	}
	if etag := e.Header.Get("Etag"); etag != "" {
		ask.Header["If-None-Match"] = []string{etag}
	}
	if date := e.Header.Get("Last-Modified"); date != "" {
		ask.Header["If-Modified-Since"] = []string{date}
	}
	w := *req.Wire
	w.Method = http.MethodGet
	ask.Wire = &w
	return ask
}

// stumbled says whether a status is an error of the origin's that a stale response
// may stand in for (RFC 5861 §4).
func stumbled(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// headStatus is the status that the flight's answer has; 0 if there is none.
func (f *flight) headStatus() int {
	if f.entry != nil {
		return f.entry.Status
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.upstream != nil {
		return f.upstream.Entry.Status
	}
	return 0
}

// ahead passes a HEAD on, for which a GET's response is stored that is not fresh,
// and updates that by the answer (§4.3.5). It takes h.body over.
func (c *Cache) ahead(ctx context.Context, next exchange.Source, req *exchange.Request, h *held, why exchange.Fwd) (*exchange.Response, error) {
	resp, err := verbatim(ctx, next, req, why)
	if h.use.Verdict == freshness.StaleError && err != nil || err == nil && h.use.OnError && stumbled(resp.Entry.Status) {
		if err == nil {
			resp.Body.Close()
		}
		return h.hit(req, exchange.Outcome{Fwd: why, Stale: true, Detail: "upstream-failed"}), nil
	}
	h.body.Close()
	if err != nil || resp.Entry.Status != http.StatusOK || h.entry.Status != http.StatusOK {
		return resp, err
	}
	if !describes(resp.Entry, h.entry) {
		_ = c.store.Delete(ctx, h.entry.Key)
		return resp, nil
	}
	c.freshen(ctx, h.entry, resp.Entry, req.Header)
	return resp, nil
}

// describes says whether a HEAD's answer speaks of the stored response: the
// validators and the length that it gives are the same.
func describes(head, stored *exchange.Entry) bool {
	for _, name := range [...]string{"Etag", "Last-Modified"} {
		if v := head.Header.Get(name); v != "" && v != stored.Header.Get(name) {
			return false
		}
	}
	return head.Size < 0 || head.Size == stored.Size
}
