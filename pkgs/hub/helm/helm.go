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
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	links  *hub.Links
	ledger *ledger.Ledger
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub. l may be nil.
func New(o hub.Options, l *ledger.Ledger) *Hub {
	return &Hub{hub: o, links: o.Links(), ledger: l}
}

const (
	ttl      = 5 * time.Minute
	aboutTTL = time.Hour
	rules    = "helm 1 " // version of the rewriter
)

// Parse knows indexes, charts and what lies beside them, in any folder. A
// provenance is as mutable as an index: that of a chart that is published anew is
// another one, and nothing tells. The query counts for files of charts.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	p, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	base := path.Base(p)
	second := strings.HasPrefix(p, hub.FilePrefix)
	switch {
	case base == "index.yaml" && !second && base == p[strings.LastIndexByte(p, '/')+1:]:
		return h.hub.Request(p, target, freshness.Mutable, ttl), nil
	case base == "artifacthub-repo.yml" && !second && base == p[strings.LastIndexByte(p, '/')+1:]:
		return h.hub.Request(p, target, freshness.Mutable, aboutTTL), nil
	}
	chart, isChart := strings.CutSuffix(strings.TrimSuffix(p, ".prov"), ".tgz")
	if !isChart || strings.HasSuffix(chart, "/") {
		return nil, notFound(p)
	}
	req, ok := h.hub.File(p, target, r.URL.RawQuery)
	if second && !ok {
		return nil, notFound(p)
	}
	if !ok {
		req = h.hub.Request(p, target, freshness.Immutable, 0)
		if r.URL.RawQuery != "" {
			q := "?" + hub.Query(r.URL.RawQuery)
			req.Key.Path, req.Target = req.Key.Path+q, req.Target+q
		}
	}
	if strings.HasSuffix(p, ".prov") {
		req.Policy = h.hub.Policies.For(p, freshness.Mutable, ttl)
	}
	req.Package, req.Version = nameAndVersion(hub.Name(path.Base(chart)))
	req.Package = cmp.Or(h.hub.Members.Suspect(naming(chart, req.Version), "-"), req.Package)
	return req, nil
}

func notFound(p string) error {
	return fmt.Errorf("%s is no path of a chart repository: %w", p, fs.ErrNotExist)
}

// naming is the part of a chart's path that its name is in: the last segment, if that
// has a version.
func naming(chart, version string) string {
	if version == "" {
		return chart
	}
	return path.Base(chart)
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
		if !strings.HasSuffix(req.Key.Path, "/index.yaml") {
			return next.Get(ctx, req)
		}
		var from *url.URL
		get := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := next.Get(ctx, req)
			if err != nil || resp.Entry.Status != http.StatusOK {
				return resp, err
			}
			from, _ = url.Parse(resp.Entry.Mirror + req.Target)
			if at := from; !resp.NoStore {
				h.ledger.Learn(next, req, resp.Entry, "/", func(r io.Reader, teach func(string, exchange.Fact)) error {
					plain, err := hub.Unpack(r)
					if err != nil {
						return err
					}
					defer plain.Close()
					return h.copy(io.Discard, plain, &index{hub: h, from: at, teach: teach})
				})
			}
			return resp, nil
		})
		up := strings.Repeat("../", strings.Count(req.Key.Path, "/")-1)
		return h.hub.Edited(ctx, get, req, rules+req.Client.Base, func(dst io.Writer, src io.Reader) error {
			return h.copy(dst, src, &index{hub: h, from: from, base: req.Client.Base, up: up})
		})
	})
}
