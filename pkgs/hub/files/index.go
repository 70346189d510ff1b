package files

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Rewrite has checksum files taught to the ledger, leads the absolute links of
// listings back here, and tells a client of a directory that its path lacks the
// slash. Without a hub of its own ([Options].Hub) it changes nothing.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	if h.opts.Hub == nil {
		return next
	}
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := h.get(ctx, next, req)
		if err != nil || resp.Entry.Status != http.StatusOK {
			return resp, err
		}
		p, _, _ := strings.Cut(req.Key.Path, "?")
		switch {
		case strings.HasSuffix(p, "/"):
			if html(resp) {
				resp.Body.Close()
				return h.listing(ctx, next, req)
			}
		case isDirectory(p, resp.Entry.URL):
			resp.Body.Close()
			return hub.Moved(req, path.Base(p)+"/"), nil
		case hub.IsSums(path.Base(p)):
			dir, _ := path.Split(p)
			h.opts.Hub.Learn(next, req, resp, dir, func(r io.Reader, teach hub.Teach) error { return hub.ReadSums(p, r, teach) })
		}
		return resp, nil
	})
}

// Gate lets a checksum file in with its signatures.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	if h.opts.Hub == nil {
		return next
	}
	return h.generations.Gate(next, cached)
}

// get answers for a path: for a signature with the one that is of the client's
// checksum file.
func (h *Hub) get(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	if resp, ok, err := h.generations.Signed(ctx, next, req); ok {
		return resp, err
	}
	return next.Get(ctx, req)
}

// signatures are those that a list of checksums may have. A mirror that has a new
// list beside an old signature is believed until it has another signature: there is
// no telling without a key.
func signatures(p string) (paths []string, ok bool) {
	switch strings.ToLower(path.Base(p)) {
	case "sha256sums", "sha512sums", "sha256sum.txt", "sha512sum.txt", "checksum":
		return []string{p + ".gpg", p + ".asc", p + ".sign"}, true
	}
	return nil, false
}

func html(resp *exchange.Response) bool {
	return strings.HasPrefix(strings.ToLower(resp.Entry.Header.Get("Content-Type")), "text/html")
}

// listing is a page whose absolute links to the mirrors lead here.
func (h *Hub) listing(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	base := req.Client.Base
	return h.opts.Hub.Edited(ctx, next, req, "files 1 "+base, func(dst io.Writer, src io.Reader) error {
		return hub.CopyHTML(dst, src, func(t *hub.Tag) error {
			t.Map("href", func(link string) string {
				if strings.Contains(link, "://") {
					if p, ok := h.links.Map(link, nil); ok {
						return base + p
					}
				}
				return link
			})
			return nil
		}, "a")
	})
}

// isDirectory says that a mirror redirected from p to the same with a slash, as the
// client must be.
func isDirectory(p, at string) bool {
	u, err := url.Parse(at)
	return err == nil && at != "" && strings.HasSuffix(u.EscapedPath(), path.Base(p)+"/")
}
