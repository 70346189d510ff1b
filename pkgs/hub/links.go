package hub

import (
	"net/url"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// FilePrefix is where the files of second hosts lie below a hub that has some:
// /_f/ALIAS/PATH (PROTOCOLS 0.4).
const FilePrefix = "/_f/"

// Links maps the links of a hub's indexes to the hub (PROTOCOLS 0.24): what lies
// below a mirror's base URL to the same path below the hub, what lies below a
// second host's to /_f/ALIAS. It never invents a link: what lies nowhere known
// stays as it is. It is safe for concurrent use.
type Links struct {
	bases   []base   // longest first
	learned *Learned // nil: no hosts are learned
}

type base struct {
	host, path string // host lower case, path with a trailing slash
	prefix     string // below the hub

	literal [2]string // as most links below it begin
}

// NewLinks knows the mirrors and second hosts of a hub.
func NewLinks(mirrors []*url.URL, files map[string]*url.URL) *Links {
	l := &Links{}
	for _, u := range mirrors {
		l.bases = append(l.bases, newBase(u, "/"))
	}
	for alias, u := range files {
		l.bases = append(l.bases, newBase(u, FilePrefix+alias+"/"))
	}
	slices.SortStableFunc(l.bases, func(a, b base) int { return len(b.host+b.path) - len(a.host+a.path) })
	return l
}

// Links are those of a hub with these options, which learn hosts if that is asked for.
func (o *Options) Links() *Links {
	l := NewLinks(o.Mirrors, o.Files)
	l.learned = o.Learned
	return l
}

func newBase(u *url.URL, prefix string) base {
	b := base{host: hostOf(u), path: strings.TrimSuffix(u.EscapedPath(), "/") + "/", prefix: prefix}
	b.literal = [...]string{"https://" + b.host + b.path, "http://" + b.host + b.path}
	return b
}

// hostOf is host and port; the scheme does not count, but its default port is none.
func hostOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "80" || port == "443" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return host
}

// Map is the path below the hub of link, which was found in the index at from
// (an absolute URL, after redirects). It begins with "/", and keeps query and
// fragment. ok is false for a link to elsewhere, which stays.
func (l *Links) Map(link string, from *url.URL) (path string, ok bool) {
	b, ok := l.Append(nil, []byte(link), from)
	return string(b), ok
}

// Append is Map that appends the path to dst.
func (l *Links) Append(dst, link []byte, from *url.URL) (path []byte, ok bool) {
	for i := range l.bases { // an index has 100,000 links like that: no need to parse each
		for _, literal := range l.bases[i].literal {
			if len(link) >= len(literal) && string(link[:len(literal)]) == literal && flat(link[len(literal):]) {
				dst = append(dst, l.bases[i].prefix...)
				return append(dst, link[len(literal):]...), true
			}
		}
	}
	mapped, ok := l.parse(string(link), from)
	return append(dst, mapped...), ok
}

// parse is Map of any link.
func (l *Links) parse(link string, from *url.URL) (path string, ok bool) {
	u, err := url.Parse(link)
	if err != nil {
		return "", false
	}
	if from != nil {
		u = from.ResolveReference(u)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", false
	}
	host, p := hostOf(u), u.EscapedPath()
	for i := range len(l.bases) + 1 {
		var b base
		switch {
		case i < len(l.bases):
			b = l.bases[i]
		case l.learned == nil || slices.ContainsFunc(l.bases, func(b base) bool { return b.host == host }):
			return "", false // what a configured host has elsewhere is not ours
		default:
			alias := l.learned.learn(u)
			if alias == "" {
				return "", false
			}
			b = base{host: host, path: "/", prefix: FilePrefix + alias + "/"}
		}
		if b.host != host {
			continue
		}
		rest, below := strings.CutPrefix(p, b.path)
		if !below {
			continue
		}
		path = b.prefix + rest
		if u.RawQuery != "" {
			path += "?" + u.RawQuery
		}
		if u.Fragment != "" {
			path += "#" + u.EscapedFragment()
		}
		return path, true
	}
	return "", false
}

// Locate is whom to ask for link, found in the index at from (nil: it must be
// absolute), and for what: a [exchange.Request]'s Origin and Target. ok is false if
// it leads elsewhere, or is no path that a client could ask for either.
func (l *Links) Locate(link string, from *url.URL) (origin, target string, ok bool) {
	mapped, ok := l.Map(link, from)
	if !ok {
		return "", "", false
	}
	mapped, _, _ = strings.Cut(mapped, "#")
	if rest, second := strings.CutPrefix(mapped, FilePrefix); second {
		origin, rest, _ = strings.Cut(rest, "/")
		mapped = "/" + rest
	}
	path, query, _ := strings.Cut(mapped, "?")
	u, err := url.Parse(path)
	if err != nil {
		return "", "", false
	}
	if _, target, err = Path(u); err != nil {
		return "", "", false
	}
	if query != "" {
		target += "?" + Query(query)
	}
	return origin, target, true
}

// flat says that a path has neither escapes nor dot segments, and that no query
// or fragment is behind it.
func flat(path []byte) bool {
	slash := true // before
	for _, ch := range path {
		switch kind := inLink[ch]; {
		case kind == 0, kind == linkDot && slash:
			return false
		default:
			slash = kind == linkSlash
		}
	}
	return true
}

const (
	linkOther = 1 + iota
	linkDot
	linkSlash
)

// inLink are the bytes of flat paths.
var inLink = func() (t [256]uint8) {
	for ch := range t {
		if literal[ch]&inPath != 0 {
			t[ch] = linkOther
		}
	}
	t['.'], t['/'] = linkDot, linkSlash
	return t
}()

// File is the exchange of a path below /_f/: canonical and target as [Path]
// gave them, with the query, if any, behind target. ok is false if the path is
// not below the prefix, or the alias unknown. Such files are immutable unless a
// policy says otherwise.
func (o *Options) File(canonical, target, query string) (req *exchange.Request, ok bool) {
	a := Asked{Path: canonical, Query: query, hub: o}
	if a.Origin, a.Target, ok = o.second(canonical, target); !ok {
		return nil, false
	}
	return a.Request(Kind{Class: freshness.Immutable, Query: true}), true
}

// second is which second host has the file at a path, and under which target; ok is
// false if none has.
func (o *Options) second(canonical, target string) (alias, path string, ok bool) {
	rest, below := strings.CutPrefix(canonical, FilePrefix)
	if !below {
		return "", "", false
	}
	alias, _, found := strings.Cut(rest, "/")
	if _, known := o.Files[alias]; !found || !known && o.Learned.Base(alias) == nil {
		return "", "", false
	}
	// The alias has no character that could be spelled otherwise in target.
	_, path, found = strings.Cut(strings.TrimPrefix(target, FilePrefix), "/")
	return alias, "/" + path, found
}
