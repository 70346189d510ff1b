package pub

import (
	"cmp"
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// Index is the listing of all versions of the package.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if req.Package == "" || strings.Contains(req.Package, "/") || req.Policy.Class == freshness.Passthrough {
		return nil
	}
	p, ok := hub.Canonical(apiPrefix + req.Package)
	switch {
	case !ok:
		return nil
	case p == req.Key.Path:
		return req
	}
	index := h.hub.Request(p, p, freshness.Mutable, ttl)
	index.Header = http.Header{"Accept": {mediaType}}
	index.Package, index.Client = req.Package, req.Client
	return index
}

// about is the package that a path of kind k names, or the private one that it may
// be about.
func (h *Hub) about(k kind, path, name, query string) string {
	sure := ""
	switch {
	case k == search:
		return h.hub.Members.Sought(query)
	case k == archive && !strings.HasPrefix(path, "/packages/"): // anywhere
		sure = h.hub.Members.Suspect(strings.TrimPrefix(path, "/api/archives/"), "-")
	default:
		sure = h.hub.Members.Suspect(name, "-")
	}
	return cmp.Or(sure, hub.Name(name))
}
