package hub

import (
	"context"
	"net/http"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Member answers a client that asks for a path which gen may list; ok is false
// if it does not. used is the request that was sent on, for content.
func (g *Generations) Member(ctx context.Context, next exchange.Source, req *exchange.Request, gen *Generation) (used *exchange.Request, resp *exchange.Response, ok bool, err error) {
	f, ok := gen.Members[req.Key.Path]
	if !ok {
		return nil, nil, false, nil
	}
	used = g.member(req, gen.Root, f)
	if resp, err = next.Get(ctx, used); err == nil && resp.Entry.Status < http.StatusBadRequest {
		g.heat(gen.Path, req.Key.Path)
		return used, resp, true, nil
	}
	// The index may be older or newer than the mirrors (PROTOCOLS 0.13).
	newer := g.Force(ctx, next, gen.Path)
	if newer == nil || newer.Digest == gen.Digest {
		return used, resp, true, err
	}
	if resp != nil {
		resp.Body.Close()
	}
	_, given := g.pin(req.Client, gen.Path, pinTime)
	f, ok = newer.Members[req.Key.Path]
	if given || !ok {
		return used, nil, true, &exchange.Error{Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Message: "the index that lists this has been replaced", Err: err}
	}
	used = g.member(req, newer.Root, f)
	resp, err = next.Get(ctx, used)
	return used, resp, true, err
}

// member is the request for the content of a member, as f names it.
func (g *Generations) member(req *exchange.Request, root *Root, f exchange.Fact) *exchange.Request {
	req = req.Clone()
	req.Digest, req.Size = f.Digest, f.Size
	req.Key.Variant = string(f.Digest)
	req.Policy.Class = freshness.Immutable
	req.Policy.Negative = 0 // it is listed
	if g.format.Member != nil {
		g.format.Member(req, root)
	}
	return req
}

// Force validates a root since something that it lists is not there, and
// returns what is published then. Nil: that was tried a moment ago, or failed.
func (g *Generations) Force(ctx context.Context, next exchange.Source, root string) *Generation {
	req := g.format.Request(root)
	if req.Policy.Class != freshness.Mutable || req.Policy.TTL == freshness.Forever {
		return nil
	}
	g.mu.Lock()
	s, now := g.setLocked(root), g.now()
	if now.Sub(s.forced) < forceTime {
		g.mu.Unlock()
		return nil
	}
	s.forced = now
	g.mu.Unlock()
	req.Policy.TTL, req.Policy.StaleWhileRevalidate = 0, 0
	gen, err := g.ask(ctx, next, req)
	if err != nil {
		g.log.DebugContext(ctx, "root not validated", "hub", g.hub, "key", root, "err", err)
	}
	return gen
}

// missing validates the roots that belongs says.
func (g *Generations) missing(ctx context.Context, next exchange.Source, belongs func(root string) bool) {
	g.mu.Lock()
	var roots []string
	for root := range g.sets {
		if belongs(root) && len(roots) < maxMissing {
			roots = append(roots, root)
		}
	}
	g.mu.Unlock()
	for _, root := range roots {
		g.Force(ctx, next, root)
	}
}

// File answers for a file that indexes list; listed says that one does. If no
// mirror has it then, the index is older or newer than they are (PROTOCOLS 0.13):
// the absence is not remembered, and the roots that may list it, as belongs says,
// are validated.
func (g *Generations) File(ctx context.Context, next exchange.Source, req *exchange.Request, listed bool, belongs func(root string) bool) (*exchange.Response, error) {
	if !listed {
		return next.Get(ctx, req)
	}
	ask := *req
	ask.Policy.Negative = 0
	resp, err := next.Get(ctx, &ask)
	if err == nil && (resp.Entry.Status == http.StatusNotFound || resp.Entry.Status == http.StatusGone) {
		g.missing(ctx, next, belongs)
	}
	return resp, err
}
