// Package npm is the hub of npm registries
// (https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md).
//
// Its words: a packument is the document of one package, full or abbreviated; a
// tarball is what is installed; a scope is the @-part of a name, whose slash is
// spelled %2f by some clients.
//
// Packuments change and have two variants; tarballs never change. The links to
// tarballs in a packument lead to this hub where they lie below a mirror or a
// second host, and stay where not; nothing else in it is touched. What it says
// of their content is taught to the ledger.
//
// It takes no logins and publishes nothing.
package npm

import (
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one registry. It is safe for concurrent use.
type Hub struct {
	hub   hub.Options
	links *hub.Links
}

var (
	_ hub.Hub     = (*Hub)(nil)
	_ hub.Poster  = (*Hub)(nil)
	_ hub.Refuser = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

// Freshness of what changes.
const (
	ttl      = 5 * time.Minute
	shortTTL = time.Minute // dist-tags, keys, attestations
)

// Variants of a packument: "" is the full one, which npm installs by.
const (
	abbreviated     = "abbreviated"
	abbreviatedType = "application/vnd.npm.install-v1+json"
)

// A kind is what a path is.
type kind uint8

const (
	unknown   kind = iota
	packument      // of a package
	manifest       // of one version or tag of it
	tarball        // or another file that does not change
	file           // one that may
	document       // of the registry: short-lived
	search         // passed through
	login          // refused
	second         // of a second host
)

// kinds is how paths of each kind are treated.
var kinds = [...]hub.Kind{
	packument: {TTL: ttl},
	manifest:  {TTL: ttl},
	tarball:   {Class: freshness.Immutable, Query: true},
	file:      {TTL: ttl, Query: true},
	document:  {TTL: shortTTL},
	search:    {Class: freshness.Passthrough, Query: true},
	second:    {Class: freshness.Immutable, Query: true},
}

// Parse knows the registry's paths. Both spellings of a scoped name are one key;
// the mirrors get the client's.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	asked.Path = unscope(asked.Path)
	path := asked.Path
	k, name := classify(path)
	switch k {
	case unknown:
		return nil, hub.NoPath(path)
	case login:
		return nil, &exchange.Error{Status: http.StatusMethodNotAllowed, Message: "this registry is a cache: log in and publish at the registry behind it"}
	}
	req := asked.Request(kinds[k])
	req.Package = name
	switch k {
	case packument:
		represent(req, strings.Contains(strings.Join(r.Header["Accept"], ","), abbreviatedType))
	case manifest:
		_, req.Version = hub.CutLast(path)
	case tarball, file:
		req.Version = version(path, name)
	case document:
		req.Package = about(path)
	case search:
		req.Package = h.sought(asked.Query)
	case second:
		_, rest, _ := strings.Cut(path[len(hub.FilePrefix):], "/")
		if k, name := classify("/" + rest); k == tarball && version(rest, name) != "" {
			req.Package, req.Version = name, version(rest, name)
		} else if h.hub.Members.Owned(name) {
			req.Package = name
		}
	}
	return req, nil
}

// represent makes req one for a packument in full, or abbreviated.
func represent(req *exchange.Request, short bool) {
	req.Key.Variant, req.Header = "", http.Header{"Accept": {"application/json"}}
	if short {
		req.Key.Variant = abbreviated
		req.Header = http.Header{"Accept": {abbreviatedType + "; q=1.0, application/json; q=0.8, */*"}}
	}
}

// packumentOf is the request for the packument of the package that req is about.
func (h *Hub) packumentOf(req *exchange.Request, short bool) *exchange.Request {
	ask := h.hub.Request("/"+req.Package, "/"+strings.ReplaceAll(req.Package, "/", "%2f"), freshness.Mutable, ttl)
	ask.Package, ask.Client = req.Package, req.Client
	represent(ask, short)
	return ask
}

// unscope spells the slash of scoped names in a canonical path as one.
func unscope(path string) string {
	for at := 0; ; {
		i := strings.Index(path[at:], "/@")
		if i < 0 {
			return path
		}
		at += i + 2
		segment, _, _ := strings.Cut(path[at:], "/")
		if scope, rest, ok := strings.Cut(segment, "%2F"); ok && scope != "" && rest != "" && !strings.HasPrefix(rest, "%2F") {
			path = path[:at] + scope + "/" + rest + path[at+len(segment):]
		}
	}
}

// classify says what an unscoped canonical path is, and of which package.
func classify(path string) (k kind, name string) {
	if strings.HasPrefix(path, hub.FilePrefix) {
		return second, ""
	}
	if rest, ok := strings.CutPrefix(path, "/-/"); ok {
		return registry(rest), ""
	}
	name, rest, more := strings.Cut(path[1:], "/")
	if strings.HasPrefix(name, "@") {
		var base string
		base, rest, more = strings.Cut(rest, "/")
		if base == "" || name == "@" {
			return unknown, ""
		}
		name += "/" + base
	}
	switch {
	case name == "" || name[0] == '-' || more && rest == "":
		return unknown, ""
	case strings.HasSuffix(path, ".tgz"), strings.HasPrefix(rest, "-/") && rest != "-/":
		return tarball, name // names of tarballs are free: /x.tgz is one
	case !more:
		return packument, name
	case strings.Contains(rest, "/"):
		return file, name
	}
	return manifest, name
}

// registry is the kind of a path below /-/.
func registry(path string) kind {
	first, rest, _ := strings.Cut(path, "/")
	switch {
	case path == "ping", path == "npm/v1/keys", strings.HasPrefix(path, "npm/v1/attestations/"),
		first == "package" && strings.HasSuffix(rest, "/dist-tags"):
		return document
	case path == "v1/search", path == "all":
		return search
	case path == "whoami", first == "user", path == "v1/login", strings.HasPrefix(path, "npm/v1/tokens"), path == "npm/v1/user":
		return login
	}
	return unknown
}

// version is that of a tarball with the usual name; "" of another one.
func version(path, name string) string {
	_, base := hub.CutLast(path)
	_, bare := hub.CutLast(name)
	stem, tgz := strings.CutSuffix(base, ".tgz")
	v, own := strings.CutPrefix(stem, bare+"-")
	if !tgz || !own {
		return ""
	}
	return v
}

// Post knows what npm audit sends.
func (h *Hub) Post(r *http.Request, body []byte) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	switch path {
	case "/-/npm/v1/security/advisories/bulk", "/-/npm/v1/security/audits", "/-/npm/v1/security/audits/quick":
	default:
		return nil, fmt.Errorf("%s takes no POST: %w", path, fs.ErrNotExist)
	}
	packed := strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip")
	if h.hub.Members.Private() {
		if body, err = h.audited(path, body); err != nil {
			return nil, err
		}
		packed = false
	}
	req := &exchange.Request{
		Key:    exchange.Key{Hub: h.hub.Name, Path: path},
		Target: target,
		Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		Policy: freshness.Policy{Class: freshness.Passthrough},
		Post:   body,
	}
	if packed {
		req.Header.Set("Content-Encoding", "gzip")
	}
	return req, nil
}

// Refusal is what npm shows behind the status.
func (h *Hub) Refusal(_ int, message string) (contentType string, body []byte) {
	return hub.JSONRefusal("application/json", map[string]string{"error": message})
}
