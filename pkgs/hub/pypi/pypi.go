// Package pypi is the hub of Python package indexes: the simple repository API
// (PEP 503, PEP 691 and what followed, now
// https://packaging.python.org/specifications/simple-repository-api/), and the
// JSON API of the index beside it.
//
// Its words: a page lists the files of one project, as HTML or as JSON; a file is
// a wheel, a source distribution or another archive; its metadata is what lies
// beside it under .metadata (PEP 658).
//
// Pages change and have two variants; files never change. The links of a page
// lead to this hub, by relative links, where they lie below a mirror or a second
// host; what leads elsewhere stays. Hashes, data-* attributes and all the rest of
// a page come through untouched, and what it says of files is taught to the ledger.
//
// It takes no uploads.
package pypi

import (
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one index. It is safe for concurrent use.
type Hub struct {
	hub   hub.Options
	links *hub.Links
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

// Freshness of what changes.
const (
	ttl        = 10 * time.Minute
	listingTTL = time.Hour // of the list of all projects, which is 40 MB
)

// A kind is what a path is.
type kind uint8

const (
	unknown   kind = iota
	listing        // of all projects
	page           // of a project
	unslashed      // either of them without its trailing slash
	document       // of the JSON API
	integrity      // attestations
	file           // that does not change
	side           // a signature or the like, which may come later
)

const simple = "/simple/"

// classify says what a canonical path is.
func classify(p string) kind {
	rest, inSimple := strings.CutPrefix(p, simple)
	slash := strings.IndexByte(rest, '/')
	switch {
	case p == simple:
		return listing
	case p+"/" == simple:
		return unslashed
	case inSimple && strings.IndexByte(rest, '%') >= 0 && slash < 0:
		return unknown
	case inSimple && slash < 0:
		return unslashed
	case inSimple && slash == len(rest)-1:
		return page
	case strings.HasPrefix(p, "/pypi/") && strings.HasSuffix(p, "/json") && (strings.Count(p, "/") == 3 || strings.Count(p, "/") == 4):
		return document
	case strings.HasPrefix(p, "/integrity/"):
		return integrity
	}
	switch path.Ext(p) {
	case ".asc", ".sig", ".provenance", ".sigstore":
		return side
	}
	if isFile(p) {
		return file
	}
	return unknown
}

// isFile says whether a path names a distribution, or the metadata of one.
func isFile[S string | []byte](p S) bool {
	if n := len(p) - len(".metadata"); n >= 0 && string(p[n:]) == ".metadata" {
		p = p[:n]
	}
	for _, ext := range [...]string{".whl", ".tar.gz", ".zip", ".egg", ".tar.bz2", ".tar.xz", ".tgz", ".tar.zst", ".tar.Z", ".tar", ".exe", ".msi", ".dmg", ".rpm", ".deb"} {
		if n := len(p) - len(ext); n >= 0 && string(p[n:]) == ext {
			return true
		}
	}
	return false
}

// kinds is how paths of each kind are treated; unslashed is answered by Rewrite.
var kinds = [...]hub.Kind{
	listing:   {TTL: listingTTL},
	page:      {TTL: ttl},
	unslashed: {Class: freshness.Passthrough},
	document:  {TTL: ttl},
	integrity: {TTL: ttl},
	file:      {Class: freshness.Immutable, TTL: ttl, Query: true},
	side:      {TTL: ttl, Query: true},
}

// Parse knows the paths of an index. All spellings of a project's name are its
// normalised one, upstream too (PEP 503). Of a second host any path is a file.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	k, project := classify(asked.Path), ""
	switch {
	case asked.Origin != "" && k != side:
		k = file
	case k == unknown:
		return nil, hub.NoPath(asked.Path)
	case k == page:
		if project = normalise(strings.Trim(asked.Path[len(simple):], "/")); project == "" {
			return nil, hub.NoPath(asked.Path)
		}
		asked.Path = simple + project + "/"
		asked.Target = asked.Path
	case k == document, k == integrity:
		project = about(asked.Path)
	}
	req := asked.Request(kinds[k])
	req.Package = project
	switch k {
	case listing, page:
		represent(req, wantsJSON(r.Header["Accept"]))
	case integrity:
		if strings.Contains(strings.Join(r.Header["Accept"], ","), integrityType) {
			req.Key.Variant, req.Header = "integrity", http.Header{"Accept": {integrityType}}
		}
	case file, side:
		h.name(req, path.Base(asked.Path))
	}
	return req, nil
}

// name says of a request for a file what the file's name does.
func (h *Hub) name(req *exchange.Request, base string) {
	req.Package, req.Version = nameAndVersion(base)
	if name := h.suspect(base, req.Package); name != "" {
		req.Package = name
	}
}

// normalise is a project's name as PEP 503 has it; "" for what cannot be one.
func normalise(name string) string {
	b := make([]byte, 0, len(name))
	for i := range len(name) {
		switch ch := name[i]; {
		case ch == '-', ch == '_', ch == '.':
			if len(b) > 0 && b[len(b)-1] == '-' {
				continue
			}
			b = append(b, '-')
		case 'A' <= ch && ch <= 'Z':
			b = append(b, ch|0x20)
		case 'a' <= ch && ch <= 'z', '0' <= ch && ch <= '9':
			b = append(b, ch)
		default:
			return ""
		}
	}
	return string(b)
}

// nameAndVersion takes the name of a file apart: that of a wheel has five or six
// parts, that of a source distribution ends in its version.
func nameAndVersion(base string) (name, version string) {
	base = strings.TrimSuffix(base, ".metadata")
	if wheel, ok := strings.CutSuffix(base, ".whl"); ok {
		if parts := strings.Split(wheel, "-"); len(parts) == 5 || len(parts) == 6 {
			return normalise(parts[0]), parts[1]
		}
		return "", ""
	}
	for _, ext := range [...]string{".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz"} {
		sdist, ok := strings.CutSuffix(base, ext)
		if !ok {
			continue
		}
		for i := len(sdist) - 2; i > 0; i-- {
			if sdist[i] == '-' && '0' <= sdist[i+1] && sdist[i+1] <= '9' {
				return normalise(sdist[:i]), sdist[i+1:]
			}
		}
	}
	return "", ""
}
