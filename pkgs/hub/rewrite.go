package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// An Edit reads an index as the origin sent it and writes it as a client gets
// it. It streams: what it keeps in memory does not grow with the index. An
// error says that the index is not what it should be.
type Edit func(dst io.Writer, src io.Reader) error

// editAhead is how much of an edited index is made before the head goes out, in
// bytes: an index up to here has a length and a validator, and an error in it
// is a 502 and no broken transfer.
const editAhead = 1 << 20

// Edited answers req with next's content changed by edit (PROTOCOLS 0.9, 0.22).
// The cache below holds what the origin sent; what edit made of it is kept
// beside, under the digest of the original and rules, a text that differs
// whenever edit would write something else: its version, the base of its links.
// Where links lead by the options is added here.
// Answers other than 200 pass as they are.
func (o *Options) Edited(ctx context.Context, next exchange.Source, req *exchange.Request, rules string, edit Edit) (*exchange.Response, error) {
	given := rules
	rules += o.places()
	whole := Whole(req) // the length of what edit writes is known from that alone
	resp, err := next.Get(ctx, whole)
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, err
	}
	if resp.Entry.Digest == "" || o.Cache == nil {
		keep := func() {}
		if o.Cache != nil && !resp.NoStore {
			keep = func() { go o.keepEdited(context.WithoutCancel(ctx), whole, rules, edit) }
		}
		out, err := edited(resp, rules, edit, keep)
		return headOnly(req, out), err
	}
	resp.Body.Close()
	out, err := o.kept(ctx, next, whole, resp.Entry, rules, edit, req.Head)
	if err != nil {
		return nil, err
	}
	e := *out.Entry
	if isAsIs(out.Entry) {
		out.Body.Close()
		if out, err = o.Stored(ctx, req); err != nil {
			return nil, err
		}
		if out.Entry.Digest != resp.Entry.Digest { // it has changed since
			out.Body.Close()
			return o.Edited(ctx, next, req, given, edit)
		}
		e.Size = out.Entry.Size
	}
	e.Header = editedHeader(resp.Entry.Header)
	e.Header.Set("Etag", `"`+editTag(resp.Entry.Digest, rules)+`"`)
	e.Key, e.Mirror, e.Requested, e.Received = req.Key, resp.Entry.Mirror, resp.Entry.Requested, resp.Entry.Received
	return &exchange.Response{Entry: &e, Body: out.Body, Outcome: resp.Outcome}, nil
}

// kept is what edit makes of original, the entry of req in next: from the cache,
// or made now and kept there.
func (o *Options) kept(ctx context.Context, next exchange.Source, req *exchange.Request, original *exchange.Entry, rules string, edit Edit, head bool) (*exchange.Response, error) {
	made := exchange.SourceFunc(func(ctx context.Context, _ *exchange.Request) (*exchange.Response, error) {
		if parental(original) {
			if same := o.asIs(ctx, next, req, original.Digest, edit); same != nil {
				return same, nil
			}
		}
		again, err := next.Get(ctx, req)
		if err != nil {
			return nil, err
		}
		out, err := edited(again, rules, edit, func() {})
		if err == nil {
			e := *out.Entry
			e.Requested, e.Received = o.Time(), o.Time()
			out.Entry = &e
		}
		return out, err
	})
	return o.Cache(made).Get(ctx, &exchange.Request{
		Key:    exchange.Key{Hub: req.Key.Hub, Path: req.Key.Path, Variant: req.Key.Variant + "~" + editTag(original.Digest, rules)},
		Head:   head,
		Target: req.Target,
		Policy: freshness.Policy{Class: freshness.Immutable},
	})
}

// keepEdited makes what the next client will ask for, when the first one has got
// an index that was edited on its way: only now is its digest known. Nobody is
// asked for the original. What fails here is made for that client.
func (o *Options) keepEdited(ctx context.Context, req *exchange.Request, rules string, edit Edit) {
	stored := exchange.SourceFunc(o.Stored)
	head := req.Clone()
	head.Head = true
	original, err := stored.Get(ctx, head)
	if err != nil || original.Entry.Digest == "" {
		return
	}
	out, err := o.kept(ctx, stored, req, original.Entry, rules, edit, false)
	if err != nil {
		return
	}
	io.Copy(io.Discard, out.Body) // a transfer that nobody reads may end early
	out.Body.Close()
}

// places is a text that differs where other options make links lead elsewhere.
func (o *Options) places() string {
	var b strings.Builder
	for _, u := range o.Mirrors {
		b.WriteString(" " + u.Host + u.Path)
	}
	for _, alias := range slices.Sorted(maps.Keys(o.Files)) {
		b.WriteString(" " + alias + "=" + o.Files[alias].Host + o.Files[alias].Path)
	}
	if o.Learned != nil {
		b.WriteString(" learned")
	}
	return b.String()
}

