package pypi

import (
	"bufio"
	"cmp"
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
const rules = "pypi 1"

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
	_, name := hub.CutLast(req.Key.Path)
	return hub.Moved(req, cmp.Or(normalise(name), name)+"/")
}

// index answers with an edited index, and has the ledger learn from it.
func (h *Hub) index(ctx context.Context, next exchange.Source, req *exchange.Request, base string) (*exchange.Response, error) {
	ix := hub.Index{
		Rules: rules, Base: base, Links: h.links, Prefix: "/",
		Copy: func(dst io.Writer, src io.Reader, c *hub.Copy) error {
			l := newLinker(h.links, req.Key.Path, c.Entry.Mirror, c.Entry.URL)
			l.base = c.Base
			return h.copy(dst, src, l, teaching(c))
		},
	}
	if req.Key.Path == simple || req.Policy.Class == freshness.Passthrough {
		ix.Prefix = ""
	}
	if classify(req.Key.Path) == page {
		ix.Sift = h.sift(next, req)
	}
	return h.hub.Copied(ctx, next, req, ix)
}

// teaching is c as a teacher; nil if nobody listens.
func teaching(c *hub.Copy) teacher {
	if c.Teach == nil {
		return nil
	}
	return func(path []byte, suffix string, size int64, d digest) {
		c.TellBytes(path, suffix, size, d.algorithm, d.sum)
	}
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
