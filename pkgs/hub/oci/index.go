package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// digestField says which content an answer has.
const digestField = "Docker-Content-Digest"

// maxManifest is how large a manifest may be that is read as such: what the
// specification wants registries to take (4 MiB).
const maxManifest = 4 << 20

// Rewrite answers /v2/ itself, gives refusals the form that clients print, and
// leads the next page of a list back to the hub. Content passes as it is, and
// what a manifest says of other content goes to the ledger.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if req.Key.Path == root {
			return h.greet(req), nil
		}
		p, err := locateTarget(req)
		if err != nil {
			return nil, err
		}
		resp, err := h.get(ctx, next, req, p)
		if err != nil {
			return nil, relay(err)
		}
		status := resp.Entry.Status
		if p.kind == manifests && p.digest != "" && acceptOf(req).excludes(resp.Entry.Header.Get("Content-Type")) {
			status = http.StatusNotFound
		}
		if status >= http.StatusBadRequest {
			resp.Body.Close()
			return nil, refused(status, p.kind)
		}
		switch {
		case p.kind == tags || p.kind == referrers:
			return paged(req, resp, p), nil
		case p.kind == manifests && status == http.StatusOK && !resp.Outcome.Hit && !resp.NoStore:
			h.options.Ledger.Learn(next, req, resp.Entry, root+anyName+"/"+blobs+"/", h.learn)
		}
		return resp, nil
	})
}

// get asks next. Clients that ask for the head of a manifest ask for it by digest
// afterwards, and for the tag again when upstream is gone: so a manifest is had as
// a whole, and its registry is asked once.
func (h *Hub) get(ctx context.Context, next exchange.Source, req *exchange.Request, p place) (*exchange.Response, error) {
	whole := req
	if req.Head && p.kind == manifests {
		whole = req.Clone()
		whole.Head = false
	}
	resp, err := next.Get(ctx, whole)
	if err != nil {
		return nil, err
	}
	if resp.Entry.Status == http.StatusNotFound && resp.Outcome.Collapsed && p.digest != "" {
		// Another client's repository does not have it; this one's may.
		resp.Body.Close()
		if resp, err = next.Get(ctx, whole); err != nil {
			return nil, err
		}
	}
	if whole != req {
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, nil
}

// greet is what a registry says at /v2/.
func (h *Hub) greet(req *exchange.Request) *exchange.Response {
	const text = "{}"
	now := time.Now
	if h.options.Now != nil {
		now = h.options.Now
	}
	e := &exchange.Entry{Key: req.Key, Status: http.StatusOK, Size: int64(len(text)), Received: now(), Header: http.Header{
		"Content-Type": {"application/json"}, "Docker-Distribution-Api-Version": {"registry/2.0"},
	}}
	body := strings.NewReader(text)
	if req.Head {
		body.Reset("")
	}
	return &exchange.Response{Entry: e, Body: io.NopCloser(body), Outcome: exchange.Outcome{Hit: true}}
}

// relay is an error as clients of registries understand it: one that says "later"
// is a 429, on which they try again.
func relay(err error) error {
	var e *exchange.Error
	if errors.As(err, &e) && e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0 {
		return &exchange.Error{Status: http.StatusTooManyRequests, Message: tooMany, RetryAfter: e.RetryAfter, Err: err}
	}
	return err
}

// acceptOf is the set that the client of a request by digest accepts.
func acceptOf(req *exchange.Request) typeSet {
	field := req.Header["Accept"]
	if len(field) == 1 && field[0] == acceptAll {
		return allTypes
	}
	return accepted(field)
}

// paged is resp with its Link to the next page, if any, leading to the hub. Of
// the registry's own link, which may be absolute, only the query counts.
func paged(req *exchange.Request, resp *exchange.Response, p place) *exchange.Response {
	link := resp.Entry.Header["Link"]
	if len(link) == 0 {
		return resp
	}
	e := *resp.Entry
	e.Header = maps.Clone(e.Header)
	delete(e.Header, "Link")
	if query, ok := nextPage(link[0]); ok {
		mount := ""
		if base, err := url.Parse(req.Client.Base); err == nil {
			mount = strings.TrimSuffix(base.EscapedPath(), "/")
		}
		e.Header["Link"] = []string{"<" + mount + p.String() + "?" + query + `>; rel="next"`}
	}
	resp.Entry = &e
	return resp
}

// nextPage is the query of a link such as </v2/app/tags/list?last=b&n=2>; rel="next".
func nextPage(link string) (query string, ok bool) {
	target, parameters, ok := strings.Cut(link, ">")
	target, begins := strings.CutPrefix(strings.TrimSpace(target), "<")
	if !ok || !begins || !strings.Contains(strings.ReplaceAll(parameters, `"`, ""), "rel=next") {
		return "", false
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", false
	}
	query = hub.Query(queryOf(u.RawQuery))
	return query, query != ""
}

// A descriptor is how manifests refer to content.
type descriptor struct {
	Digest string
	Size   int64
}

// learn teaches what a manifest or an index refers to.
func (h *Hub) learn(r io.Reader, teach func(path string, f exchange.Fact)) error {
	var m struct {
		Config, Subject          *descriptor
		Layers, Blobs, Manifests []descriptor
	}
	if err := json.NewDecoder(io.LimitReader(r, maxManifest)).Decode(&m); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	tell := func(kind string, all ...descriptor) {
		for _, d := range all {
			if digest, ok := strong(d.Digest); ok && d.Size > 0 {
				p := place{name: anyName, kind: kind, reference: d.Digest}
				teach(p.String(), exchange.Fact{Size: d.Size, Digest: digest})
			}
		}
	}
	if m.Config != nil {
		tell(blobs, *m.Config)
	}
	if m.Subject != nil {
		tell(manifests, *m.Subject)
	}
	tell(blobs, m.Layers...)
	tell(blobs, m.Blobs...)
	tell(manifests, m.Manifests...)
	return nil
}
