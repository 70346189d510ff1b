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
	name, named := strings.CutSuffix(path.Base(p), ".flatpakref")
	if rest, isRef := strings.CutPrefix(p, "/refs/"); isRef && !named {
		parts := strings.Split(rest, "/") // heads, app, ID, ARCH, BRANCH
		if at := max(slices.Index(parts, "app"), slices.Index(parts, "runtime")) + 1; 0 < at && at < len(parts) {
			name, named = parts[at], true
		}
	}
	if !named {
		return h.hub.Members.Suspect(p, "")
	}
	for i := range name {
		if name[i] == '.' && h.hub.Members.Owned(name[:i]) {
			return name[:i]
		}
	}
	return name
}
