package maven

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	maxMetadata = 1 << 20 // bytes of metadata that is judged; a longer one passes
	maxUpdated  = 10_000  // metadata whose time is remembered
)

// newest is metadata that is not older than what was seen of it before: from the
// first mirror that has such a one. If none has, the older copy in the cache is the
// newer one. What was seen is forgotten at a restart.
func (h *Hub) newest(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	return h.hub.Judged(ctx, next, req, func(resp *exchange.Response) (io.ReadCloser, error) {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata))
		if err == nil && len(text) < maxMetadata {
			err = h.advance(req.Key, lastUpdated(text))
		}
		if err != nil {
			resp.Body.Close()
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(text), resp.Body), resp.Body}, nil
	})
}

// advance is an error if metadata of time t is older than was seen; "" has no
// time, and one in the future would shut out all that is to come.
func (h *Hub) advance(key exchange.Key, t string) error {
	now := time.Now
	if h.hub.Now != nil {
		now = h.hub.Now
	}
	if t == "" || t > now().Add(24*time.Hour).UTC().Format("20060102150405") {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if seen := h.updated[key]; t < seen {
		return fmt.Errorf("metadata of %s, after that of %s", t, seen)
	}
	if len(h.updated) >= maxUpdated {
		clear(h.updated)
	}
	h.updated[key] = t
	return nil
}

// lastUpdated is the time in metadata, YYYYMMDDHHMMSS; "" if it has none. It needs
// no parser: the element has no attributes, and whoever hides it in a comment
// gains a time that is his own.
func lastUpdated(text []byte) string {
	_, rest, _ := bytes.Cut(text, []byte("<lastUpdated>"))
	value, _, found := bytes.Cut(rest, []byte("</lastUpdated>"))
	t := strings.TrimSpace(string(value[:min(len(value), 64)]))
	if !found || len(t) != len("YYYYMMDDHHMMSS") || strings.Trim(t, "0123456789") != "" {
		return ""
	}
	return t
}
