package pypi

import (
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A linker maps the links of one index.
type linker struct {
	links *hub.Links
	dir   string   // of the index, below the hub, with slashes around: /simple/x/
	up    string   // from there to the hub: ../../
	base  string   // of links, if they are to be absolute
	from  *url.URL // against which links are resolved; nil: unknown
	root  string   // path of the mirror on its host, with slashes around; "": unknown
	based bool     // from is what the index itself says
	moved bool     // from is where redirects ended
}

// newLinker is for the index at path, which came from mirror, where redirects
// ended at at, if there were any.
func newLinker(links *hub.Links, path, mirror, at string) *linker {
	dir := path[:strings.LastIndexByte(path, '/')+1]
	l := &linker{links: links, dir: dir, up: strings.Repeat("../", strings.Count(dir, "/")-1)}
	if u, err := url.Parse(mirror + path); err == nil && u.IsAbs() {
		l.from = u
		l.root = strings.TrimSuffix(u.EscapedPath(), path) + "/"
		if p, ok := links.Map(l.root, u); !ok || p != "/" {
			l.root = "" // the mirror maps paths, or a second host lies there
		}
	}
	if at != "" {
		l.setBase(at)
		l.based = false // what the index itself says still counts
		l.moved = true
	}
	return l
}

// setBase is what <base> says: links are relative to it.
func (l *linker) setBase(href string) {
	if u, err := url.Parse(href); err == nil && !l.based {
		if l.from != nil {
			u = l.from.ResolveReference(u)
		}
		if u.IsAbs() {
			l.from, l.based = u, true
		}
	}
}

// locate is the path below the hub of a link without its fragment, if it is one
// of the hub's.
func (l *linker) locate(link string) (path string, ok bool) {
	if !l.based && !l.moved {
		if rest, ok := strings.CutPrefix(link, l.up); ok && plain(rest) {
			return "/" + rest, true
		}
		if rest, ok := strings.CutPrefix(link, l.root); ok && l.root != "" && plain(rest) {
			return "/" + rest, true
		}
	}
	return l.links.Map(link, l.from)
}

// link is what stands in the place of a link. Its fragment is kept: without the
// hash in it pip checks nothing, and says nothing.
func (l *linker) link(s string) string {
	link, fragment := s, ""
	if i := strings.IndexByte(s, '#'); i >= 0 {
		link, fragment = s[:i], s[i:]
	}
	if link == "" {
		return s
	}
	path, ok := l.locate(link)
	switch {
	case ok && l.base != "":
		return l.base + path + fragment
	case ok && !l.based && !l.moved && (link == l.up+path[1:] || plain(link) && l.dir+link == path):
		return s
	case ok:
		return l.up + path[1:] + fragment
	case l.from == nil || strings.Contains(link, "://"):
		return s
	}
	// Relative, and out of the mirror: it would lead somewhere else from here.
	if u, err := l.from.Parse(link); err == nil {
		return u.String() + fragment
	}
	return s
}

// plain says that a relative path is spelled in the only way there is: without
// escapes, dot segments, a scheme or a query.
func plain(path string) bool {
	last := byte('/')
	for i := range len(path) {
		ch := path[i]
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch == '-', ch == '_', ch == '+', ch == '!', ch == '~':
		case ch == '.', ch == '/':
			if last == '/' {
				return false
			}
		default:
			return false
		}
		last = ch
	}
	return true
}
