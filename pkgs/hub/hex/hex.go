// Package hex is the hub of Hex, the repositories of Erlang, Elixir and Gleam
// (https://github.com/hexpm/specifications).
//
// Its words: a *resource* is one of the registry's signed files (names, versions, a
// package, a policy): a message of Protocol Buffers, signed and packed by gzip; a
// *tarball* is what is installed, whose digest the resource of its package has.
// Below /repos/REPO/ an organisation has all of that for itself; below /installs/
// lie the tools that mix fetches, listed in files that are signed too.
//
// Nothing is rewritten: resources name no host, and clients check signatures over
// every byte. This hub checks none. It knows the read side of a repository alone:
// the HTTP API, and so logins and publishing, is elsewhere (HEX_API_URL).
package hex

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const ttl = 5 * time.Minute // of what changes

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub         hub.Options
	generations *hub.Generations // of lists of tools
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
	_ hub.Indexer    = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub {
	h := &Hub{hub: o}
	h.generations = hub.NewGenerations(&h.hub, hub.Format{
		Companions: signatures,
		Unordered:  true,
		Request:    func(p string) *exchange.Request { return h.hub.Request(p, p, freshness.Mutable, ttl) },
	}, hub.GenerationOptions{})
	return h
}

// A kind is what a path is.
type kind uint8

const (
	unknown  kind = iota
	resource      // of the registry
	document      // another file that may change
	list          // of tools
	fixed         // a file that does not change
)

// kinds is how paths of each kind are treated.
var kinds = [...]hub.Kind{
	resource: {TTL: ttl},
	document: {TTL: ttl},
	list:     {TTL: ttl},
	fixed:    {Class: freshness.Immutable},
}

// Parse knows the read side of a repository. No query and no field counts.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	p := classify(asked.Path)
	if p.kind == unknown {
		return nil, hub.NoPath(asked.Path)
	}
	req := asked.Request(kinds[p.kind])
	req.Package, req.Version = cmp.Or(h.hub.Members.Suspect(path.Base(asked.Path), "-"), hub.Name(p.name)), p.version
	return req, nil
}

// A place is what a canonical path says.
type place struct {
	kind kind
	repo string // "" or "/repos/REPO"

	name, version string // of a package or a tool
}

// classify says what a canonical path is.
func classify(p string) place {
	repo := ""
	if rest, ok := strings.CutPrefix(p, "/repos/"); ok {
		organisation, _, _ := strings.Cut(rest, "/")
		if organisation == "" {
			return place{}
		}
		repo = "/repos/" + organisation
	}
	dir, base := path.Split(p[len(repo):])
	of := func(k kind) place { return place{kind: k, repo: repo} }
	switch {
	case base == "":
	case dir == "/" && (base == "names" || base == "versions"), dir == "/policies/" && repo != "":
		return of(resource)
	case dir == "/" && base == "public_key":
		return of(fixed)
	case dir == "/packages/":
		return place{kind: resource, repo: repo, name: base}
	case dir == "/tarballs/":
		return of(fixed).named(base, ".tar")
	case dir == "/docs/": // may be published again
		return of(document).named(base, ".tar.gz")
	case strings.HasPrefix(dir, "/installs/") && repo == "":
		return tool(dir, base)
	}
	return place{}
}

// tool is classify of what is below /installs/.
func tool(dir, base string) place {
	versioned := place{kind: fixed}.named(strings.TrimSuffix(base, ".ez"), "")
	switch {
	case versioned.kind != unknown && strings.Count(dir, "/") == 3: // /installs/ELIXIR/NAME-VERSION
		return versioned
	case dir == "/installs/" && strings.HasSuffix(base, ".csv"):
		return place{kind: list}
	}
	return place{kind: document}
}

// named is p with name and version that the file NAME-VERSION has before its suffix,
// where a name has no dash; unknown if it is named in another way.
func (p place) named(file, suffix string) place {
	stem, ok := strings.CutSuffix(file, suffix)
	p.name, p.version, _ = strings.Cut(stem, "-")
	if !ok || p.name == "" || p.version == "" {
		return place{}
	}
	return p
}

// signatures are those of a list of tools.
func signatures(p string) (paths []string, ok bool) {
	if classify(p).kind != list {
		return nil, false
	}
	return []string{p + ".signed"}, true
}

// Index is the resource of the package. Nothing is merged: resources are signed. A tool
// is no package.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	p := classify(req.Key.Path)
	if p.name == "" || strings.HasPrefix(req.Key.Path, "/installs/") {
		return nil
	}
	return hub.IndexAt(h, req, p.repo+"/packages/"+p.name)
}

// Rewrite learns from what passes, and gives the signature that came with a list.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, ok, err := h.generations.Signed(ctx, next, req)
		if !ok {
			resp, err = next.Get(ctx, req)
		}
		switch p := classify(req.Key.Path); {
		case err != nil:
			return nil, err
		case p.kind == list:
			h.hub.Learn(next, req, resp, path.Dir(req.Key.Path)+"/", func(r io.Reader, teach hub.Teach) error {
				return readTools(req.Key.Path, r, teach)
			})
		case p.kind == fixed && resp.Entry.Status == http.StatusOK && resp.Entry.Header.Get("Etag") == "":
			// rebar3 takes no tarball without an entity tag, and not all mirrors send one.
			if f, _ := h.hub.Ledger.Known(req.Key); f.Digest != "" {
				return hub.WithTag(resp, f.Digest), nil
			}
		case p.kind == resource && p.name != "":
			prefix := p.repo + "/tarballs/" + p.name + "-"
			h.hub.Learn(next, req, resp, prefix, func(r io.Reader, teach hub.Teach) error {
				return readPackage(r, hub.Name(p.name), func(version string, d exchange.Digest) {
					if to, ok := hub.Canonical(prefix + version + ".tar"); ok {
						teach(to, exchange.Fact{Digest: d})
					}
				})
			})
		}
		return resp, nil
	})
}

// Gate lets no page in where a resource was asked for: clients would find it wrong,
// each of them until it is asked for again. Another mirror is asked instead.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	next = h.generations.Gate(next, cached)
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if classify(req.Key.Path).kind != resource || req.Head {
			return next.Get(ctx, req)
		}
		return h.hub.Judged(ctx, next, req, hub.BeginsWith("\x1f\x8b"))
	})
}
