package upstream

import (
	"context"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// resume asks for what is missing of the part that a request has at hand. nil
// and no error: it has to be the whole, since nothing vouches for the rest, or
// the mirrors have other content by now, or do no ranges. An error is that none
// of those who might have it could be asked.
func (g *Group) resume(ctx context.Context, req *exchange.Request, tiers [][]candidate, n int) (*exchange.Response, error) {
	part := req.Resume
	missing := part.Missing()
	if !g.options.Race.Switch || !part.Valid() || len(missing) == 0 || len(req.Doubt) > 0 {
		return nil, nil
	}
	rest := continuable(req, part.Entry)
	if rest == nil {
		return nil, nil
	}
	rest.from = missing[0].From
	all := n
	if !rest.anywhere() {
		tiers, n = only(tiers, rest.mirror)
	}
	if n == 0 {
		return nil, nil
	}
	s := &race{group: g, req: rest.request(req), rest: rest, mode: Adaptive, tiers: tiers, candidates: n}
	res, err := s.run(ctx)
	if err != nil {
		if ctx.Err() == nil && (n < all || s.answered()) {
			err = nil
		}
		return nil, err
	}
	if res.Entry.Status != http.StatusPartialContent { // they agree on a 404
		res.Body.Close()
		return nil, nil
	}
	entry := *part.Entry
	entry.Requested, entry.Received = res.Entry.Requested, res.Entry.Received // RFC 9111 §3.4: it is as fresh as that
	rest.from = 0
	y := g.newRelay(ctx, req, *rest, tiers, true, s.winner)
	y.gaps, y.ahead, y.reached = missing, missing[0].From, missing[0].From
	return &exchange.Response{Entry: &entry, Body: y, Ranges: y, Resumed: true}, nil
}

// answered reports whether a mirror has said what it has, and not only failed.
func (r *race) answered() bool {
	for _, l := range r.lost {
		switch l.outcome {
		case other, absent, forbidden, refused:
			return true
		}
	}
	return false
}

// only are the candidates of one mirror.
func only(tiers [][]candidate, base string) (own [][]candidate, n int) {
	for _, tier := range tiers {
		for _, c := range tier {
			if c.mirror.base == base {
				own = append(own, []candidate{c})
				n++
			}
		}
	}
	return own, n
}
