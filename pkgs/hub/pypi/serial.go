package pypi

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Gatekeeper = (*Hub)(nil)

// Gate lets no page be replaced by an older one, as a mirror that is behind has
// it, where mirrors say how old their pages are. If all are behind, that is a
// failure, on which the cache answers with what it has.
func (h *Hub) Gate(next, _ exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		stored := serial(req.Validate)
		if k := classify(req.Key.Path); stored == 0 || req.Origin != "" || k != page && k != listing {
			return next.Get(ctx, req)
		}
		for ask := req; ; {
			resp, err := next.Get(ctx, ask)
			if err != nil || resp.Entry.Status != http.StatusOK {
				return resp, err
			}
			s, mirror := serial(resp.Entry), resp.Entry.Mirror
			if s == 0 || s >= stored {
				return resp, nil
			}
			resp.Body.Close()
			if h.hub.Log != nil {
				h.hub.Log.WarnContext(ctx, "mirror is behind", "hub", req.Key.Hub, "key", req.Key.Path, "mirror", mirror, "serial", s, "stored", stored)
			}
			if slices.Contains(ask.Avoid, mirror) {
				return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "the mirrors are behind"}
			}
			ask = ask.Clone()
			ask.Avoid = append(slices.Clip(ask.Avoid), mirror)
		}
	})
}

// serial is the number of the last change that a page has, which only grows; 0
// if the mirror does not say.
func serial(e *exchange.Entry) uint64 {
	if e == nil {
		return 0
	}
	n, err := strconv.ParseUint(e.Header.Get("X-PyPI-Last-Serial"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
