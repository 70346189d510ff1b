package nuget

import (
	"cmp"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// Index is the list of the package's versions beside its files, or its registration:
// DIR/ID/index.json either way.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	path, _, _ := strings.Cut(req.Key.Path, "?")
	dir := home(path)
	if dir == "" || req.Package == "" || req.Origin != "" {
		return nil
	}
	return hub.IndexAt(h, req, dir+"/index.json")
}

// about is the package and the version that a request is about, or the private name
// that it may be about.
func (h *Hub) about(path, query string) (id, version string) {
	if rest, second := strings.CutPrefix(path, hub.FilePrefix); second {
		_, rest, _ = strings.Cut(rest, "/")
		path = "/" + rest
	}
	if id, version, ok := identity(path); ok {
		return cmp.Or(h.hub.Members.Suspect(path, "."), id), version
	}
	private := cmp.Or(h.hub.Members.Suspect(path, "."), h.hub.Members.Sought(query))
	if private == "" {
		_, id = hub.CutLast(home(path))
	}
	return cmp.Or(private, hub.Name(id)), ""
}

// home is the directory DIR/ID of the package whose file, list of versions, registration
// or part of one lies at path; "" if it is about none.
func home(path string) string {
	if classify(path, "") == service || strings.Contains(path, "/catalog0/") || strings.Contains(path, "vulnerabilities/") {
		return "" // of the whole feed
	}
	dir, file := hub.CutLast(path)
	name, isJSON := strings.CutSuffix(file, ".json")
	parent, last := hub.CutLast(dir)
	if isVersion(last) { // DIR/ID/VERSION/FILE, or DIR/ID/page/LOWER/UPPER.json
		above, page := hub.CutLast(parent)
		if page == "page" && isJSON {
			return above
		}
		return parent
	}
	if isJSON && (name == "index" || isVersion(name)) {
		return dir
	}
	return ""
}

// isVersion says whether a segment begins as a version does.
func isVersion(s string) bool {
	return s != "" && '0' <= s[0] && s[0] <= '9' && strings.Contains(s, ".")
}