// editTag is "<digest of the original>-<sha256 of the rules>", both shortened.
func editTag(original exchange.Digest, rules string) string {
	sum := sha256.Sum256([]byte(rules))
	digest := original.Hex()
	return digest[:min(32, len(digest))] + "-" + hex.EncodeToString(sum[:4])
}

// editedHeader is h without what speaks of the original content. Last-Modified
// goes too: the edge sends when the variant was made.
func editedHeader(h http.Header) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	for _, name := range []string{
		"Etag", "Last-Modified", "Content-Length", "Content-Encoding", "Content-Md5",
		"Content-Digest", "Repr-Digest", "Digest", "Accept-Ranges",
	} {
		delete(h, name)
	}
	return h
}

// edited changes resp's content on its way. It takes resp over. When the body is
// closed, after all of the content could be edited, whole is called.
func edited(resp *exchange.Response, rules string, edit Edit, whole func()) (*exchange.Response, error) {
	own := exchange.OwnAlgorithm(resp.Entry.Size) // as the entry will have it when it is stored
	sum := &summing{Hash: exchange.Digest(own + ":").New()}
	var src io.Reader = io.TeeReader(resp.Body, sum)
	unpack := func() {}
	if resp.Entry.Header.Get("Content-Encoding") != "" {
		plain, err := Unpack(src)
		if err != nil {
			resp.Body.Close()
			return nil, badIndex(resp, err)
		}
		src, unpack = plain, func() { plain.Close() }
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	body := &editing{pr: pr, original: resp.Body, done: done, whole: whole}
	go func() { // ends with the edit, or when the reader is closed
		defer close(done)
		err := guarded(edit, pw, src)
		if err == nil {
			_, err = io.Copy(io.Discard, src) // the digest is of all of it
		}
		unpack()
		body.err = err
		pw.CloseWithError(err)
	}()
	head, err := io.ReadAll(io.LimitReader(pr, editAhead))
	if err != nil {
		body.Close()
		return nil, badIndex(resp, err)
	}
	e := *resp.Entry
	e.Header, e.Digest, e.Proved, e.Size = editedHeader(e.Header), "", "", -1
	out := &exchange.Response{Entry: &e, Unproven: resp.Unproven, NoStore: resp.NoStore, Outcome: resp.Outcome}
	if len(head) < editAhead {
		body.whole = func() {}
		body.Close()
		e.Size = int64(len(head))
		e.Header.Set("Etag", `"`+editTag(exchange.NewDigest(own, sum.Sum(nil)), rules)+`"`)
		out.Body = struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(head), closerFunc(whole)}
		return out, nil
	}
	sum.off.Store(true)
	body.Reader = io.MultiReader(bytes.NewReader(head), pr)
	out.Body = body
	return out, nil
}

// guarded is edit, whose panic is an error: it reads what is foreign, on a
// goroutine that net/http does not watch over.
func guarded(edit Edit, dst io.Writer, src io.Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return edit(dst, src)
}

// summing is a hash until nobody wants to know it any more.
type summing struct {
	hash.Hash
	off atomic.Bool
}

func (s *summing) Write(p []byte) (int, error) {
	if s.off.Load() {
		return len(p), nil
	}
	return s.Hash.Write(p)
}

// badIndex is what a client hears of an index that could not be edited: it is
// never passed on as it is (PROTOCOLS 0.23).
func badIndex(resp *exchange.Response, err error) error {
	return &exchange.Error{
		Status:  http.StatusBadGateway,
		Message: "the index from upstream cannot be read",
		Err:     fmt.Errorf("edit %v from %s: %w", resp.Entry.Key, resp.Entry.Mirror, err),
	}
}

// editing is the body of an index that is edited while it is read.
type editing struct {
	io.Reader
	pr       *io.PipeReader
	original io.Closer
	done     chan struct{}
	err      error  // why the edit ended; valid when it is done
	whole    func() // called once, by the first Close, if that is nil
	once     sync.Once
}

func (b *editing) Close() error {
	b.pr.Close()
	err := b.original.Close() // ends a read that the edit waits in
	<-b.done
	b.once.Do(func() {
		if b.err == nil {
			b.whole()
		}
	})
	return err
}

// closerFunc is a function that is called by each Close.
type closerFunc func()

func (f closerFunc) Close() error { f(); return nil }

// headOnly is resp without content, where only the head is wanted.
func headOnly(req *exchange.Request, resp *exchange.Response) *exchange.Response {
	if resp != nil && req.Head {
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp
}
