// Package apk is the hub of Alpine's repositories.
//
// APKINDEX.tar.gz carries its signature within, so it is a generation by itself;
// what it lists are packages, whose names may come again with other content.
//
// Nothing is rewritten, and no signature is verified. An index says the size of
// a package, and the SHA-1 of a part of it: that part is not looked for, so the
// size is all that is learned.
package apk

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// How long mutable paths stay fresh.
const (
	indexTTL = 5 * time.Minute
	otherTTL = time.Hour
)

// A Hub is one tree of repositories. It is safe for concurrent use.
type Hub struct {
	opts   hub.Options
	ledger *ledger.Ledger
	now    func() time.Time

	mu        sync.Mutex
	validated time.Time // guarded by mu; the last validation for the sake of a package
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub. A nil ledger learns nothing.
func New(o hub.Options, l *ledger.Ledger) (*Hub, error) {
	if o.Name == "" {
		return nil, fmt.Errorf("apk: no name")
	}
	h := &Hub{opts: o, ledger: l, now: o.Now}
	if h.now == nil {
		h.now = time.Now
	}
	return h, nil
}

// Parse knows every path; no field of the client's and no query counts.
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
	req := &exchange.Request{
		Key:    exchange.Key{Hub: h.opts.Name, Path: canonical},
		Target: target,
		Policy: h.opts.Policies.For(canonical, class, ttl),
	}
	if name, ok := strings.CutSuffix(path.Base(canonical), ".apk"); ok {
		req.Package, req.Version = nameVersion(hub.Name(name))
	}
	return req
}

// classify is the table of PROTOCOLS section 5.
func classify(p string) (freshness.Class, time.Duration) {
	dir, base := path.Split(p)
	switch {
	case base == "":
		return freshness.Mutable, otherTTL // a listing
	case isIndex(base):
		return freshness.Mutable, indexTTL
	case strings.HasSuffix(base, ".apk"):
		return freshness.Immutable, 0
	case strings.Contains(dir, "/releases/"):
		if strings.HasSuffix(base, ".iso") || strings.HasSuffix(base, ".tar.gz") {
			return freshness.Immutable, 0
		}
		return freshness.Mutable, otherTTL
	case strings.HasSuffix(base, ".rsa.pub"), base == "MIRRORS.txt", base == "latest-releases.yaml", base == "last-updated":
		return freshness.Mutable, otherTTL
	}
	return freshness.Mutable, 0
}

// isIndex says that a file of this name is an index; the second one is of apk 3.
func isIndex(base string) bool {
	return base == "APKINDEX.tar.gz" || strings.HasSuffix(base, ".adb")
}

// nameVersion reads NAME-VERSION-rN, from the right.
func nameVersion(s string) (name, version string) {
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		if j := strings.LastIndexByte(s[:i], '-'); j > 0 {
			return s[:j], s[j+1:]
		}
	}
	return "", ""
}

// Rewrite learns from the indexes that pass by.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if strings.HasSuffix(req.Key.Path, ".apk") {
			return h.file(ctx, next, req)
		}
		resp, err := next.Get(ctx, req)
		if err == nil {
			h.learn(next, req, resp)
		}
		return resp, err
	})
}

// file answers for a package. That an index lists it and no mirror has it says
// that the index is older or newer than they are.
func (h *Hub) file(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	if _, listed := h.ledger.Lookup(ctx, req.Key); !listed {
		return next.Get(ctx, req)
	}
	ask := *req
	ask.Policy.Negative = 0
	resp, err := next.Get(ctx, &ask)
	if err == nil && (resp.Entry.Status == http.StatusNotFound || resp.Entry.Status == http.StatusGone) {
		h.validate(ctx, next, path.Dir(req.Key.Path))
	}
	return resp, err
}

// pause is how long an index is not validated again though a package is missing.
const pause = 10 * time.Second

// validate asks for the index of a directory, whether it is fresh or not.
func (h *Hub) validate(ctx context.Context, next exchange.Source, dir string) {
	h.mu.Lock()
	if h.now().Sub(h.validated) < pause {
		h.mu.Unlock()
		return
	}
	h.validated = h.now()
	h.mu.Unlock()
	index := path.Join(dir, "APKINDEX.tar.gz")
	ask := h.request(index, index)
	if ask.Policy.Class != freshness.Mutable || ask.Policy.TTL == freshness.Forever {
		return
	}
	ask.Policy.TTL, ask.Policy.StaleWhileRevalidate = 0, 0
	if resp, err := next.Get(ctx, ask); err == nil {
		h.learn(next, ask, resp)
		resp.Body.Close()
	}
}
