package npm

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of the rewriter.
const rules = "npm 1 "

// Rewrite leads the tarballs of packuments to this hub, by absolute links: npm
// takes a relative one for a local file.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		k, name := classify(req.Key.Path)
		if k != packument && k != manifest || req.Post != nil {
			return next.Get(ctx, req)
		}
		var from *url.URL // of the index that is edited
		index := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := next.Get(ctx, req)
			if err == nil && resp.Entry.Status == http.StatusOK {
				from, _ = url.Parse(resp.Entry.Mirror + req.Target)
				h.learn(next, req, resp, name, from)
			}
			return resp, err
		})
		base := req.Client.Base
		resp, err := h.hub.Edited(ctx, index, req, rules+base, func(dst io.Writer, src io.Reader) error {
			return h.edit(dst, src, base, from)
		})
		return hub.Vary(resp, "Accept"), err
	})
}

// edit copies a packument or a manifest, its tarballs as links below base.
func (h *Hub) edit(dst io.Writer, src io.Reader, base string, from *url.URL) error {
	var link []byte
	lead := func(value []byte) ([]byte, error) {
		s, ok := hub.JSONString(value)
		if !ok || base == "" {
			return value, nil
		}
		path, ok := h.links.Map(s, from)
		if !ok {
			return value, nil // elsewhere, where it is not ours to fetch
		}
		link = hub.AppendJSONString(link[:0], base+path)
		return link, nil
	}
	return hub.CopyJSON(dst, src, hub.JSONRules{"versions/*/dist/tarball": lead, "dist/tarball": lead})
}

// learn teaches the ledger what an index says of tarballs.
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response, name string, from *url.URL) {
	if resp.NoStore {
		return
	}
	prefix := "/" + name + "/"
	if len(h.hub.Files) > 0 {
		prefix = "/" // its tarballs may be below /_f/
	}
	h.ledger.Learn(next, req, resp.Entry, prefix, func(r io.Reader, teach func(string, exchange.Fact)) error {
		return h.facts(r, from, teach)
	})
}

// facts reads a packument or a manifest.
func (h *Hub) facts(r io.Reader, from *url.URL, teach func(path string, f exchange.Fact)) error {
	plain, err := hub.Unpack(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	var link, integrity, shasum string
	into := func(s *string) func([]byte) ([]byte, error) {
		return func(value []byte) ([]byte, error) {
			*s, _ = hub.JSONString(value)
			return value, nil
		}
	}
	dist := func([]byte) ([]byte, error) {
		if digest := strongest(integrity, shasum); digest != "" {
			if key, ok := h.key(link, from); ok {
				teach(key, exchange.Fact{Digest: digest})
			}
		}
		link, integrity, shasum = "", "", ""
		return nil, nil
	}
	rules := hub.JSONRules{}
	for _, path := range [...]string{"versions/*/dist/", "dist/"} {
		rules[path+"tarball"], rules[path+"integrity"], rules[path+"shasum"] = into(&link), into(&integrity), into(&shasum)
		rules[path] = dist
	}
	return hub.CopyJSON(io.Discard, plain, rules)
}

// key is the path that a client gets a tarball under, if it is one of this hub.
func (h *Hub) key(link string, from *url.URL) (path string, ok bool) {
	path, ok = h.links.Map(link, from)
	if !ok {
		return "", false
	}
	if plain(path) { // as most are, and an index has many of them
		k, _ := classify(path)
		return path, k == tarball || k == second
	}
	u, err := url.Parse(path)
	if err != nil {
		return "", false
	}
	req, err := h.Parse(&http.Request{URL: u})
	if err != nil || req.Policy.Class != freshness.Immutable {
		return "", false
	}
	return req.Key.Path, true
}

// plain says that a path is canonical for sure: no escapes, no dot segments, no
// empty ones, and no query.
func plain(path string) bool {
	last := byte(0)
	for i := range len(path) {
		ch := path[i]
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch == '-', ch == '_', ch == '@', ch == '+', ch == '~':
		case ch == '.', ch == '/':
			if last == '/' {
				return false
			}
		default:
			return false
		}
		last = ch
	}
	return true
}

// strongest is the best digest of a list as Subresource Integrity has it
// (W3C SRI §3.5), else the SHA-1; "" if there is none.
func strongest(integrity, shasum string) (best exchange.Digest) {
	size := 0 // of the best one: the longest is the strongest
	for item := range strings.FieldsSeq(integrity) {
		item, _, _ = strings.Cut(item, "?") // options
		algorithm, text, _ := strings.Cut(item, "-")
		var buf [64 + 3]byte
		if base64.StdEncoding.DecodedLen(len(text)) > len(buf) {
			continue
		}
		n, err := base64.StdEncoding.Decode(buf[:], []byte(text))
		if err == nil && n == sumSize(algorithm) && n > size {
			best, size = exchange.NewDigest(algorithm, buf[:n]), n
		}
	}
	if best != "" {
		return best
	}
	best, err := exchange.ParseDigest("sha1:" + strings.ToLower(shasum))
	if err != nil {
		return ""
	}
	return best
}

// sumSize is the length of a digest that integrity may name, in bytes; 0 of another one.
func sumSize(algorithm string) int {
	switch algorithm {
	case "sha512":
		return 64
	case "sha384":
		return 48
	case "sha256":
		return 32
	case "sha1":
		return 20
	case "md5":
		return 16
	}
	return 0
}
