package flatpak

import (
	"path"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// about is the application or runtime that a canonical path names: refs do, and
// *.flatpakref. Objects and deltas are named by digests alone, and are about none. Of
// an extension, such as ID.Locale, it is the private name that it belongs to.
func (h *Hub) about(p string) string {
	p = hub.Name(p)
	name, isLink := strings.CutSuffix(path.Base(p), ".flatpakref")
	if !isLink {
		parts := strings.Split(p, "/") // "", refs, heads, app, ID, ARCH, BRANCH
		at := max(slices.Index(parts, "app"), slices.Index(parts, "runtime"))
		if parts[1] != "refs" || at < 0 || at+1 == len(parts) {
			return h.hub.Members.Suspect(p, "")
		}
		name = parts[at+1]
	}
	for i := range name {
		if name[i] == '.' && h.hub.Members.Owned(name[:i]) {
			return name[:i]
		}
	}
	return name
}
