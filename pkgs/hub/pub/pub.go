// Package pub is the hub of pub, the package repositories of Dart and Flutter
// (https://github.com/dart-lang/pub/blob/master/doc/repository-spec-v2.md).
//
// Its words: a *listing* is the document of a package, with all its versions; an
// *archive* is what is installed, and lies where a version's archive_url says.
//
// Listings change; archives never do. The links to archives in a listing lead to
// this hub where they lie below a mirror or a second host, and stay where not;
// nothing else in it is touched. What it says of their content is taught to the
// ledger. Where it says when versions were published, filters hear of it, and what they
// do not let pass it does not show (sift.go).
//
// It takes no tokens and publishes nothing.
package pub

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub   hub.Options
	links *hub.Links
}

var (
	_ hub.Hub     = (*Hub)(nil)
	_ hub.Merger  = (*Hub)(nil)
	_ hub.Refuser = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

const (
	ttl       = 5 * time.Minute // of what changes
	rules     = "pub 1"         // version of the rewriter
	mediaType = "application/vnd.pub.v2+json"
	apiPrefix = "/api/packages/"
)

// A kind is what a path is.
type kind uint8

const (
	unknown  kind = iota
	listing       // of a package, or of one version of it
	document      // about a package
	archive
	search // passed through
	upload // refused
)

// kinds is how paths of each kind are treated. The query of an archive is what a link
// to it has.
var kinds = [...]hub.Kind{
	listing:  {TTL: ttl, Accept: mediaType},
	document: {TTL: ttl, Accept: mediaType},
	archive:  {Class: freshness.Immutable, Query: true},
	search:   {Class: freshness.Passthrough, Query: true, Accept: mediaType},
}

// Parse knows the paths of a repository, and any of a second host.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	k, name, version := classify(asked.Path)
	name = h.about(k, asked.Path, name, asked.Query)
	if asked.Origin != "" {
		k = archive
	}
	switch k {
	case unknown:
		return nil, hub.NoPath(asked.Path)
	case upload:
		return nil, &exchange.Error{Status: http.StatusMethodNotAllowed, Message: "this repository is a cache: publish at the repository behind it"}
	}
	req := asked.Request(kinds[k])
	req.Package, req.Version = name, version
	return req, nil
}

// classify says what the path of a key is, and of which package and version.
func classify(path string) (k kind, name, version string) {
	path, _, _ = strings.Cut(path, "?")
	if rest, ok := strings.CutPrefix(path, apiPrefix); ok {
		name, rest, more := strings.Cut(rest, "/")
		version, isVersion := strings.CutPrefix(rest, "versions/")
		switch {
		case name == "versions" && more: // new, newUpload, newUploadFinish
			return upload, "", ""
		case name != "" && !more:
			return listing, name, ""
		case name != "" && rest == "advisories":
			return document, name, ""
		case name != "" && isVersion && version != "" && !strings.Contains(version, "/"):
			return listing, name, version
		}
		return unknown, "", ""
	}
	switch path {
	case "/api/search", "/api/package-names", "/api/package-name-completion-data":
		return search, "", ""
	}
	base, ok := strings.CutSuffix(path, ".tar.gz")
	dir, base := hub.CutLast(base)
	if !ok || base == "" {
		return unknown, "", ""
	}
	// /packages/NAME/versions/VERSION.tar.gz, /api/archives/NAME-VERSION.tar.gz, or
	// wherever else a listing says.
	if rest, ok := strings.CutSuffix(dir, "/versions"); ok {
		_, name = hub.CutLast(rest)
		return archive, name, base
	}
	name, version, _ = strings.Cut(base, "-")
	return archive, name, version
}

// about is the package that a path of kind k names, or the private one that it may
// be about.
func (h *Hub) about(k kind, path, name, query string) string {
	within := name
	switch {
	case k == search:
		return h.hub.Members.Sought(query)
	case k == archive && !strings.HasPrefix(path, "/packages/"): // anywhere
		within = strings.TrimPrefix(path, "/api/archives/")
	}
	return cmp.Or(h.hub.Members.Suspect(within, "-"), hub.Name(name))
}

// Index is the listing of all versions of the package.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	path, ok := hub.Canonical(apiPrefix + req.Package)
	if !ok || req.Package == "" || strings.Contains(req.Package, "/") || req.Policy.Class == freshness.Passthrough {
		return nil
	}
	return hub.IndexAt(h, req, path)
}

// Merge is the first part, with the versions of the others that it does not have. Links
// to archives are absolute.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	return hub.MergeJSON(dst, parts, hub.JSONMember{Name: "versions", By: "version", Needed: true})
}

// Rewrite leads the archives of listings to this hub, by absolute links, since
// there are no others, and learns what they must be.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if k, _, _ := classify(req.Key.Path); k != listing {
			return next.Get(ctx, req)
		}
		return h.hub.Copied(ctx, next, req, hub.Index{
			Rules: rules, Base: req.Client.Base, Links: h.links, Prefix: "/", Copy: h.copy, Sift: h.sift(next, req),
		})
	})
}

// copy copies a listing, its archives as links to the hub, and tells what it says of
// them.
func (h *Hub) copy(dst io.Writer, src io.Reader, c *hub.Copy) error {
	// Of one version: the key of its archive, where that is the hub's, and the digest.
	var key, sum string
	link := hub.JSONChange(func(link string) (string, bool) {
		path, _ := c.Map(link) // "" is no path of the hub
		req, ok := hub.Follow(h, path)
		if !ok {
			return "", false // elsewhere, where it is not ours to fetch
		}
		if k, _, _ := classify(req.Key.Path); k != archive && req.Origin == "" {
			return "", false
		}
		key = req.Key.Path
		return c.Base + path, true
	})
	end := hub.JSONEnd(func() error {
		if digest, err := exchange.ParseDigest("sha256:" + strings.ToLower(sum)); err == nil && key != "" {
			c.Tell(key, exchange.Fact{Digest: digest})
		}
		key, sum = "", ""
		return nil
	})
	digest := hub.JSONInto(&sum)
	return hub.CopyJSON(dst, src, hub.JSONRules{
		"archive_url": link, "archive_sha256": digest, "/": end, // the listing of one version
		"latest/archive_url": link, "latest/archive_sha256": digest, "latest/": end,
		"versions/*/archive_url": link, "versions/*/archive_sha256": digest, "versions/*/": end,
	})
}

// Refusal is what dart shows.
func (h *Hub) Refusal(status int, message string) (contentType string, body []byte) {
	return hub.JSONRefusal(mediaType, map[string]any{"error": map[string]string{
		"code":    strings.ReplaceAll(http.StatusText(status), " ", ""),
		"message": message,
	}})
}
