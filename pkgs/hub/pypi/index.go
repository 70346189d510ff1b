package pypi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
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
	ix, rules := &index{hub: h, next: next, req: req}, rules+base
	lead := func(dst io.Writer, src io.Reader) error {
		lesson := ix.lesson()
		var teach teacher
		if lesson != nil {
			teach = func(path []byte, suffix string, size int64, d digest) {
				lesson.TeachBytes(path, suffix, size, d.algorithm, d.sum)
			}
		}
		l := ix.linker(ix.answer.Load())
		l.base = base
		err := h.copy(dst, src, l, teach)
		lesson.End(err)
		return err
	}
	edit := lead
	if req.Sieve != nil && classify(req.Key.Path) == page {
		rules += "\n" + req.Sieve.Rules
		edit = func(dst io.Writer, src io.Reader) error { return hub.Piped(dst, src, lead, h.sieve(ctx, next, req)) }
	}
	resp, err := h.hub.Edited(ctx, exchange.SourceFunc(ix.get), req, rules, edit)
	if err == nil {
		ix.learn() // what is kept edited was not read
	}
	return resp, err
}

// An index is a page or a document that is being answered with.
type index struct {
	hub  *Hub
	next exchange.Source
	req  *exchange.Request

	answer atomic.Pointer[answer] // the last one, set before it is edited; maybe by the cache, on a goroutine of its own
}

// An answer is the index as it came.
type answer struct {
	entry   *exchange.Entry
	teaches bool
}

// get asks for the index.
func (ix *index) get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	resp, err := ix.next.Get(ctx, req)
	if err == nil && resp.Entry.Status == http.StatusOK {
		teaches := !resp.NoStore && req.Key.Path != simple && req.Policy.Class != freshness.Passthrough
		ix.answer.Store(&answer{resp.Entry, teaches})
	}
	return resp, err
}

func (ix *index) linker(a *answer) *linker {
	return newLinker(ix.hub.links, ix.req.Key.Path, a.entry.Mirror, a.entry.URL)
}

// lesson teaches the ledger what the index says while it is edited.
func (ix *index) lesson() *ledger.Lesson {
	a := ix.answer.Load()
	if !a.teaches {
		return nil
	}
	return ix.hub.ledger.Lesson(ix.next, ix.req, a.entry, "/", ix.parse(a))
}

// learn has the ledger read the index, unless that was or is being done.
func (ix *index) learn() {
	if a := ix.answer.Load(); a != nil && a.teaches {
		ix.hub.ledger.Learn(ix.next, ix.req, a.entry, "/", ix.parse(a))
	}
}

func (ix *index) parse(a *answer) ledger.Parse {
	h, l := ix.hub, ix.linker(a)
	return func(r io.Reader, teach func(string, exchange.Fact)) error {
		plain, err := hub.Unpack(r)
		if err != nil {
			return err
		}
		defer plain.Close()
		return h.copy(io.Discard, plain, l, facts(teach))
	}
}

// facts is a teacher that hands on what is kept.
func facts(teach func(string, exchange.Fact)) teacher {
	return func(path []byte, suffix string, size int64, d digest) {
		f := exchange.Fact{Size: size}
		if d.algorithm != "" {
			f.Digest = exchange.Digest(d.algorithm + ":" + string(d.sum))
		}
		teach(string(path)+suffix, f)
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
