package hex

import (
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// Index is the resource of the package. Nothing is merged: resources are signed.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	p := classify(req.Key.Path)
	switch {
	case p.name == "" || strings.HasPrefix(req.Key.Path, "/installs/"): // a tool is no package
		return nil
	case p.kind == resource:
		return req
	}
	return hub.IndexAt(h, req, p.repo+"/packages/"+p.name)
}
