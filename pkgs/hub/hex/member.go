package hex

import (
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// Index is the resource of the package. Nothing is merged: resources are signed.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	k, repo, name, _ := classify(req.Key.Path)
	switch {
	case name == "" || strings.HasPrefix(req.Key.Path, "/installs/"): // a tool is no package
		return nil
	case k == resource:
		return req
	}
	p := repo + "/packages/" + name
	index := h.hub.Request(p, p, freshness.Mutable, ttl)
	index.Package, index.Client = req.Package, req.Client
	return index
}
