package composer

import (
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// usualTemplate is where documents are, as long as no packages.json has said so.
const usualTemplate = "/p2/%package%.json"

// Index is the package's document of releases, if mirrors have it. Documents are not
// merged: where they are minified, a version says what differs from the one before.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if req.Package == "" || req.Post != nil || !packageName.MatchString(req.Package) {
		return nil
	}
	template := usualTemplate
	if t := h.template.Load(); t != nil {
		template = *t
	}
	if k := classify(req.Key.Path); k == document && req.Origin == "" {
		dir, base := path.Split(strings.TrimSuffix(req.Key.Path, ".json"))
		release, branch := strings.CutSuffix(base, devSuffix)
		if !branch {
			return req
		}
		template = dir + release + ".json"
	}
	index := hub.IndexAt(h, req, strings.ReplaceAll(template, "%package%", strings.ToLower(req.Package)))
	if index == nil || index.Policy.Class == freshness.Passthrough || index.Origin != "" {
		return nil
	}
	return index
}

// owned is the private name that stands in a path, as two segments; "" if there is none.
func (h *Hub) owned(p string) string {
	if !h.hub.Members.Private() {
		return ""
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimSuffix(hub.Name(p), ".json"), devSuffix), "/")
	for i := range len(parts) - 1 {
		if name := parts[i] + "/" + parts[i+1]; parts[i] != "" && h.hub.Members.Owned(name) {
			return name
		}
	}
	return ""
}

// audited is the body of an audit without private names: nobody is asked what is wrong
// with them.
func (h *Hub) audited(body []byte) []byte {
	if !h.hub.Members.Private() {
		return body
	}
	var open []string
	for field := range strings.SplitSeq(string(body), "&") {
		if h.hub.Members.Sought(field) == "" {
			open = append(open, field)
		}
	}
	return []byte(strings.Join(open, "&"))
}
