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
	"cmp"
	"context"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	newest *hub.Newest                                   // of versions
	known  atomic.Int64                                  // when upstream was last asked for versions, in Unix nanoseconds
	again  *hub.Pace                                     // of infos that are another one than versions says, by path: mirrors may be between the two
	md5    *hub.Recent[exchange.Digest, exchange.Digest] // of content that was read for it, by its digest
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
	_ hub.Indexer    = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub {
	h := &Hub{hub: o, md5: hub.NewRecent[exchange.Digest, exchange.Digest](maxSums)}
	h.newest, h.again = hub.NewNewest(&h.hub), hub.NewPace(&h.hub, versionsTTL)
	return h
}

const (
	ttl         = 5 * time.Minute
	versionsTTL = time.Minute

	versionsPath = "/versions"
	namesPath    = "/names"
	rootPath     = "/" // gem asks by it whether there is a compact index
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
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	var kind hub.Kind
	var name, version string
	p := asked.Path
	info, isInfo := strings.CutPrefix(p, infoPrefix)
	switch {
	case p == versionsPath, p == namesPath:
		kind.TTL = versionsTTL
	case isInfo && gemName.MatchString(info):
		kind.TTL, name = ttl, info
	case gemFile.MatchString(p), gemSpec.MatchString(p):
		kind.Class = freshness.Immutable
		name, version = h.gemOf(p)
	case specs.MatchString(p), p == rootPath:
		kind.TTL = ttl
	case strings.HasPrefix(p, apiPrefix) && !strings.HasSuffix(p, "/"):
		kind.Class, kind.Query = freshness.Passthrough, true
		name = cmp.Or(h.hub.Members.Suspect(p, "-"), h.hub.Members.Sought(asked.Query))
	default:
		return nil, hub.NoPath(p)
	}
	req := asked.Request(kind)
	req.Package, req.Version = name, version
	return req, nil
}

// Index is the gem's info. Infos are not merged, since versions has the MD5 of each as
// one member has it.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if !gemName.MatchString(req.Package) {
		return nil
	}
	return hub.IndexAt(h, req, infoPrefix+req.Package)
}

// fileName is NAME-VERSION[-PLATFORM].
var fileName = regexp.MustCompile(`^(.+?)-([0-9]+(?:\.[0-9A-Za-z]+)*)(-.*)?$`)

// gemOf is the gem whose file lies at p, or the private one that it may be of, and its
// version if there is but one that it may have.
func (h *Hub) gemOf(p string) (name, version string) {
	base := hub.Name(path.Base(p))
	for _, ext := range [...]string{".gem", ".gemspec.rz"} {
		base = strings.TrimSuffix(base, ext)
	}
	name = base
	if m := fileName.FindStringSubmatch(base); m != nil {
		name = m[1]
		if version = m[2]; anotherVersion.MatchString(m[3]) {
			version = ""
		}
	}
	if private := h.hub.Members.Suspect(base, "-"); private != "" && private != name {
		return private, ""
	}
	return name, version
}

// anotherVersion is in what seems to be a platform, but may be the version.
var anotherVersion = regexp.MustCompile(`-[0-9]`)

// Rewrite gives the files of the compact index the ETag that Bundler wants, and
// learns from them. An info is the one that versions, as a client was given it a
// moment ago, speaks of, if that is to be had.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		switch path := req.Key.Path; {
		case path == versionsPath, path == namesPath:
			resp, sum, err := h.tagged(ctx, next, req)
			if path == versionsPath && sum != "" && !resp.NoStore && !req.Head {
				h.known.Store(resp.Entry.Received.UnixNano())
				h.hub.Learn(next, req, resp, infoPrefix, readVersions)
			}
			return resp, err
		case strings.HasPrefix(path, infoPrefix):
			resp, err := h.info(ctx, next, req)
			h.hub.Learn(next, req, resp, gemPrefix+req.Package+"-", infoOf(req.Package))
			return resp, err
		}
		return next.Get(ctx, req)
	})
}

// info is the info of a gem. As long as what versions says is known to be true, it
// is fresh if it is what that says, and validated if not.
func (h *Hub) info(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	fact, ok := h.hub.Ledger.Lookup(ctx, req.Key)
	if !ok || h.hub.Time().Sub(time.Unix(0, h.known.Load())) >= ttl {
		resp, _, err := h.tagged(ctx, next, req)
		return resp, err
	}
	resp, sum, err := h.tagged(ctx, next, hub.Within(req, freshness.Forever))
	if err != nil || sum == fact.Digest || !h.again.Next(req.Key.Path) {
		return resp, err
	}
	resp.Body.Close()
	resp, _, err = h.tagged(ctx, next, hub.Within(req, 0))
	return resp, err
}
