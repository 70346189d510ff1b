package template

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	links  *hub.Links
	ledger *ledger.Ledger
}

var _ hub.Hub = (*Hub)(nil)

// New makes a hub. l may be nil.
func New(o hub.Options, l *ledger.Ledger) *Hub {
	return &Hub{hub: o, links: o.Links(), ledger: l}
}

const (
	indexPrefix = "/index/"
	filesPrefix = "/files/"
	ttl         = 5 * time.Minute // of an index
	maxLine     = 64 << 10        // bytes of one line of it
	rules       = "template 1 "   // version of the rewriter: with another one all is written anew
)

// Parse knows indexes and files. The query does not count.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	if req, ok := h.hub.File(path, target, ""); ok {
		return req, nil
	}
	if name, ok := strings.CutPrefix(path, indexPrefix); ok && name != "" && !strings.Contains(name, "/") {
		req := h.hub.Request(path, target, freshness.Mutable, ttl)
		req.Package = name
		return req, nil
	}
	if rest, ok := strings.CutPrefix(path, filesPrefix); ok && rest != "" && !strings.HasSuffix(rest, "/") {
		return h.hub.Request(path, target, freshness.Immutable, 0), nil
	}
	return nil, fmt.Errorf("%s: no such path: %w", path, fs.ErrNotExist)
}

// Rewrite leads the links of indexes to the hub, and learns their digests.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if !strings.HasPrefix(req.Key.Path, indexPrefix) {
			return next.Get(ctx, req)
		}
		var from *url.URL // of the index, for links that are relative to it
		index := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := next.Get(ctx, req)
			if err != nil || resp.Entry.Status != http.StatusOK {
				return resp, err
			}
			from, _ = url.Parse(resp.Entry.Mirror + req.Target)
			if base := from; !resp.NoStore {
				h.ledger.Learn(next, req, resp.Entry, "/", func(r io.Reader, teach func(string, exchange.Fact)) error {
					return h.facts(r, base, teach)
				})
			}
			return resp, nil
		})
		base := req.Client.Base
		return h.hub.Edited(ctx, index, req, rules+base, func(dst io.Writer, src io.Reader) error {
			return h.edit(dst, src, base, from)
		})
	})
}

// edit copies an index, its links as links below base where they lead to a place
// that the hub has.
func (h *Hub) edit(dst io.Writer, src io.Reader, base string, from *url.URL) error {
	out := bufio.NewWriter(dst)
	err := lines(src, func(version, sum, link string) error {
		if path, ok := h.links.Map(link, from); ok {
			link = base + path
		}
		_, err := fmt.Fprintln(out, version, sum, link)
		return err
	})
	return errors.Join(err, out.Flush())
}

// facts tells what an index says of the files that the hub has.
func (h *Hub) facts(src io.Reader, from *url.URL, teach func(path string, f exchange.Fact)) error {
	return lines(src, func(_, sum, link string) error {
		path, _ := h.links.Map(link, from) // "" is no path of the hub
		// Keys are canonical, links are spelled as the index likes: Parse tells which
		// key a link means.
		if u, err := url.Parse(path); err == nil {
			if req, err := h.Parse(&http.Request{URL: u}); err == nil {
				teach(req.Key.Path, exchange.Fact{Digest: exchange.Digest("sha256:" + sum)})
			}
		}
		return nil
	})
}

// lines calls f with every line of an index, and reads no more than one ahead.
func lines(src io.Reader, f func(version, sum, link string) error) error {
	in := bufio.NewScanner(src)
	in.Buffer(make([]byte, 4<<10), maxLine)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) != 3 {
			return fmt.Errorf("a line of %d words", len(fields))
		}
		if err := f(fields[0], fields[1], fields[2]); err != nil {
			return err
		}
	}
	return in.Err()
}
