package npm

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
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
		ix := &index{hub: h, next: next, req: req, prefix: "/" + name + "/"}
		if len(h.hub.Files) > 0 || h.hub.Learned != nil {
			ix.prefix = "/" // its tarballs may be below /_f/
		}
		base, rules := req.Client.Base, rules+req.Client.Base
		lead := func(dst io.Writer, src io.Reader) error {
			lesson := ix.lesson()
			var teach teacher
			if lesson != nil {
				teach = lesson.Teach
			}
			err := h.copy(dst, src, base, ix.answer.Load().from, teach)
			lesson.End(err)
			return err
		}
		edit := lead
		if req.Sieve != nil && k == packument {
			rules += "\n" + req.Sieve.Rules
			edit = func(dst io.Writer, src io.Reader) error { return hub.Piped(dst, src, lead, h.sieve(ctx, next, req)) }
		}
		resp, err := h.hub.Edited(ctx, exchange.SourceFunc(ix.get), req, rules, edit)
		if err == nil {
			ix.learn() // what is kept edited was not read
		}
		return hub.Vary(resp, "Accept"), err
	})
}

// A teacher hears what an index says of a path.
type teacher = func(path string, f exchange.Fact)

// An index is a packument or a manifest that is being answered with.
type index struct {
	hub    *Hub
	next   exchange.Source
	req    *exchange.Request
	prefix string // of what it may speak of

	answer atomic.Pointer[answer] // the last one, set before it is edited; maybe by the cache, on a goroutine of its own
}

// An answer is the index as it came.
type answer struct {
	entry   *exchange.Entry
	from    *url.URL
	teaches bool
}

// get asks for the index.
func (ix *index) get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	resp, err := ix.next.Get(ctx, req)
	if err == nil && resp.Entry.Status == http.StatusOK {
		a := &answer{entry: resp.Entry, teaches: !resp.NoStore}
		a.from, _ = url.Parse(resp.Entry.Mirror + req.Target)
		ix.answer.Store(a)
	}
	return resp, err
}

// lesson teaches the ledger what the index says while it is edited.
func (ix *index) lesson() *ledger.Lesson {
	a := ix.answer.Load()
	if !a.teaches {
		return nil
	}
	return ix.hub.ledger.Lesson(ix.next, ix.req, a.entry, ix.prefix, ix.parse(a))
}

// learn has the ledger read the index, unless that was or is being done.
func (ix *index) learn() {
	if a := ix.answer.Load(); a != nil && a.teaches {
		ix.hub.ledger.Learn(ix.next, ix.req, a.entry, ix.prefix, ix.parse(a))
	}
}

func (ix *index) parse(a *answer) ledger.Parse {
	h, from := ix.hub, a.from
	return func(r io.Reader, teach func(string, exchange.Fact)) error {
		plain, err := hub.Unpack(r)
		if err != nil {
			return err
		}
		defer plain.Close()
		return h.copy(io.Discard, plain, "", from, teach)
	}
}

// copy copies a packument or a manifest, its tarballs as links below base unless
// that is "", and teaches what it says of them to whom it may concern.
func (h *Hub) copy(dst io.Writer, src io.Reader, base string, from *url.URL, teach teacher) error {
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
		link = append(link[:0], base...)
		if link, linked = h.links.Append(link, s, from); !linked || base == "" {
			return value, nil // elsewhere, where it is not ours to fetch
		}
		quoted = hub.AppendJSONString(quoted[:0], link)
		return quoted, nil
	}
	rules := hub.JSONRules{"versions/*/dist/tarball": tarball, "dist/tarball": tarball}
	if teach == nil {
		return hub.CopyJSON(dst, src, rules)
	}
	into := func(kept *[]byte) func([]byte) ([]byte, error) {
		return func(value []byte) ([]byte, error) {
			s, _ := hub.JSONBytes(value)
			*kept = append((*kept)[:0], s...)
			return value, nil
		}
	}
	end := func([]byte) ([]byte, error) {
		if linked {
			if digest := strongest(integrity, shasum); digest != "" {
				if key, ok := h.key(string(link[len(base):])); ok {
					teach(key, exchange.Fact{Digest: digest})
				}
			}
		}
		linked, integrity, shasum = false, integrity[:0], shasum[:0]
		return nil, nil
	}
	for _, dist := range [...]string{"versions/*/dist/", "dist/"} {
		rules[dist+"integrity"], rules[dist+"shasum"], rules[dist] = into(&integrity), into(&shasum), end
	}
	return hub.CopyJSON(dst, src, rules)
}

// key is path as a client gets a tarball under it, if it is that of one.
func (h *Hub) key(path string) (key string, ok bool) {
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
func strongest(integrity, shasum []byte) (best exchange.Digest) {
	size := 0 // of the best one: the longest is the strongest
	for len(integrity) > 0 {
		var item []byte
		item, integrity = word(integrity)
		item, _, _ = bytes.Cut(item, []byte("?")) // options
		name, text, _ := bytes.Cut(item, []byte("-"))
		algorithm, n := sumSize(name)
		var buf [64 + 3]byte
		if n <= size || base64.StdEncoding.DecodedLen(len(text)) > len(buf) {
			continue
		}
		if m, err := base64.StdEncoding.Decode(buf[:], text); err == nil && m == n {
			best, size = exchange.NewDigest(algorithm, buf[:n]), n
		}
	}
	if best != "" {
		return best
	}
	best, err := exchange.ParseDigest("sha1:" + strings.ToLower(string(shasum)))
	if err != nil {
		return ""
	}
	return best
}

// word is s up to the first blank, and what is behind that.
func word(s []byte) (first, rest []byte) {
	for i, ch := range s {
		if ch <= ' ' {
			return s[:i], s[i+1:]
		}
	}
	return s, nil
}

// sumSize is the length of a digest that integrity may name, in bytes; 0 of another one.
func sumSize(name []byte) (algorithm string, size int) {
	switch string(name) {
	case "sha512":
		return "sha512", 64
	case "sha384":
		return "sha384", 48
	case "sha256":
		return "sha256", 32
	case "sha1":
		return "sha1", 20
	case "md5":
		return "md5", 16
	}
	return "", 0
}
