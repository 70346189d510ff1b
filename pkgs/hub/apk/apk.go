// Package apk is the hub of Alpine's repositories.
//
// Its words: APKINDEX.tar.gz is the root of a generation ([hub.Generations]), alone
// in its set since its signature is within. It lists packages, by their size and
// a checksum of their *control*, a part of each that names the hash of the rest
// (proof.go); their names may come again with other content.
//
// Nothing is rewritten, and no signature is verified. Of the index of apk 3
// (*.adb) only generations are known: what it lists is not read.
package apk

import (
	"context"
	"errors"
	"io"
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
	otherTTL = time.Hour
)

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
func New(o hub.Options) (*Hub, error) {
	if o.Name == "" {
		return nil, errors.New("apk: no name")
	}
	h := &Hub{opts: o}
	h.generations = hub.NewGenerations(&h.opts, hub.Format{
		Companions: func(root string) ([]string, bool) { return nil, isIndex(path.Base(root)) },
		Request:    func(p string) *exchange.Request { return h.request(p, p) },
	}, hub.GenerationOptions{})
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
	req := h.opts.Request(canonical, target, class, ttl)
	if name, ok := strings.CutSuffix(path.Base(canonical), ".apk"); ok {
		req.Package, req.Version, _ = hub.CutRight(hub.Name(name), '-', 2) // NAME-VERSION-rN
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

const indexName = "APKINDEX.tar.gz"

// isIndex says that a file of this name is an index; the second one is of apk 3.
func isIndex(base string) bool {
	return base == indexName || strings.HasSuffix(base, ".adb")
}

// Gate publishes indexes.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return h.generations.Gate(next, cached)
}

// Rewrite learns from the indexes that pass by.
//
// BUG: a package that was rebuilt under its name, and is asked for while the new
// index is still being read, is answered as the index before has it: apk finds it
// wrong, and gets the right one when it asks again.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		dir, base := path.Split(req.Key.Path)
		switch {
		case strings.HasSuffix(base, ".apk"):
			_, listed := h.opts.Ledger.Known(req.Key)
			return h.generations.File(ctx, next, req, listed, func(root string) bool { return path.Dir(root)+"/" == dir })
		case isIndex(base):
			resp, err := h.generations.Root(ctx, next, req)
			if err == nil && base == indexName {
				h.opts.Learn(next, req, resp, dir, func(r io.Reader, teach hub.Teach) error { return readIndex(r, dir, teach) })
			}
			return resp, err
		}
		resp, err := next.Get(ctx, req)
		if err == nil && hub.IsSums(base) {
			h.opts.Learn(next, req, resp, dir, func(r io.Reader, teach hub.Teach) error {
				return hub.ReadSums(req.Key.Path, r, teach)
			})
		}
		return resp, err
	})
}
