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
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub is one index. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	links  *hub.Links
	ledger *ledger.Ledger
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub. A nil ledger is not taught.
func New(o hub.Options, l *ledger.Ledger) (*Hub, error) {
	return &Hub{hub: o, links: o.Links(), ledger: l}, nil
}

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

// Parse knows the paths of an index. All spellings of a project's name are its
// normalised one, upstream too (PEP 503).
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	p, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	k := classify(p)
	if strings.HasPrefix(p, hub.FilePrefix) {
		return h.second(r, p, target, k)
	}
	req := &exchange.Request{Key: exchange.Key{Hub: h.hub.Name, Path: p}, Target: target}
	class, fresh := freshness.Mutable, ttl
	switch k {
	case listing, page:
		if k == listing {
			fresh = listingTTL
		} else if req.Package = normalise(strings.Trim(p[len(simple):], "/")); req.Package == "" {
			return nil, notFound(p)
		} else {
			p = simple + req.Package + "/"
			req.Key.Path, req.Target = p, p
		}
		represent(req, wantsJSON(r.Header["Accept"]))
	case unslashed: // Rewrite answers
		req.Policy = freshness.Policy{Class: freshness.Passthrough}
		return req, nil
	case document:
		req.Package = about(p)
	case integrity:
		req.Package = about(p)
		if strings.Contains(strings.Join(r.Header["Accept"], ","), integrityType) {
			req.Key.Variant, req.Header = "integrity", http.Header{"Accept": {integrityType}}
		}
	case file:
		class = freshness.Immutable
		fallthrough
	case side:
		h.name(req, path.Base(p))
		if query := r.URL.RawQuery; query != "" {
			req.Key.Path, req.Target = p+"?"+hub.Query(query), target+"?"+hub.Query(query)
		}
	case unknown:
		return nil, notFound(p)
	}
	req.Policy = h.hub.Policies.For(p, class, fresh)
	return req, nil
}

// second is the request for a file of a second host.
func (h *Hub) second(r *http.Request, p, target string, k kind) (*exchange.Request, error) {
	req, ok := h.hub.File(p, target, r.URL.RawQuery)
	if !ok {
		return nil, notFound(p)
	}
	if k == side {
		req.Policy = h.hub.Policies.For(p, freshness.Mutable, ttl)
	}
	h.name(req, path.Base(p))
	return req, nil
}

// name says of a request for a file what the file's name does.
func (h *Hub) name(req *exchange.Request, base string) {
	req.Package, req.Version = nameAndVersion(base)
	if name := h.suspect(base, req.Package); name != "" {
		req.Package = name
	}
}

func notFound(p string) error {
	return fmt.Errorf("%s is no path of an index: %w", p, fs.ErrNotExist)
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
