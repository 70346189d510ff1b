package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Gate stands between cache and registry. What is asked for by digest gets that
// digest for its validator, from whatever mirror it comes. A tag is resolved by
// its head; the content is that of the digest.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	next = h.counted(next)
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		p, err := locateTarget(req)
		switch {
		case err != nil:
			return nil, err
		case p.digest != "":
			return h.byDigest(ctx, next, req, p)
		case p.kind == manifests:
			return h.byTag(ctx, next, cached, req, p)
		}
		return next.Get(ctx, req)
	})
}

// counted is next, whose responses tell the registries' quotas.
func (h *Hub) counted(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if err == nil {
			now := time.Now
			if h.options.Now != nil {
				now = h.options.Now
			}
			h.quotas.see(resp.Entry.Mirror, resp.Entry.Header, now())
		}
		return resp, err
	})
}

func (h *Hub) byDigest(ctx context.Context, next exchange.Source, req *exchange.Request, p place) (*exchange.Response, error) {
	ask := *req
	ask.Key.Path = p.String() // by its name, on which it may depend which mirrors have it
	if p.kind == manifests {
		ask.Header = allTypes.header()
	}
	if ask.Size == 0 {
		if f, _ := h.options.Ledger.Lookup(ctx, req.Key); f.Digest == p.digest {
			ask.Size = f.Size
		}
	}
	resp, err := next.Get(ctx, &ask)
	if err != nil {
		return nil, err
	}
	e := *resp.Entry
	e.Key = req.Key
	if resp.Entry = &e; e.Status == http.StatusOK {
		resp.Entry = identified(&e, p.digest)
		// Some registries set a cookie with every answer. What a digest names is
		// the same for whoever asks, so that keeps nothing from being stored.
		resp.NoStore = false
	}
	return resp, nil
}

// byTag asks what the tag is worth now, then for that.
func (h *Hub) byTag(ctx context.Context, next, cached exchange.Source, req *exchange.Request, p place) (*exchange.Response, error) {
	ask := *req
	ask.Head, ask.Validate, ask.Resume = true, nil, nil
	head, err := next.Get(ctx, &ask)
	if err != nil || head.Entry.Status != http.StatusOK {
		return head, err
	}
	head.Body.Close()
	digest, ok := strong(head.Entry.Header.Get(digestField))
	if !ok {
		return h.whole(ctx, next, req)
	}
	e := *identified(head.Entry, digest)
	e.Key = req.Key
	if old := req.Validate; old != nil && (old.Digest == digest || old.Proved == digest) {
		e.Status, e.Size = http.StatusNotModified, old.Size
		return &exchange.Response{Entry: &e, Body: http.NoBody}, nil
	}
	if req.Head {
		return &exchange.Response{Entry: &e, Body: http.NoBody, NoStore: head.NoStore}, nil
	}
	p.reference, p.digest = string(digest), digest
	manifest := h.manifest(p, allTypes)
	if q, ok := readQuota(head.Entry.Header); ok && q.Low() && req.Validate != nil && !h.has(ctx, manifest) {
		return nil, &exchange.Error{
			Status: http.StatusServiceUnavailable, Message: "the registry may hardly be asked any more",
			Err: fmt.Errorf("%v is %s now, and %d of %d requests to %s are left", req.Key, digest, q.Remaining, q.Limit, e.Mirror),
		}
	}
	content, err := cached.Get(ctx, manifest)
	if err != nil {
		return nil, err
	}
	if content.Entry.Status != http.StatusOK {
		// A manifest that the registry has made for who accepts only old types is
		// to be had by tag alone.
		content.Body.Close()
		return h.whole(ctx, next, req)
	}
	e.Size, e.Header = content.Entry.Size, identified(content.Entry, digest).Header
	return &exchange.Response{Entry: &e, Body: content.Body, NoStore: content.NoStore}, nil
}

// has says whether a manifest is stored, so that it costs the registry nothing.
func (h *Hub) has(ctx context.Context, manifest *exchange.Request) bool {
	resp, err := h.options.Stored(ctx, manifest)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// whole gets a tag from a registry that does not say what it is worth.
func (h *Hub) whole(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	ask := req.Clone()
	ask.Resume = nil // it is read here, as a whole
	resp, err := next.Get(ctx, ask)
	if err != nil || resp.Entry.Status != http.StatusOK || req.Head {
		return resp, err
	}
	defer resp.Body.Close()
	bad := func(reason string, err error) error {
		return &exchange.Error{Status: http.StatusBadGateway, Message: "the registry's manifest cannot be used",
			Err: fmt.Errorf("%v from %s: %s: %w", req.Key, resp.Entry.Mirror, reason, err)}
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	switch {
	case err != nil:
		return nil, bad("read", err)
	case len(text) > maxManifest:
		return nil, bad("size", fmt.Errorf("more than %d bytes", maxManifest))
	case !json.Valid(text):
		return nil, bad("content", errors.New("no JSON"))
	}
	digest := exchange.Digest("sha256:")
	if stated, ok := strong(resp.Entry.Header.Get(digestField)); ok {
		digest = stated
	}
	sum := digest.New()
	sum.Write(text)
	got := exchange.NewDigest(digest.Algorithm(), sum.Sum(nil))
	if digest.Hex() != "" && got != digest {
		return nil, bad("digest", fmt.Errorf("%s where %s was stated", got, digest))
	}
	e := *identified(resp.Entry, got)
	e.Size = int64(len(text))
	return &exchange.Response{Entry: &e, Body: io.NopCloser(bytes.NewReader(text)), NoStore: resp.NoStore}, nil
}

// identified is e as the entry of what digest names. How often the hub may still
// ask the registry is no client's business.
func identified(e *exchange.Entry, digest exchange.Digest) *exchange.Entry {
	c := *e
	c.Header = maps.Clone(e.Header)
	if c.Header == nil {
		c.Header = http.Header{}
	}
	for name := range c.Header {
		if strings.HasPrefix(name, "Ratelimit-") {
			delete(c.Header, name)
		}
	}
	c.Header[digestField] = []string{string(digest)}
	c.Header["Etag"] = []string{`"` + string(digest) + `"`}
	return &c
}
