package pypi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of the rewriter.
const rules = "pypi 1 "

// Rewrite leads the files of pages to this hub. The links are relative, so that
// there is one body for all clients; those of the JSON API are absolute, since
// its clients resolve nothing.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		switch classify(req.Key.Path) {
		case unslashed:
			return slash(req), nil
		case listing, page:
			resp, err := h.index(ctx, next, req, "")
			var failed *exchange.Error
			if errors.As(err, &failed) && failed.Status == http.StatusBadGateway && req.Key.Variant == asJSON {
				// 406, or a mirror that is confused by what we accept (PEP 691).
				// HTML may be stored, too.
				html := req.Clone()
				represent(html, false)
				if second, err := h.index(ctx, next, html, ""); err == nil {
					return hub.Vary(second, "Accept"), nil
				}
			}
			return hub.Vary(resp, "Accept"), err
		case document:
			return h.index(ctx, next, req, req.Client.Base)
		}
		return next.Get(ctx, req)
	})
}

// slash sends a client on to the path with the slash, on which relative links rely.
func slash(req *exchange.Request) *exchange.Response {
	name := req.Key.Path[strings.LastIndexByte(req.Key.Path, '/')+1:]
	if n := normalise(name); n != "" {
		name = n
	}
	const text = "the index is at the path with a slash\n"
	header := http.Header{"Location": {name + "/"}, "Content-Type": {"text/plain; charset=utf-8"}}
	return &exchange.Response{
		Entry: &exchange.Entry{Key: req.Key, Status: http.StatusMovedPermanently, Header: header, Size: int64(len(text))},
		Body:  io.NopCloser(strings.NewReader(text)),
	}
}

// index answers with an edited index, and has the ledger learn from it.
func (h *Hub) index(ctx context.Context, next exchange.Source, req *exchange.Request, base string) (*exchange.Response, error) {
	var mirror, at string // that the index came from, and where redirects ended
	source := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if err == nil && resp.Entry.Status == http.StatusOK {
			mirror, at = resp.Entry.Mirror, resp.Entry.URL
			h.learn(next, req, resp)
		}
		return resp, err
	})
	return h.hub.Edited(ctx, source, req, rules+base, func(dst io.Writer, src io.Reader) error {
		l := newLinker(h.links, req.Key.Path, mirror, at)
		l.base = base
		return edit(dst, src, l)
	})
}

// edit copies an index with its links mapped. Its first byte says what it is:
// mirrors have JSON under any type, and the type is the client's to judge.
func edit(dst io.Writer, src io.Reader, l *linker) error {
	src, json, err := sniff(src)
	if err != nil {
		return err
	}
	if !json {
		return hub.CopyHTML(dst, src, func(t *hub.Tag) error {
			if t.Name() == "base" {
				if href, ok := t.Attr("href"); ok {
					l.setBase(href)
					t.Drop()
				}
				return nil
			}
			t.Map("href", l.link)
			t.Map("data-provenance", l.identity)
			return nil
		}, "a", "base")
	}
	var text []byte
	mapped := func(f func(string) string) func([]byte) ([]byte, error) {
		return func(value []byte) ([]byte, error) {
			s, ok := hub.JSONString(value)
			if !ok {
				return value, nil
			}
			link := f(s)
			if link == s {
				return value, nil
			}
			text = hub.AppendJSONString(text[:0], link)
			return text, nil
		}
	}
	return hub.CopyJSON(dst, src, hub.JSONRules{
		"files/*/url": mapped(l.link), "files/*/provenance": mapped(l.identity),
		"urls/*/url": mapped(l.link), "releases/*/*/url": mapped(l.link),
	})
}

// identity is link for what names rather than leads (PEP 740): it is mapped
// where it is the hub's, and else stays as it is.
func (l *linker) identity(s string) string {
	if _, ok := l.locate(s); ok {
		return l.link(s)
	}
	return s
}

// sniff says whether a text is JSON.
func sniff(src io.Reader) (whole io.Reader, json bool, err error) {
	b := bufio.NewReaderSize(src, 512)
	for n := 1; n <= b.Size(); n++ {
		head, err := b.Peek(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false, err
		}
		if strings.IndexByte(" \t\r\n\xef\xbb\xbf", head[n-1]) < 0 {
			return b, head[n-1] == '{' || head[n-1] == '[', nil
		}
	}
	return b, false, nil
}

// learn teaches the ledger what an index says of files.
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response) {
	if resp.NoStore || req.Key.Path == simple || req.Policy.Class == freshness.Passthrough {
		return
	}
	mirror, at := resp.Entry.Mirror, resp.Entry.URL
	h.ledger.Learn(next, req, resp.Entry, "/", func(r io.Reader, teach func(string, exchange.Fact)) error {
		plain, err := hub.Unpack(r)
		if err != nil {
			return err
		}
		defer plain.Close()
		return h.facts(plain, newLinker(h.links, req.Key.Path, mirror, at), teach)
	})
}
