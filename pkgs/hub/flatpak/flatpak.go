// Package flatpak is the hub of OSTree repositories, as those of Flatpak are
// (https://ostreedev.github.io/ostree/formats/).
//
// Its words: an *object* is named by its SHA-256; the *summary* lists branches, and
// static *deltas*, each a superblock and the parts that it lists. The summary is the
// root of a generation ([hub.Generations]) with its signature, for which clients ask
// first, and so is the index of summaries that Flatpak has (summary.idx).
//
// Nothing that is signed is changed, and no signature is verified. Every object is
// proved by its name (proof.go), every part of a delta by the superblock, and that
// by what lists it. In *.flatpakrepo and *.flatpakref links lead to the hub.
//
// BUG: a summary of more than 16 MiB is refused, as every root of a generation is.
// OSTree itself took none of more than 10 MB for years, and Flatpak has its index.
package flatpak

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/ini"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const (
	ttl          = 5 * time.Minute // of what changes
	summaryPath  = "/summary"
	indexPath    = "/summary.idx"
	superblock   = "superblock"
	rules        = "flatpak 1 " // version of the rewriter
	digestLength = 64           // of a name in hexadecimal
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub         hub.Options
	links       *hub.Links
	generations *hub.Generations
	lists       *hub.Lists // delta indexes and superblocks
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options, g hub.GenerationOptions) *Hub {
	h := &Hub{hub: o, links: hub.NewLinks(o.Mirrors, nil)}
	h.lists = hub.NewLists(&h.hub, readList)
	h.generations = hub.NewGenerations(&h.hub, hub.Format{
		Companions: func(root string) ([]string, bool) {
			return []string{root + ".sig"}, root == summaryPath || root == indexPath
		},
		Read:    readRoot,
		Agrees:  agrees,
		Request: func(p string) *exchange.Request { return h.request(p, p) },
	}, g)
	return h
}

// Parse knows the paths of a repository. No query and no field counts.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	p, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	if ok, _ := classify(p); !ok {
		return nil, hub.NoPath(p)
	}
	return h.request(p, target), nil
}

// request is the exchange of a canonical path.
func (h *Hub) request(p, target string) *exchange.Request {
	_, digest := classify(p)
	class := freshness.Mutable
	if digest != "" {
		class = freshness.Immutable
	}
	req := h.hub.Request(p, target, class, ttl)
	req.Digest = digest
	req.Package = h.about(p)
	return req
}

// classify says whether there is such a canonical path, and of which content it is
// if its name says that.
func classify(p string) (ok bool, digest exchange.Digest) {
	dir, base := path.Split(p)
	switch {
	case dir == "/":
		switch strings.TrimSuffix(base, ".sig") {
		case "summary", "summary.idx":
			return true, ""
		}
		return base == "config" || isLinks(base), ""
	case dir == "/summaries/":
		if name, packed := strings.CutSuffix(base, ".gz"); packed && isHex(name, digestLength) {
			return true, exchange.Digest(Packed + ":" + name)
		}
		return base != "", "" // deltas of summaries, signatures of their index
	case strings.HasPrefix(dir, "/objects/"):
		return object(dir[len("/objects/"):], base)
	case strings.HasPrefix(dir, "/refs/"), strings.HasPrefix(dir, "/delta-indexes/"), strings.HasPrefix(dir, "/deltas/"):
		return base != "", ""
	}
	return isLinks(base), ""
}

// object is classify of /objects/XX/REST.TYPE.
func object(dir, base string) (ok bool, digest exchange.Digest) {
	name, kind, _ := strings.Cut(base, ".")
	if dir = strings.TrimSuffix(dir, "/"); !isHex(dir, 2) || !isHex(name, digestLength-2) {
		return false, ""
	}
	switch kind {
	case "commit", "dirtree", "dirmeta":
		return true, exchange.Digest("sha256:" + dir + name)
	case "filez":
		return true, exchange.Digest(File + ":" + dir + name)
	case "commitmeta", "commitmeta2", "commit-tombstone", "sizes2":
		return true, "" // signatures and the like, which come and go
	}
	return false, ""
}

func isHex(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }

// isLinks says that a file of this name has links that lead to the hub.
func isLinks(base string) bool {
	return strings.HasSuffix(base, ".flatpakrepo") || strings.HasSuffix(base, ".flatpakref")
}

// Gate publishes summaries.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return h.generations.Gate(next, cached)
}

// Rewrite gives signatures and deltas as the client's summary has them, and leads
// the links of *.flatpakrepo and *.flatpakref to the hub.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		p := req.Key.Path
		dir, base := path.Split(p)
		switch {
		case p == summaryPath, p == indexPath:
			return h.generations.Root(ctx, next, req)
		case p == summaryPath+".sig":
			return h.generations.Ahead(ctx, next, req, summaryPath)
		case p == indexPath+".sig":
			return h.generations.Companion(ctx, next, req, indexPath, false)
		case isLinks(base):
			return h.hub.Edited(ctx, next, req, rules+req.Client.Base, h.edit(req.Client.Base))
		case strings.HasPrefix(p, "/deltas/") && base == superblock:
			return h.superblock(ctx, next, req)
		case strings.HasPrefix(p, "/deltas/"):
			return h.lists.Get(ctx, next, req, dir+superblock, func(anew bool) (*exchange.Response, error) {
				return h.superblock(ctx, next, h.ask(dir+superblock, req, anew))
			})
		}
		return next.Get(ctx, req)
	})
}

// superblock answers for the one of a delta: as the client's summary lists it, or
// the index of the deltas that lead to the same commit.
func (h *Hub) superblock(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	gen, err := h.generations.Published(ctx, next, req.Client, summaryPath)
	if err == nil && gen != nil {
		if _, resp, ok, err := h.generations.Member(ctx, next, req, gen); ok {
			return resp, err
		}
	}
	index := indexOf(req.Key.Path)
	if index == "" {
		return next.Get(ctx, req)
	}
	return h.lists.Get(ctx, next, req, index, func(anew bool) (*exchange.Response, error) {
		return next.Get(ctx, h.ask(index, req, anew))
	})
}

// ask is the request for a list that belongs to req.
func (h *Hub) ask(p string, req *exchange.Request, anew bool) *exchange.Request {
	ask := h.request(p, p)
	ask.Client = req.Client
	if anew && ask.Policy.Class == freshness.Mutable {
		ask.Policy.TTL, ask.Policy.StaleWhileRevalidate = 0, 0
	}
	return ask
}

// edit leads the links of a file of keys and values to the hub: those of the
// repository itself, and of other such files.
func (h *Hub) edit(base string) hub.Edit {
	return func(dst io.Writer, src io.Reader) error {
		ours := false
		err := ini.Copy(dst, src, func(group, key, value string) (string, error) {
			ours = ours || strings.HasPrefix(group, "Flatpak Re")
			if key == "Url" || key == "RuntimeRepo" {
				if to, ok := h.links.Map(withSlash(value), nil); ok {
					return base + to, nil
				}
			}
			return value, nil
		})
		if err == nil && !ours {
			err = errors.New("no group of Flatpak's in it")
		}
		return err
	}
}

// withSlash is the link of a directory with a slash at its end.
func withSlash(link string) string {
	if isLinks(link) || strings.HasSuffix(link, "/") {
		return link
	}
	return link + "/"
}
