package hub

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A companion is what was fetched with a root.
type companion struct {
	entry   *exchange.Entry
	content []byte
	noStore bool
}

// there says that a mirror has it: that it has none is an answer too.
func (c *companion) there() bool { return c.entry.Status == http.StatusOK }

func (c *companion) response() *exchange.Response {
	return &exchange.Response{Entry: c.entry, Body: buffered(c.content), NoStore: c.noStore}
}

// ofRoot begins the variant of a companion's key; the digest of its root follows.
const ofRoot = "of "

// companionOf is the request for the companion of a root.
func companionOf(req *exchange.Request, root exchange.Digest) *exchange.Request {
	req = req.Clone()
	req.Key.Variant = ofRoot + string(root)
	// It never changes, but is no artifact either: no index that is being read,
	// maybe its own root, is waited for to learn what it is.
	req.Policy.Class, req.Policy.TTL = freshness.Mutable, freshness.Forever
	return req
}

// fetchCompanions gets what goes with a root from the mirror that has it, and
// asks that mirror whether it has it still (PROTOCOLS 0.19). A companion that is
// not there, or cannot be had, is none; but not where the published root has it.
func (t *gate) fetchCompanions(ctx context.Context, req *exchange.Request, e *exchange.Entry, root *Root, paths []string) ([]*companion, error) {
	var all []*companion
	some := false
	for _, path := range paths {
		c, err := t.fetchCompanion(ctx, companionOf(t.format.Request(path), e.Digest), e.Mirror)
		there := err == nil && c.there()
		switch {
		case !there && t.had(req.Key.Path, path):
			return nil, fmt.Errorf("%w: no %s", errMixed, path)
		case there && t.format.Agrees != nil && !t.format.Agrees(root, path, c.content):
			return nil, fmt.Errorf("%w: %s does not agree", errMixed, path)
		case err == nil:
			all = append(all, c)
		}
		some = some || there
	}
	if !some {
		return all, nil
	}
	return all, t.still(ctx, req, e)
}

// fetchCompanion gets one companion; that it is not there is an answer too.
func (t *gate) fetchCompanion(ctx context.Context, req *exchange.Request, mirror string) (*companion, error) {
	ask := *req
	ask.Only = mirror
	resp, err := t.next.Get(ctx, &ask)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := ReadAll(resp.Body, maxRoot)
	if err != nil {
		return nil, err
	}
	e := *resp.Entry
	e.Key, e.Size = req.Key, int64(len(content))
	return &companion{entry: &e, content: content, noStore: resp.NoStore}, nil
}

// still is nil if a mirror has a root as it was a moment ago.
func (t *gate) still(ctx context.Context, req *exchange.Request, e *exchange.Entry) error {
	ask := *req
	ask.Only, ask.Avoid, ask.Validate = e.Mirror, nil, e
	resp, err := t.next.Get(ctx, &ask)
	if err != nil {
		return fmt.Errorf("%w: %w", errMixed, err)
	}
	defer resp.Body.Close()
	switch resp.Entry.Status {
	case http.StatusNotModified:
		return nil
	case http.StatusOK:
		sum := e.Digest.New()
		if sum == nil {
			break
		}
		if _, err := io.Copy(sum, io.LimitReader(resp.Body, maxRoot+1)); err == nil && exchange.NewDigest(e.Digest.Algorithm(), sum.Sum(nil)) == e.Digest {
			return nil
		}
	}
	return errMixed
}

// companion answers for a companion by itself: one that was fetched with its
// root just now, or else, since it is lost, from the mirror of its root as long
// as that is published.
func (t *gate) companion(ctx context.Context, req *exchange.Request, digest exchange.Digest) (*exchange.Response, error) {
	t.mu.Lock()
	c := t.prepared[req.Key]
	t.mu.Unlock()
	if c != nil {
		return c.response(), nil
	}
	gone := &exchange.Error{Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second,
		Message: "the index that this belongs to has been replaced"}
	root := t.rootOf(req.Key.Path, digest)
	if root == "" {
		return nil, gone
	}
	stored := t.format.Request(root)
	stored.Policy = freshness.Policy{TTL: freshness.Forever}
	resp, err := t.cached.Get(ctx, stored)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.Entry.Status != http.StatusOK || resp.Entry.Digest != digest {
		return nil, gone
	}
	c, err = t.fetchCompanion(ctx, req, resp.Entry.Mirror)
	if err == nil && c.there() {
		err = t.still(ctx, stored, resp.Entry)
		if gen := t.read(root, digest); err == nil && gen != nil && t.format.Agrees != nil && !t.format.Agrees(gen.Root, req.Key.Path, c.content) {
			err = errMixed
		}
	}
	if err != nil {
		gone.Err = err
		return nil, gone
	}
	return c.response(), nil
}

// rootOf is the root with this digest that has a companion; "" if none is known.
func (t *gate) rootOf(companion string, digest exchange.Digest) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.roots {
		if k.digest == digest {
			if paths, _ := t.format.Companions(k.path); slices.Contains(paths, companion) {
				return k.path
			}
		}
	}
	return ""
}

// buffered is a body in memory.
func buffered(content []byte) io.ReadCloser {
	return struct {
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader(content), io.NopCloser(nil)}
}
