package hub

import (
	"context"
	"path"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Signed answers for a root, and for a companion that has its root's name with an
// extension behind, as a signature mostly has: as [Generations.Root] and
// [Generations.Companion] do. ok is false for any other path, which is not asked for.
func (g *Generations) Signed(ctx context.Context, next exchange.Source, req *exchange.Request) (resp *exchange.Response, ok bool, err error) {
	p := req.Key.Path
	if _, ok := g.format.Companions(p); ok {
		resp, err = g.Root(ctx, next, req)
		return resp, true, err
	}
	root := strings.TrimSuffix(p, path.Ext(p))
	if all, ok := g.format.Companions(root); ok && slices.Contains(all, p) {
		resp, err = g.Companion(ctx, next, req, root, false)
		return resp, true, err
	}
	return nil, false, nil
}
