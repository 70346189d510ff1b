// Package nuget is the hub of NuGet feeds that speak version 3 of the protocol
// (https://learn.microsoft.com/nuget/api/overview).
//
// Its words: the service index lists resources, each an address by its type; the
// package base address has versions and packages by their lower-case identity; a
// registration is what is known of a package, in pages and leaves that link to
// each other and to the packages. No path but that of the service index is fixed:
// clients go where it says.
//
// The service index and all documents are changed for each client (index.go):
// links lead to this hub where they lie below a mirror or a second host, and stay
// where not. Packages never change, documents do, and searches are kept for a
// minute.
//
// It publishes nothing. The protocol names no digest of a package where clients
// look, so that nothing but its length is proved here: race only mirrors that one
// would trust alone. Version 2 of the protocol (OData) is not spoken.
package nuget

import (
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one feed. It is safe for concurrent use.
type Hub struct {
	hub   hub.Options
	links *hub.Links
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

// Freshness of what changes.
const (
	serviceTTL = time.Hour
	ttl        = 5 * time.Minute
	searchTTL  = time.Minute // also of what else has a query
)

// A kind is what a path is.
type kind uint8

const (
	other    kind = iota // a readme, an icon: passed on as it is
	service              // the service index
	artifact             // a package, its manifest or its symbols
	document             // JSON with links
	search               // likewise, by a query
)

// kinds is how paths of each kind are treated.
var kinds = [...]hub.Kind{
	other:    {TTL: ttl, Query: true},
	service:  {TTL: serviceTTL},
	artifact: {Class: freshness.Immutable, Query: true},
	document: {TTL: ttl, Query: true},
	search:   {TTL: searchTTL, Query: true},
}

// Parse takes any path of a file, since the service index says what there is; one
// that it cannot place is mutable. The query counts, but for the service index.
// The fields that clients describe themselves by do not.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	k := classify(asked.Path, asked.Query)
	if k == other && strings.HasSuffix(asked.Path, "/") {
		return nil, hub.NoPath(asked.Path)
	}
	req := asked.Request(kinds[k])
	req.Package, req.Version = h.about(asked.Path, asked.Query)
	return req, nil
}

// classify says what a canonical path is. The service index is at the top of a
// mirror, or where the largest feed has it.
func classify(path, query string) kind {
	if _, _, ok := identity(path); ok {
		return artifact
	}
	switch {
	case path == "/index.json", path == "/v3/index.json":
		return service
	case query != "":
		return search
	case strings.HasSuffix(path, ".json"):
		return document
	}
	return other
}

// identity is whose file lies at …/ID/VERSION/ID.VERSION.nupkg, .snupkg or
// …/ID/VERSION/ID.nuspec.
func identity(path string) (id, version string, ok bool) {
	dir, file := hub.CutLast(path)
	parent, version := hub.CutLast(dir)
	_, id = hub.CutLast(parent)
	if id == "" || version == "" {
		return "", "", false
	}
	switch file {
	case id + "." + version + ".nupkg", id + "." + version + ".snupkg", id + ".nuspec":
		return hub.Name(id), hub.Name(version), true
	}
	return "", "", false
}
