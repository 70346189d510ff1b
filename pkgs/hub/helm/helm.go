// Package helm is the hub of Helm's chart repositories
// (https://helm.sh/docs/topics/chart_repository/).
//
// Its words: index.yaml lists all versions of all charts, with links; a chart is an
// archive NAME-VERSION.tgz; its provenance is the signature beside it, .prov.
//
// The links of an index lead to this hub, by relative links, where they lie below a
// mirror or a second host; relative ones stay, and so does all that leads elsewhere.
// What the index says of a chart's content, which Helm does not check, the ledger is
// taught: a chart that is published anew under its name is fetched anew.
//
// Charts in container registries are a matter of package oci. It publishes nothing.
package helm

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub   hub.Options
	links *hub.Links
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

const (
	indexFile = "index.yaml"
	aboutFile = "artifacthub-repo.yml"
	rules     = "helm 1" // version of the rewriter
)

// Kinds of files. A provenance is as mutable as an index: that of a chart that is
// published anew is another one, and nothing tells.
var (
	index      = hub.Kind{TTL: 5 * time.Minute}
	about      = hub.Kind{TTL: time.Hour}
	archive    = hub.Kind{Class: freshness.Immutable, Query: true}
	provenance = hub.Kind{TTL: index.TTL, Query: true}
)

// Parse knows indexes, charts and what lies beside them, in any folder. The query
// counts for files of charts.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	dir, base := hub.CutLast(asked.Path)
	chart, isChart := strings.CutSuffix(strings.TrimSuffix(base, ".prov"), ".tgz")
	switch {
	case asked.Origin == "" && base == indexFile:
		return asked.Request(index), nil
	case asked.Origin == "" && base == aboutFile:
		return asked.Request(about), nil
	case !isChart || chart == "":
		return nil, hub.NoPath(asked.Path)
	}
	kind := archive
	if strings.HasSuffix(base, ".prov") {
		kind = provenance
	}
	req := asked.Request(kind)
	req.Package, req.Version = nameAndVersion(hub.Name(chart))
	if req.Version == "" { // the name may be in any segment
		chart = dir + "/" + chart
	}
	req.Package = cmp.Or(h.hub.Members.Suspect(chart, "-"), req.Package)
	return req, nil
}

// nameAndVersion takes NAME-VERSION apart, where the version begins with a number
// and a dot, as semantic versions do, or with v and that.
func nameAndVersion(s string) (name, version string) {
	for i := 1; i < len(s)-1; i++ {
		if s[i] != '-' {
			continue
		}
		number := strings.TrimPrefix(s[i+1:], "v")
		if rest := strings.TrimLeft(number, "0123456789"); len(rest) < len(number) && strings.HasPrefix(rest, ".") {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// Rewrite leads the links of indexes to the hub, and learns their digests.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if !strings.HasSuffix(req.Key.Path, "/"+indexFile) {
			return next.Get(ctx, req)
		}
		up := strings.Repeat("../", strings.Count(req.Key.Path, "/")-1)
		return h.hub.Copied(ctx, next, req, hub.Index{
			Rules: rules, Base: req.Client.Base, Links: h.links, Prefix: "/",
			Copy: func(dst io.Writer, src io.Reader, c *hub.Copy) error {
				return (&copier{Copy: c, hub: h, up: up}).copy(dst, src)
			},
		})
	})
}
