// Package pacman is the hub of pacman's repositories.
//
// Its words: a *database*, REPO.db or REPO.files, is the root of a generation
// ([hub.Generations]), and its detached signature comes with it. It lists
// packages, which are files beside it, each with a signature.
//
// Nothing is rewritten, and no signature is verified.
package pacman

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// How long mutable paths stay fresh.
const (
	indexTTL = 5 * time.Minute
	stampTTL = time.Minute // of what says when a mirror was updated
	otherTTL = time.Hour
)

// Options of a [Hub].
type Options = hub.GenerationOptions

// A Hub is one tree of repositories. It is safe for concurrent use.
type Hub struct {
	opts        hub.Options
	generations *hub.Generations
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options, opts Options) (*Hub, error) {
	if o.Name == "" {
		return nil, errors.New("pacman: no name")
	}
	h := &Hub{opts: o}
	h.generations = hub.NewGenerations(&h.opts, hub.Format{
		Companions: companions,
		Request:    func(p string) *exchange.Request { return h.request(p, p) },
	}, opts)
	return h, nil
}

// Parse knows every path; no field of the client's and no query counts.
// REPO.db.tar.gz is REPO.db.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	canonical, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	return h.request(canonical, target), nil
}

// request is the exchange of a canonical path.
func (h *Hub) request(canonical, target string) *exchange.Request {
	class, ttl := classify(canonical)
	req := h.opts.Request(canonical, target, class, ttl)
	req.Key.Path = database(canonical)
	if name, _, ok := strings.Cut(path.Base(canonical), ".pkg.tar."); ok {
		req.Package, req.Version = nameVersion(hub.Name(name))
	}
	return req
}

// classify is the table of PROTOCOLS section 6.
func classify(p string) (freshness.Class, time.Duration) {
	base := path.Base(p)
	switch {
	case strings.HasSuffix(p, "/"):
		return freshness.Mutable, otherTTL // a listing
	case isDatabase(strings.TrimSuffix(database(base), ".sig")):
		return freshness.Mutable, indexTTL
	case strings.Contains(base, ".pkg.tar."):
		return freshness.Immutable, 0
	case base == "lastsync" || base == "lastupdate":
		return freshness.Mutable, stampTTL
	}
	return freshness.Mutable, 0
}

// isDatabase says that p names a database, in its short spelling.
func isDatabase(p string) bool {
	return strings.HasSuffix(p, ".db") || strings.HasSuffix(p, ".files")
}

// database is the short spelling of a database's or its signature's name: a
// mirror has REPO.db as a link to REPO.db.tar.gz.
func database(p string) string {
	name, signed := strings.CutSuffix(p, ".sig")
	for _, kind := range []string{".db", ".files"} {
		i := strings.LastIndex(name, kind+".tar")
		if i < 0 {
			continue
		}
		switch name[i+len(kind):] {
		case ".tar", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2":
			name = name[:i+len(kind)]
			if signed {
				name += ".sig"
			}
			return name
		}
	}
	return p
}

// nameVersion reads NAME-[EPOCH:]VERSION-RELEASE-ARCHITECTURE.
func nameVersion(s string) (name, version string) {
	s, _, _ = hub.CutRight(s, '-', 1)
	name, version, _ = hub.CutRight(s, '-', 2)
	return name, version
}

// companions are the signature of a database. The two databases of a repository
// are sets of their own: no client compares them.
func companions(root string) (paths []string, ok bool) {
	if !isDatabase(root) {
		return nil, false
	}
	return []string{root + ".sig"}, true
}

// Gate publishes databases.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return h.generations.Gate(next, cached)
}

// Rewrite gives a signature as it came with the client's database, and learns
// from databases.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		root, signed := strings.CutSuffix(req.Key.Path, ".sig")
		switch {
		case !isDatabase(root):
			_, listed := h.opts.Ledger.Known(req.Key)
			return h.generations.File(ctx, next, req, listed, func(root string) bool { return path.Dir(root) == path.Dir(req.Key.Path) })
		case signed:
			return h.generations.Companion(ctx, next, req, root, false)
		}
		resp, err := h.generations.Root(ctx, next, req)
		if err == nil {
			h.learn(next, req, resp)
		}
		return resp, err
	})
}
