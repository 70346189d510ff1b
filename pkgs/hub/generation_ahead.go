package hub

import (
	"context"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Ahead is [Generations.Companion] for clients that ask for what goes with a root
// always before the root: they begin anew with it, and are given that root next.
func (g *Generations) Ahead(ctx context.Context, next exchange.Source, req *exchange.Request, root string) (*exchange.Response, error) {
	gen, err := g.Current(ctx, next, root)
	if gen == nil {
		if err != nil {
			g.log.DebugContext(ctx, "no root for a companion", "hub", g.hub, "key", req.Key.Path, "err", err)
		}
		return next.Get(ctx, req)
	}
	g.give(req.Client, root, pin{digest: gen.Digest, at: g.now(), early: true})
	return next.Get(ctx, companionOf(req, gen.Digest))
}
