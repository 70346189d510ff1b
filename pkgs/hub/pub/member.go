package pub

import (
	"cmp"
	"io"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Merger = (*Hub)(nil)

// Index is the listing of all versions of the package.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	path, ok := hub.Canonical(apiPrefix + req.Package)
	if !ok || req.Package == "" || strings.Contains(req.Package, "/") || req.Policy.Class == freshness.Passthrough {
		return nil
	}
	return hub.IndexAt(h, req, path)
}

// Merge is the first part, with the versions of the others that it does not have. Links
// to archives are absolute.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	return hub.MergeJSON(dst, parts, hub.JSONMember{Name: "versions", By: "version", Needed: true})
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
