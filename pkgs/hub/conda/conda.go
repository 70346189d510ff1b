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
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub is a server of channels. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	links  *hub.Links
	ledger *ledger.Ledger

	mu     sync.Mutex
	looked map[string]bool // guarded by mu; whether a list, by its digest, or the lists of a folder lead elsewhere
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub. l may be nil.
func New(o hub.Options, l *ledger.Ledger) *Hub {
	return &Hub{hub: o, links: o.Links(), ledger: l, looked: map[string]bool{}}
}

const ttl = 5 * time.Minute

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
	p, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	k, _ := classify(p)
	switch req, second := h.hub.File(p, target, ""); {
	case strings.HasPrefix(p, "/t/"):
		return nil, &exchange.Error{Status: http.StatusForbidden, Message: "tokens end at this proxy: ask without /t/TOKEN"}
	case k == artifact:
		if !second {
			if strings.HasPrefix(p, hub.FilePrefix) {
				break
			}
			req = h.hub.Request(p, target, freshness.Immutable, 0)
		}
		req.Package, req.Version = nameAndVersion(hub.Name(path.Base(p)))
		req.Package = cmp.Or(h.hub.Members.Suspect(path.Base(p), "-"), req.Package)
		return req, nil
	case k == unknown || strings.HasPrefix(p, hub.FilePrefix):
	case k == shard:
		req := h.hub.Request(p, target, freshness.Immutable, 0)
		req.Digest = exchange.Digest("sha256:" + path.Base(p)[:64])
		return req, nil
	default:
		return h.hub.Request(p, target, freshness.Mutable, ttl), nil
	}
	return nil, fmt.Errorf("%s is no path of a channel: %w", p, fs.ErrNotExist)
}

// nameAndVersion takes NAME-VERSION-BUILD.TYPE apart, from the right.
func nameAndVersion(base string) (name, version string) {
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".conda"), ".tar.bz2")
	build := strings.LastIndexByte(base, '-')
	if build <= 0 {
		return "", ""
	}
	at := strings.LastIndexByte(base[:build], '-')
	if at <= 0 {
		return "", ""
	}
	return base[:at], base[at+1 : build]
}

// Rewrite leads lists to the hub, and learns from them and from shards.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		k, home := classify(req.Key.Path)
		switch {
		case k == shard && !req.Head:
			resp, err := next.Get(ctx, req)
			if err == nil && resp.Entry.Status == http.StatusOK && !resp.NoStore {
				h.ledger.Learn(next, req, resp.Entry, home, shardFacts(home))
			}
			return resp, err
		case k == list, k == packed, k == shards:
			return h.list(ctx, next, req, k, home)
		}
		return next.Get(ctx, req)
	})
}
