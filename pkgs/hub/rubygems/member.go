package rubygems

import (
	"cmp"
	"path"
	"regexp"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Indexer = (*Hub)(nil)

// Index is the gem's info. Infos are not merged, since versions has the MD5 of each as
// one member has it.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if !gemName.MatchString(req.Package) {
		return nil
	}
	return hub.IndexAt(h, req, infoPrefix+req.Package)
}

// fileName is NAME-VERSION[-PLATFORM].
var fileName = regexp.MustCompile(`^(.+?)-([0-9]+(?:\.[0-9A-Za-z]+)*)(-.*)?$`)

// gemOf is the gem whose file lies at p, or the private one that it may be of, and its
// version if there is but one that it may have.
func (h *Hub) gemOf(p string) (name, version string) {
	base := hub.Name(path.Base(p))
	for _, ext := range [...]string{".gem", ".gemspec.rz"} {
		base = strings.TrimSuffix(base, ext)
	}
	name = base
	if m := fileName.FindStringSubmatch(base); m != nil {
		name = m[1]
		if version = m[2]; anotherVersion.MatchString(m[3]) {
			version = ""
		}
	}
	if private := h.hub.Members.Suspect(base, "-"); private != "" && private != name {
		return private, ""
	}
	return name, version
}

// anotherVersion is in what seems to be a platform, but may be the version.
var anotherVersion = regexp.MustCompile(`-[0-9]`)

// sought is the private name that a path below /api/ and its query have; "" if they
// have none.
func (h *Hub) sought(p, query string) string {
	return cmp.Or(h.hub.Members.Suspect(p, "-"), h.hub.Members.Sought(query))
}
