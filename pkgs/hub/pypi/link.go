package pypi

import (
	"bytes"
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

	path []byte // of the link that was located last
	text []byte // that link last made
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
// of the hub's. It is valid until the next one.
func (l *linker) locate(link []byte) (path []byte, ok bool) {
	if !l.based && !l.moved {
		for _, before := range [...]string{l.up, l.root} {
			n := len(before)
			if n > 0 && len(link) >= n && string(link[:n]) == before && plain(link[n:]) {
				l.path = append(append(l.path[:0], '/'), link[n:]...)
				return l.path, true
			}
		}
	}
	l.path, ok = l.links.Append(l.path[:0], link, l.from)
	return l.path, ok
}

// link is what stands in the place of a link: s itself, or what is valid until
// the next one. ours says that it leads to a path of the hub, which is in l.path.
// Its fragment is kept: without the hash in it pip checks nothing, and says
// nothing.
func (l *linker) link(s []byte) (text []byte, ours bool) {
	link, fragment := s, s[len(s):]
	if i := bytes.IndexByte(s, '#'); i >= 0 {
		link, fragment = s[:i], s[i:]
	}
	if len(link) == 0 {
		return s, false
	}
	path, ok := l.locate(link)
	lead := func(to string, path []byte) []byte {
		l.text = append(append(l.text[:0], to...), path...)
		return append(l.text, fragment...)
	}
	switch {
	case ok && l.base != "":
		l.text = lead(l.base, path)
		return l.text, true
	case ok && !l.based && !l.moved && l.leads(link, path):
		return s, true
	case ok:
		l.text = lead(l.up, path[1:])
		return l.text, true
	case l.from == nil || bytes.Contains(link, []byte("://")):
		return s, false
	}
	// Relative, and out of the mirror: it would lead somewhere else from here.
	if u, err := l.from.Parse(string(link)); err == nil {
		l.text = lead(u.String(), nil)
		return l.text, false
	}
	return s, false
}

// leads says that a link leads to path of the hub as it stands.
func (l *linker) leads(link, path []byte) bool {
	if n := len(l.up); len(link) == n+len(path)-1 && string(link[:n]) == l.up && bytes.Equal(link[n:], path[1:]) {
		return true
	}
	n := len(l.dir)
	return plain(link) && len(path) == n+len(link) && string(path[:n]) == l.dir && bytes.Equal(path[n:], link)
}

// identity is link for what names rather than leads (PEP 740): it is mapped
// where it is the hub's, and else stays as it is.
func (l *linker) identity(s []byte) []byte {
	if _, ok := l.locate(s); ok {
		s, _ = l.link(s)
	}
	return s
}

// plain says that a relative path is spelled in the only way there is: without
// escapes, dot segments, a scheme or a query.
func plain(path []byte) bool {
	slash := true // before
	for _, ch := range path {
		switch kind := inPath[ch]; {
		case kind == 0, kind != pathOther && slash:
			return false
		default:
			slash = kind == pathSlash
		}
	}
	return true
}

const (
	pathOther = 1 + iota
	pathDot
	pathSlash
)

// inPath are the bytes of plain paths.
var inPath = func() (t [256]uint8) {
	for _, ch := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+!~" {
		t[ch] = pathOther
	}
	t['.'], t['/'] = pathDot, pathSlash
	return t
}()
