// Package terraform is the hub of providers for Terraform and OpenTofu: a network
// mirror (https://opentofu.org/docs/internals/provider-network-mirror-protocol/).
//
// Its words: a provider is HOST/NAMESPACE/TYPE, where HOST is its origin and says
// nothing of where it is had from; the index lists its versions; a version's
// document lists archives by platform, with hashes, of which zh: is the SHA-256 of
// the archive.
//
// Upstream is one of two things. With Options.Hosts it is a registry, the origin of
// these hosts, and documents are made of what the provider registry protocol says
// (registry.go). Without, it is a network mirror too, and its documents are changed
// only where a link is not relative (mirror.go). Either way they are JSON, by their
// type too, or an error. Archives lead to this hub, by relative links, where they lie
// below an upstream or a second host, and what documents say of them is taught to the
// ledger.
//
// Modules are not for network mirrors, so not for this either. Terraform asks
// network mirrors by https alone: the proxy, or one before it, must speak TLS.
package terraform

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Options are what an operator chooses.
type Options struct {
	// Hosts are those whose registry the upstreams are, each at its providers.v1
	// address. None: the upstreams are network mirrors of any host.
	Hosts []string
}

// A Hub is a network mirror. It is safe for concurrent use.
type Hub struct {
	hub     hub.Options
	links   *hub.Links
	options Options
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub.
func New(o hub.Options, options Options) *Hub {
	return &Hub{hub: o, links: o.Links(), options: options}
}

const (
	ttl   = 5 * time.Minute
	rules = "terraform 1" // version of the rewriter
)

// A kind is what a path is.
type kind uint8

const (
	unknown  kind = iota
	index         // of a provider's versions
	version       // a version's archives
	platform      // what a registry says of one of them: nobody asks for it but the hub
	archive
	second // an archive of a second host
)

// A place is what a canonical path says.
type place struct {
	kind                kind
	host, provider      string // provider: NAMESPACE/TYPE
	version, os, system string // system: the architecture
}

// kinds is how paths of each kind are treated.
var kinds = [...]hub.Kind{
	index:    {TTL: ttl},
	version:  {TTL: ttl},
	platform: {TTL: ttl},
	archive:  {Class: freshness.Immutable, TTL: ttl},
	second:   {Class: freshness.Immutable, Query: true},
}

// Parse knows indexes, versions and archives. No query counts but that of a second
// host's archive.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	private := h.hub.Members.Private()
	if private {
		if req, ok := h.parseOf(asked); ok {
			return req, nil
		}
	}
	p := h.place(asked.Path)
	switch {
	case asked.Origin != "" && !private:
		p.kind = second
	case p.kind == unknown, p.kind == archive && p.provider == "" && private:
		return nil, hub.NoPath(asked.Path)
	case p.kind == index && h.registry():
		asked.Target = "/" + p.provider + "/versions"
	case p.kind == platform:
		asked.Target = "/" + p.provider + "/" + p.version + "/download/" + p.os + "/" + p.system
	}
	req := asked.Request(kinds[p.kind])
	req.Package, req.Version = p.provider, p.version
	return req, nil
}

// registry says that the upstreams are registries.
func (h *Hub) registry() bool { return len(h.options.Hosts) > 0 }

// place finds out what a canonical path is.
func (h *Hub) place(path string) place {
	parts := strings.Split(path[1:], "/")
	if strings.HasPrefix(path, hub.FilePrefix) || strings.HasPrefix(path, ofPrefix) || slices.Contains(parts, "") {
		return place{}
	}
	p := place{}
	if strings.HasSuffix(path, ".zip") {
		p.kind = archive
	}
	if len(parts) < 4 || !h.mirrors(parts[0]) || !isName(parts[1]) || !isName(parts[2]) {
		return p
	}
	p.host, p.provider = parts[0], parts[1]+"/"+parts[2]
	if p.kind == archive {
		p.version = archiveVersion(parts[len(parts)-1])
		return p
	}
	last, ok := strings.CutSuffix(parts[len(parts)-1], ".json")
	switch {
	case !ok:
	case len(parts) == 4 && last == "index":
		p.kind = index
	case len(parts) == 4 && isVersion(last):
		p.kind, p.version = version, last
	case len(parts) == 5 && h.registry() && isVersion(parts[3]):
		if p.os, p.system, ok = strings.Cut(last, "_"); ok && isName(p.os) && isName(p.system) {
			p.kind, p.version = platform, parts[3]
		}
	}
	return p
}

// mirrors says whether providers of a host may be asked for.
func (h *Hub) mirrors(host string) bool {
	if h.registry() {
		return slices.Contains(h.options.Hosts, host)
	}
	return strings.Contains(host, ".") && isName(strings.ReplaceAll(strings.ReplaceAll(host, ".", "-"), ":", "-"))
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func isName(s string) bool {
	return s != "" && len(s) <= 256 && strings.Trim(s, alphanumeric+"-_") == ""
}

// isVersion says whether s looks like one (SemVer 2.0.0), without metadata of a build.
func isVersion(s string) bool {
	return s != "" && len(s) <= 128 && '0' <= s[0] && s[0] <= '9' && strings.Trim(s, alphanumeric+".-") == "" && strings.Contains(s, ".")
}

// archiveVersion is the version in an archive's usual name,
// terraform-provider-TYPE_VERSION_OS_ARCH.zip; "" if it has another.
func archiveVersion(name string) string {
	parts := strings.Split(name, "_")
	if len(parts) != 4 || !isVersion(parts[1]) {
		return ""
	}
	return parts[1]
}

// Rewrite makes the documents of a network mirror.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		p := place{}
		if req.Origin == "" {
			p = h.place(req.Key.Path)
		}
		switch {
		case h.registry() && p.kind == index:
			return typed(h.hub.Edited(ctx, next, req, rules, writeIndex))
		case h.registry() && p.kind == version:
			return h.version(ctx, next, req, p)
		case p.kind == index:
			return typed(h.hub.Edited(ctx, next, req, rules, func(dst io.Writer, src io.Reader) error {
				return hub.CopyJSON(dst, src, nil) // it is JSON at least
			}))
		case p.kind == version:
			return typed(h.hub.Copied(ctx, next, req, hub.Index{
				Rules: h.rules(), Links: h.links, Prefix: "/",
				Copy: func(dst io.Writer, src io.Reader, c *hub.Copy) error { return h.copyVersion(dst, src, c, p) },
			}))
		}
		return next.Get(ctx, req)
	})
}

// typed is a document under the only type that clients take: servers of plain files
// have others for it.
func typed(resp *exchange.Response, err error) (*exchange.Response, error) {
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, err
	}
	return hub.WithField(resp, "Content-Type", "application/json"), nil
}

// up leads from a version's document to the top of the hub.
const up = "../../../"

// lead is where the archive that a document of p, which was at from, links to is had;
// relative to a version's document, if it is here.
func (h *Hub) lead(link string, from *url.URL, p place) (to string, ours bool) {
	path, ok := h.links.Map(link, from)
	if !ok {
		if h.hub.Log != nil {
			h.hub.Log.Warn("archives pass the proxy by: options.files has no base for them", "hub", h.hub.Name, "link", link)
		}
		return link, false
	}
	return up + h.of(p, path)[1:], true
}

// tell teaches what an archive is, as lead has led to it.
func (h *Hub) tell(to string, sum exchange.Digest, teach hub.Teach) {
	if req, ok := hub.Follow(h, "/"+strings.TrimPrefix(to, up)); ok && req.Policy.Class == freshness.Immutable {
		teach(req.Key.Path, exchange.Fact{Digest: sum})
	}
}
