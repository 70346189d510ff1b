package npm

import (
	"context"
	"io"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/sri"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of the rewriter.
const rules = "npm 1"

// Rewrite leads the tarballs of packuments to this hub, by absolute links: npm
// takes a relative one for a local file.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		k, name := classify(req.Key.Path)
		if k != packument && k != manifest || req.Post != nil {
			return next.Get(ctx, req)
		}
		ix := hub.Index{Rules: rules, Base: req.Client.Base, Links: h.links, Prefix: "/" + name + "/", Copy: h.copy}
		if len(h.hub.Files) > 0 || h.hub.Learned != nil {
			ix.Prefix = "/" // its tarballs may be below /_f/
		}
		if k == packument {
			ix.Sift = h.sift(next, req)
		}
		resp, err := h.hub.Copied(ctx, next, req, ix)
		return hub.Vary(resp, "Accept"), err
	})
}

// copy copies a packument or a manifest, its tarballs as links to the hub, and tells
// what it says of them.
func (h *Hub) copy(dst io.Writer, src io.Reader, c *hub.Copy) error {
	// Of one "dist": base and path of its tarball, where that is the hub's, and
	// what it says of it.
	var link, quoted, integrity, shasum []byte
	linked := false
	tarball := func(value []byte) ([]byte, error) {
		s, ok := hub.JSONBytes(value)
		if !ok {
			linked = false
			return value, nil
		}
		link = append(link[:0], c.Base...)
		if link, linked = c.Append(link, s); !linked || c.Base == "" {
			return value, nil // elsewhere, where it is not ours to fetch
		}
		quoted = hub.AppendJSONString(quoted[:0], link)
		return quoted, nil
	}
	rules := hub.JSONRules{"versions/*/dist/tarball": tarball, "dist/tarball": tarball}
	if c.Teach == nil {
		return hub.CopyJSON(dst, src, rules)
	}
	end := hub.JSONEnd(func() error {
		if linked {
			if digest := strongest(integrity, shasum); digest != "" {
				if key, ok := h.key(string(link[len(c.Base):])); ok {
					c.Tell(key, exchange.Fact{Digest: digest})
				}
			}
		}
		linked, integrity, shasum = false, integrity[:0], shasum[:0]
		return nil
	})
	for _, dist := range [...]string{"versions/*/dist/", "dist/"} {
		rules[dist+"integrity"], rules[dist+"shasum"], rules[dist] = hub.JSONBytesInto(&integrity), hub.JSONBytesInto(&shasum), end
	}
	return hub.CopyJSON(dst, src, rules)
}

// key is path as a client gets a tarball under it, if it is that of one.
func (h *Hub) key(path string) (key string, ok bool) {
	if hub.Plain(path) { // as most are, and an index has many of them
		k, _ := classify(path)
		return path, k == tarball || k == second
	}
	req, ok := hub.Follow(h, path)
	if !ok || req.Policy.Class != freshness.Immutable {
		return "", false
	}
	return req.Key.Path, true
}

// strongest is the best digest that integrity has, else the SHA-1; "" if there is none.
func strongest(integrity, shasum []byte) exchange.Digest {
	var buf [64]byte
	if algorithm, sum := sri.Strongest(buf[:0], integrity); algorithm != "" {
		return exchange.NewDigest(algorithm, sum)
	}
	best, err := exchange.ParseDigest("sha1:" + strings.ToLower(string(shasum)))
	if err != nil {
		return ""
	}
	return best
}
