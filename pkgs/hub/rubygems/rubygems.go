// Package rubygems is the hub of gem repositories, as Bundler and gem ask for them:
// the compact index (https://guides.rubygems.org/rubygems-org-compact-index-api/)
// and the older one of marshalled lists.
//
// Its words: versions lists all gems, each with the MD5 of its info, and grows by
// lines at its end until it is begun anew; info has a line a version of one gem; a
// spec is a marshalled list of all, or the description of one version; a gem is
// what is installed.
//
// Gems never change, and what an info says of their content the ledger is taught.
// Nothing is rewritten but a field: Bundler appends what is new to what it has and
// compares the MD5 of the whole with the ETag, so that is the ETag (etag.go).
//
// It takes no pushes. What of a file's name is the gem's and what its version is known
// for certain from its info alone: filters are told the version if there is but one
// that it may be.
package rubygems

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	ledger *ledger.Ledger
	now    func() time.Time

	mu      sync.Mutex
	md5     map[exchange.Digest]exchange.Digest // guarded by mu; of content that was read for it, by its digest
	created string                              // guarded by mu; created_at of versions, the latest seen
	known   time.Time                           // guarded by mu; when upstream was last asked for versions
	asked   map[string]time.Time                // guarded by mu; when an info was validated for being another one, by path
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub. l may be nil.
func New(o hub.Options, l *ledger.Ledger) *Hub {
	h := &Hub{hub: o, ledger: l, now: o.Now, md5: map[exchange.Digest]exchange.Digest{}, asked: map[string]time.Time{}}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

const (
	ttl         = 5 * time.Minute
	versionsTTL = time.Minute

	versionsPath = "/versions"
	namesPath    = "/names"
	infoPrefix   = "/info/"
	gemPrefix    = "/gems/"
	apiPrefix    = "/api/"
)

var (
	gemName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	gemFile = regexp.MustCompile(`^/gems/[^/]+\.gem$`)
	gemSpec = regexp.MustCompile(`^/quick/Marshal\.4\.8/[^/]+\.gemspec\.rz$`)
	specs   = regexp.MustCompile(`^/(latest_|prerelease_)?specs\.4\.8(\.gz)?$`)
)

// Parse knows the files of both indexes, gems, and what is below /api/, which
// passes through. The query counts there alone.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	p, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	name, isInfo := strings.CutPrefix(p, infoPrefix)
	switch {
	case p == versionsPath, p == namesPath:
		return h.hub.Request(p, target, freshness.Mutable, versionsTTL), nil
	case isInfo && gemName.MatchString(name):
		req := h.hub.Request(p, target, freshness.Mutable, ttl)
		req.Package = name
		return req, nil
	case gemFile.MatchString(p), gemSpec.MatchString(p):
		req := h.hub.Request(p, target, freshness.Immutable, 0)
		req.Package, req.Version = h.gemOf(p)
		return req, nil
	case specs.MatchString(p):
		return h.hub.Request(p, target, freshness.Mutable, ttl), nil
	case strings.HasPrefix(p, apiPrefix) && !strings.HasSuffix(p, "/"):
		req := h.hub.Request(p, target, freshness.Passthrough, 0)
		req.Policy.Class = freshness.Passthrough
		req.Package = h.sought(p, r.URL.RawQuery)
		if r.URL.RawQuery != "" {
			q := "?" + hub.Query(r.URL.RawQuery)
			req.Key.Path, req.Target = req.Key.Path+q, req.Target+q
		}
		return req, nil
	}
	return nil, fmt.Errorf("%s is no path of a gem repository: %w", p, fs.ErrNotExist)
}

// Rewrite gives the files of the compact index the ETag that Bundler wants, and
// learns from them. An info is the one that versions, as a client was given it a
// moment ago, speaks of, if that is to be had.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		switch path := req.Key.Path; {
		case path == versionsPath:
			resp, sum, err := h.tagged(ctx, next, req)
			if sum != "" && !resp.NoStore && !req.Head {
				h.knows(resp.Entry.Received)
				h.ledger.Learn(next, req, resp.Entry, infoPrefix, readVersions)
			}
			return resp, err
		case path == namesPath:
			resp, _, err := h.tagged(ctx, next, req)
			return resp, err
		case strings.HasPrefix(path, infoPrefix):
			resp, err := h.info(ctx, next, req)
			if err == nil && resp.Entry.Status == http.StatusOK && !resp.NoStore && !req.Head {
				h.ledger.Learn(next, req, resp.Entry, gemPrefix+req.Package+"-", infoOf(req.Package))
			}
			return resp, err
		}
		return next.Get(ctx, req)
	})
}

// info is the info of a gem. As long as what versions says is known to be true, it
// is fresh if it is what that says, and validated if not.
func (h *Hub) info(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	fact, ok := h.ledger.Lookup(ctx, req.Key)
	if !ok || !h.current() {
		resp, _, err := h.tagged(ctx, next, req)
		return resp, err
	}
	pinned := req.Clone()
	pinned.Policy.TTL = freshness.Forever
	resp, sum, err := h.tagged(ctx, next, pinned)
	if err != nil || sum == fact.Digest || !h.again(req.Key.Path) {
		return resp, err
	}
	resp.Body.Close()
	pinned = req.Clone()
	pinned.Policy.TTL = 0
	resp, _, err = h.tagged(ctx, next, pinned)
	return resp, err
}

// knows remembers when upstream was asked for versions.
func (h *Hub) knows(received time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = received
}

// current says whether what versions said was true a moment ago.
func (h *Hub) current() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now().Sub(h.known) < ttl
}

// maxAsked is how many infos that did not fit are remembered.
const maxAsked = 10_000

// again says whether an info may be validated since it is another one than versions
// says: once a minute, as mirrors may be between the two.
func (h *Hub) again(path string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if now.Sub(h.asked[path]) < versionsTTL {
		return false
	}
	if len(h.asked) >= maxAsked {
		clear(h.asked)
	}
	h.asked[path] = now
	return true
}
