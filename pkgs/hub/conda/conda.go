// Package conda is the hub of conda channels, as conda, mamba, pixi and their kin
// ask for them (https://conda.org/learn/ceps/).
//
// Its words: a channel has a folder for each subdir, which is a platform or noarch;
// repodata.json lists the packages of a subdir, and lies there packed too; sharded
// repodata (CEP 16) is an index of shards, one a package, named by their SHA-256.
//
// Packages never change. What lists and shards say of their content the ledger is
// taught (index.go). A list may say that packages lie elsewhere (base_url, CEP 15):
// if that is below a mirror or a second host, repodata.json is changed to lead here,
// and there are no packed forms and no shards of it, so that clients take that one.
//
// Tokens in paths (/t/TOKEN/) are refused: the mirror's stand in the configuration.
package conda

import (
	"cmp"
	"context"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is a server of channels. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	links  *hub.Links
	looked *hub.Recent[string, bool] // whether a list, by its digest, or the lists of a folder lead elsewhere
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub.
func New(o hub.Options) *Hub {
	return &Hub{hub: o, links: o.Links(), looked: hub.NewRecent[string, bool](10_000)}
}

// A kind is what a path is.
type kind uint8

const (
	unknown  kind = iota
	list          // repodata.json and its kin
	packed        // likewise
	shards        // the index of shards
	shard         // one of them
	other         // of a channel or a subdir; it may change
	artifact      // a package
)

// how is how paths of a kind are treated.
func (k kind) how() hub.Kind {
	if k == artifact || k == shard {
		return hub.Kind{Class: freshness.Immutable}
	}
	return hub.Kind{TTL: 5 * time.Minute}
}

var (
	subdir    = regexp.MustCompile(`^(noarch|[a-z]+-[a-z0-9_]+)$`)
	lists     = regexp.MustCompile(`^(current_)?repodata(_from_packages)?\.json(\.zst|\.bz2|\.gz)?$`)
	shardName = regexp.MustCompile(`^([0-9a-f]{64})\.msgpack\.zst$`)
	others    = regexp.MustCompile(`^(run_exports\.json(\.zst|\.bz2|\.gz)?|repodata\.jlap|channeldata\.json|notices\.json)$`)
)

// classify says what a canonical path is; home is the folder of the subdir that it
// is below, with a slash at its end.
func classify(p string) (k kind, home string) {
	dir, base := path.Split(p)
	for home = dir; len(home) > 1; home, _ = path.Split(home[:len(home)-1]) {
		if subdir.MatchString(path.Base(home)) {
			break
		}
	}
	within, own := len(home) > 1, home == dir
	switch {
	case within && (strings.HasSuffix(base, ".conda") || strings.HasSuffix(base, ".tar.bz2")) && !strings.HasPrefix(base, "."):
		return artifact, home
	case within && shardName.MatchString(base):
		return shard, home
	case within && own && base == "repodata_shards.msgpack.zst":
		return shards, home
	case within && own && lists.MatchString(base):
		if strings.HasSuffix(base, ".json") {
			return list, home
		}
		return packed, home
	case others.MatchString(base):
		return other, home
	}
	return unknown, ""
}

// Parse knows lists, shards and packages below folders of subdirs, and what is of a
// channel. The query does not count.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	k, _ := classify(asked.Path)
	base := path.Base(asked.Path)
	req := asked.Request(k.how())
	switch {
	case strings.HasPrefix(asked.Path, "/t/"):
		return nil, &exchange.Error{Status: http.StatusForbidden, Message: "tokens end at this proxy: ask without /t/TOKEN"}
	case k == artifact:
		req.Package, req.Version = nameAndVersion(hub.Name(base))
		req.Package = cmp.Or(h.hub.Members.Suspect(base, "-"), req.Package)
	case k == unknown || asked.Origin != "":
		return nil, hub.NoPath(asked.Path)
	case k == shard:
		req.Digest = exchange.Digest("sha256:" + base[:64])
	}
	return req, nil
}

// nameAndVersion takes NAME-VERSION-BUILD.TYPE apart.
func nameAndVersion(base string) (name, version string) {
	name, rest, _ := hub.CutRight(strings.TrimSuffix(strings.TrimSuffix(base, ".conda"), ".tar.bz2"), '-', 2)
	version, _, _ = strings.Cut(rest, "-")
	return name, version
}

// Rewrite leads lists to the hub, and learns from them and from shards.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		k, home := classify(req.Key.Path)
		switch {
		case k == shard:
			resp, err := next.Get(ctx, req)
			if err == nil {
				h.hub.Learn(next, req, resp, home, readShard(home))
			}
			return resp, err
		case k == list, k == packed, k == shards:
			return h.list(ctx, next, req, k, home)
		}
		return next.Get(ctx, req)
	})
}
