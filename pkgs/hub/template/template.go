package template

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub   hub.Options
	links *hub.Links
}

var (
	_ hub.Hub     = (*Hub)(nil)
	_ hub.Indexer = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

const (
	indexPrefix = "/index/"
	filesPrefix = "/files/"
	maxLine     = 64 << 10     // bytes of one line of an index
	rules       = "template 1" // version of the rewriter: with another one all is written anew
)

// A kind is what a path is.
type kind uint8

const (
	unknown kind = iota
	index
	file
)

// kinds is how paths of each kind are treated.
var kinds = [...]hub.Kind{
	index: {TTL: 5 * time.Minute},
	file:  {Class: freshness.Immutable},
}

// classify says what a canonical path is, and which package it names.
func classify(path string) (k kind, name string) {
	if name, ok := strings.CutPrefix(path, indexPrefix); ok && name != "" && !strings.Contains(name, "/") {
		return index, hub.Name(name)
	}
	own, second := strings.HasPrefix(path, filesPrefix), strings.HasPrefix(path, hub.FilePrefix)
	if (own || second) && !strings.HasSuffix(path, "/") {
		return file, ""
	}
	return unknown, ""
}

// Parse knows indexes and files. The query does not count.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	k, name := classify(asked.Path)
	if k == unknown {
		return nil, hub.NoPath(asked.Path)
	}
	req := asked.Request(kinds[k])
	req.Package = name
	return req, nil
}

// Index is the one of the package; that of a file's is not known.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	path, ok := hub.Canonical(indexPrefix + req.Package)
	if req.Package == "" || !ok {
		return nil
	}
	return hub.IndexAt(h, req, path)
}

// Rewrite leads the links of indexes to the hub, and learns their digests.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if k, _ := classify(req.Key.Path); k != index {
			return next.Get(ctx, req)
		}
		return h.hub.Copied(ctx, next, req, hub.Index{Rules: rules, Base: req.Client.Base, Links: h.links, Prefix: "/", Copy: h.copy})
	})
}

// copy copies an index, its links as links to the hub where they lead to a place that
// it has, and tells what it says of them. It holds one line.
func (h *Hub) copy(dst io.Writer, src io.Reader, c *hub.Copy) error {
	out, in := bufio.NewWriter(dst), bufio.NewScanner(src)
	in.Buffer(make([]byte, 4<<10), maxLine)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) != 3 {
			return fmt.Errorf("a line of %d words", len(fields))
		}
		version, sum, link := fields[0], fields[1], fields[2]
		if path, ok := c.Map(link); ok {
			link = c.Base + path
			h.tell(c, path, sum)
		}
		fmt.Fprintln(out, version, sum, link) // its errors are sticky
	}
	return errors.Join(in.Err(), out.Flush())
}

// tell teaches the sum of the file at a path that a link was mapped to. Keys are
// canonical, links are spelled as the index likes: Follow tells which key one means.
func (h *Hub) tell(c *hub.Copy, path, sum string) {
	digest, err := exchange.ParseDigest("sha256:" + sum)
	if req, ok := hub.Follow(h, path); ok && err == nil {
		c.Tell(req.Key.Path, exchange.Fact{Digest: digest})
	}
}
