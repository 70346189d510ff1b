package terraform

import (
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// ofPrefix is before archives whose own path does not tell which provider they are of,
// where some names are private: /_p/HOST/NAMESPACE/TYPE/PATH. Only the document that
// leads there knows, and without it nobody could say whom to ask. So there is no other
// way to such archives then.
const ofPrefix = "/_p/"

// rules is the version of the rewriter of a version's document.
func (h *Hub) rules() string {
	if h.hub.Members.Private() {
		return rules + " " + ofPrefix
	}
	return rules
}

// of is the path of an archive of p that tells whose it is, if that counts.
func (h *Hub) of(p place, path string) string {
	bare, _, _ := strings.Cut(path, "?")
	own := h.place(bare)
	if !h.hub.Members.Private() || own.host == p.host && own.provider == p.provider {
		return path
	}
	return ofPrefix + p.host + "/" + p.provider + path
}

// parseOf is Parse of a path that of has made.
func (h *Hub) parseOf(asked hub.Asked) (*exchange.Request, bool) {
	path := asked.Path
	p, rest, ok := h.cutOf(path)
	if !ok {
		return nil, false
	}
	of, target := path[:len(path)-len(rest)], asked.Target
	at := 0 // of rest in target, which has as many slashes
	for range strings.Count(of, "/") + 1 {
		at += strings.IndexByte(target[at:], '/') + 1
	}
	target = target[at-1:]
	req, ok := h.hub.File(rest, target, asked.Query)
	if !ok {
		if h.place(rest).kind != archive {
			return nil, false
		}
		req = h.hub.Request(rest, target, freshness.Immutable, ttl)
	}
	req.Key.Path = of + req.Key.Path
	_, file := hub.CutLast(rest)
	req.Package, req.Version = p.provider, archiveVersion(file)
	return req, true
}

// cutOf takes a path apart that of has made.
func (h *Hub) cutOf(path string) (p place, rest string, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(path, ofPrefix), "/", 4)
	if !strings.HasPrefix(path, ofPrefix) || len(parts) < 4 || !h.mirrors(parts[0]) || !isName(parts[1]) || !isName(parts[2]) {
		return place{}, "", false
	}
	return place{host: parts[0], provider: parts[1] + "/" + parts[2]}, "/" + parts[3], true
}

// Index is the provider's list of versions. Of several members' none is made one: what
// a version's document says is of one of them.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	path, _, _ := strings.Cut(req.Key.Path, "?")
	p, _, ok := h.cutOf(path)
	if !ok {
		p = h.place(path)
	}
	if p.provider == "" {
		return nil
	}
	return hub.IndexAt(h, req, "/"+p.host+"/"+p.provider+"/index.json")
}
