package terraform

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// mirrored is a version's document of a network mirror, its archives as led.
func (h *Hub) mirrored(ctx context.Context, next exchange.Source, req *exchange.Request, p place) (*exchange.Response, error) {
	var from atomic.Pointer[url.URL] // of the document that is edited, maybe by the cache on a goroutine of its own
	get := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if err != nil || resp.Entry.Status != http.StatusOK {
			return resp, err
		}
		base, _ := url.Parse(resp.Entry.Mirror + req.Target)
		from.Store(base)
		if !resp.NoStore {
			h.ledger.Learn(next, req, resp.Entry, "/", func(r io.Reader, teach func(string, exchange.Fact)) error {
				plain, err := hub.Unpack(r)
				if err != nil {
					return err
				}
				defer plain.Close()
				return h.copyVersion(io.Discard, plain, base, p, teach)
			})
		}
		return resp, nil
	})
	return h.hub.Edited(ctx, get, req, h.rules(), func(dst io.Writer, src io.Reader) error {
		return h.copyVersion(dst, src, from.Load(), p, func(string, exchange.Fact) {})
	})
}

// copyVersion copies the document of the version p that was at from, and teaches what it
// says of the archives that are here.
func (h *Hub) copyVersion(dst io.Writer, src io.Reader, from *url.URL, p place, teach func(path string, f exchange.Fact)) error {
	var to, sum string // of one archive; to is "" if it is elsewhere
	return hub.CopyJSON(dst, src, hub.JSONRules{
		"archives/*/url": func(value []byte) ([]byte, error) {
			link, ok := hub.JSONString(value)
			if !ok {
				return value, nil
			}
			led, ours := h.lead(link, from, p)
			if ours {
				to = led
			}
			relative := !strings.HasPrefix(link, "/") && !strings.Contains(link, "://")
			if !ours || relative && !strings.HasPrefix(led, up+ofPrefix[1:]) {
				return value, nil // a relative link means the same here
			}
			return hub.AppendJSONString(nil, led), nil
		},
		"archives/*/hashes/*": func(value []byte) ([]byte, error) {
			if text, ok := hub.JSONString(value); ok && strings.HasPrefix(text, "zh:") {
				sum = text[len("zh:"):]
			}
			return value, nil
		},
		"archives/*/": func([]byte) ([]byte, error) {
			if digest, err := exchange.ParseDigest("sha256:" + sum); err == nil && to != "" {
				h.teach(to, digest, teach)
			}
			to, sum = "", ""
			return nil, nil
		},
	})
}
