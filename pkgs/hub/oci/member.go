package oci

import (
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// Index is the list of the repository's tags, of which one is enough. Lists are not
// merged: a repository is one member's.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if req.Package == "" || req.Package == anyName {
		return nil
	}
	p := place{name: req.Package, kind: tags, reference: "list"}.String()
	index := h.options.Request(p+"?n=1", p+"?n=1", freshness.Mutable, listTTL)
	index.Package, index.Client = req.Package, req.Client
	return index
}
