// Package cargo is the hub of Rust crates: a registry with a sparse index
// (https://doc.rust-lang.org/cargo/reference/registry-index.html#sparse-protocol).
//
// Its words: the index has one file a crate, a line a version; config.json at its
// root says in dl where crates lie, as a template with markers, and in api where
// searches go; a checksum is the SHA-256 of a .crate file.
//
// The index passes as it is. config.json is changed for each client (config.go):
// dl leads to /_dl/CRATE/VERSION/CHECKSUM below the hub, so that each request for
// a crate names its digest, and no index has to be read to prove it. Where crates
// really lie says the registry's own dl, which is in the cache as it came; it must
// be below a mirror or below one of options.files.
//
// It publishes nothing and owns no tokens: a registry that wants one for reading
// gets the mirror's (upstream.token), and clients need none.
package cargo

import (
	"context"
	"fmt"
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
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

const (
	ttl         = 5 * time.Minute // of the index
	configPath  = "/config.json"
	cratePrefix = "/_dl/"
	searchPath  = "/api/v1/crates"
)

// Kinds of paths.
var (
	index  = hub.Kind{TTL: ttl}
	crate  = hub.Kind{Class: freshness.Immutable, TTL: ttl}
	search = hub.Kind{Class: freshness.Passthrough, TTL: ttl, Query: true}
)

// Parse knows config.json, the files of the index, whose names are lower case,
// crates by their checksum, and the search. The query counts in the search alone.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	rest, isCrate := strings.CutPrefix(asked.Path, cratePrefix)
	_, base := hub.CutLast(asked.Path)
	switch {
	case isCrate:
		return parseCrate(asked.Request(crate), rest)
	case asked.Path == searchPath:
		req := asked.Request(search)
		req.Package = h.hub.Members.Sought(asked.Query)
		return req, nil
	case strings.HasPrefix(asked.Path, "/api/"):
		return nil, &exchange.Error{Status: http.StatusMethodNotAllowed, Message: "this registry is for reading"}
	case asked.Path == configPath:
		return asked.Request(index), nil
	case !isName(base, lower) || asked.Path != indexOf(base):
		return nil, hub.NoPath(asked.Path)
	}
	req := asked.Request(index)
	req.Package = base
	return req, nil
}

// parseCrate fills in a request for CRATE/VERSION/CHECKSUM.
func parseCrate(req *exchange.Request, rest string) (*exchange.Request, error) {
	name, rest, _ := strings.Cut(rest, "/")
	version, sum, _ := strings.Cut(rest, "/")
	digest, err := exchange.ParseDigest("sha256:" + sum)
	if err != nil || !isName(name, upper+lower) || !isName(version, ".+"+upper+lower) {
		return nil, hub.NoPath(req.Key.Path)
	}
	req.Package, req.Version, req.Digest = name, version, digest
	return req, nil
}

// indexOf is the crate's file in the index.
func indexOf(name string) string { return "/" + directory(name) + "/" + name }

// directory is where a crate's file is in the index: by the length of its name,
// or by its first letters.
func directory(name string) string {
	switch len(name) {
	case 1, 2:
		return fmt.Sprint(len(name))
	case 3:
		return "3/" + name[:1]
	}
	return name[:2] + "/" + name[2:4]
}

// lower are the characters of names in the index; names of crates have upper too.
const (
	lower = "abcdefghijklmnopqrstuvwxyz0123456789_-"
	upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// isName says whether s is of these characters.
func isName(s, of string) bool { return s != "" && len(s) <= 128 && strings.Trim(s, of) == "" }

// Rewrite changes config.json; all else is the same for every client.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if req.Key.Path != configPath {
			return next.Get(ctx, req)
		}
		return h.hub.Edited(ctx, next, req, "cargo 1 "+req.Client.Base, h.editConfig(req.Client.Base))
	})
}

// Gate sends requests for crates and searches where the registry's config.json
// says: nobody needs to know that before something is missing from the cache.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if path, _, _ := strings.Cut(req.Key.Path, "?"); !strings.HasPrefix(path, cratePrefix) && path != searchPath {
			return next.Get(ctx, req)
		}
		return h.hub.Members.InOrder(req, func(member string) (*exchange.Response, error) {
			return h.ask(ctx, next, cached, req, member)
		})
	})
}

// ask asks where the config.json of a member says; "" is that of all mirrors.
func (h *Hub) ask(ctx context.Context, next, cached exchange.Source, req *exchange.Request, member string) (*exchange.Response, error) {
	c, err := h.config(ctx, cached, member)
	if err != nil {
		return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "the registry's config.json cannot be had", Err: err}
	}
	_, query, _ := strings.Cut(req.Key.Path, "?")
	link := c.search(query)
	if strings.HasPrefix(req.Key.Path, cratePrefix) {
		link = c.crate(req.Package, req.Version, req.Digest.Hex())
	}
	origin, target, ok := h.links.Locate(link, nil)
	if !ok {
		return nil, &exchange.Error{
			Status: http.StatusBadGateway, Message: "the registry keeps this on a host that the proxy does not know",
			Err: fmt.Errorf("%q is neither below a mirror nor below one of options.files", link),
		}
	}
	ask := req.Clone()
	ask.Origin, ask.Target, ask.Member = origin, target, member
	return next.Get(ctx, ask)
}
