package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"runtime/debug"
	"sync"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// run is the flight, from the question to its landing.
func (f *flight) run(ctx context.Context, next exchange.Source, req *exchange.Request, old *exchange.Entry) {
	defer func() {
		if p := recover(); p != nil {
			f.cache.log.Error("flight panicked", "hub", f.key.Hub, "key", f.key.Path, "err", p, "stack", string(debug.Stack()))
			f.fail(&exchange.Error{Status: http.StatusInternalServerError, Err: fmt.Errorf("panic: %v", p)})
		}
		f.putBack()
		f.mu.Lock()
		f.over = true
		f.mu.Unlock()
		f.release()
	}()
	if f.second && f.overtaken(ctx, req) {
		return
	}
	ask := req.Clone()
	ask.Head, ask.Validate = false, old
	fact := f.cache.fact(ctx, req)
	ask.Digest, ask.Size = fact.Digest, fact.Size
	for try := 1; ; try++ {
		if try > 1 {
			ask = ask.Clone() // mirrors that were asked before may still be reading it
		}
		blame, _, _ := f.cache.wrong.get(f.key, f.cache.now())
		ask.Avoid, ask.Doubt, ask.Resume, ask.From = blame.wrong, blame.doubted, nil, 0
		if try == 1 {
			f.had = f.cache.remains(ctx, ask)
		}
		if f.had != nil {
			ask.Resume = f.had.part
		} else if old == nil && f.cache.disk.well() {
			ask.From = begins(ask)
		}
		resp, err := next.Get(ctx, ask)
		if err == nil && len(ask.Avoid) > 0 && absent(resp.Entry.Status) {
			// Not all mirrors say so: there are some that were not asked (PROTOCOLS 0.12).
			resp.Body.Close()
			err = &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has the right content"}
		}
		if err != nil {
			f.lost(ctx, old, err)
			return
		}
		wrong := f.take(ctx, next, ask, resp)
		if wrong == nil {
			return
		}
		if try == maxTries || ctx.Err() != nil {
			f.lost(ctx, old, &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has the right content", Err: wrong})
			return
		}
		f.cache.log.Warn("asking another mirror", "hub", f.key.Hub, "key", f.key.Path, "mirror", resp.Entry.Mirror, "err", wrong)
	}
}

func absent(status int) bool { return status == http.StatusNotFound || status == http.StatusGone }

// maxTries is how many mirrors are asked for content that is not what it should be.
const maxTries = 4

// take does what is to be done with an answer. An error says that its content
// was wrong, that nobody has seen any of it, and that another mirror is to be asked.
func (f *flight) take(ctx context.Context, next exchange.Source, ask *exchange.Request, resp *exchange.Response) error {
	f.weigh(resp)
	switch e := resp.Entry; {
	case e.Status == http.StatusNotModified && ask.Validate != nil:
		resp.Body.Close()
		f.freshen(ctx, ask.Validate, e)
	case e.Status >= http.StatusBadRequest:
		f.refuse(ask, resp)
	case f.cache.object > 0 && e.Size > f.cache.object:
		resp.Body.Close()
		f.lost(ctx, ask.Validate, tooLarge(e.Size))
	case resp.NoStore, e.Size == 0 && ask.Policy.Class == freshness.Immutable:
		f.handOver(ctx, resp)
	default:
		f.cache.backoff.delete(f.key)
		f.cache.negative.delete(f.key)
		return f.stream(ctx, next, ask, resp)
	}
	return nil
}

// overtaken looks once more whether another flight has landed between the
// request's look at the store and its joining the table.
func (f *flight) overtaken(ctx context.Context, req *exchange.Request) bool {
	entry, body, err := f.cache.store.Open(ctx, f.key)
	if err != nil {
		return false
	}
	body.Close()
	if v, _ := req.Policy.Judge(entry.Received, f.cache.now()); v != freshness.Fresh || !entry.Matches(f.cache.fact(ctx, req)) {
		return false
	}
	f.decide(overtaken)
	return true
}

// handOver keeps the flight's goroutine until its unshared content is closed,
// by the client that claims it or by release.
func (f *flight) handOver(ctx context.Context, resp *exchange.Response) {
	closed := make(chan struct{})
	own := *resp
	own.Body = &closing{ReadCloser: resp.Body, closed: closed}
	f.mu.Lock()
	f.upstream, f.over = &own, true
	f.mu.Unlock()
	f.decide(unshared)
	f.release()
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// closing tells when a body is closed.
type closing struct {
	io.ReadCloser
	closed chan struct{}
	once   sync.Once
}

func (c *closing) Close() error {
	err := c.ReadCloser.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// lost is a flight without an answer.
func (f *flight) lost(ctx context.Context, old *exchange.Entry, err error) {
	f.putBack()
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w (%w)", cause, err)
	} else if old != nil {
		f.cache.postpone(f.key, err)
	}
	f.err = err
	f.decide(failed)
}

// refuse is an answer that is no content: all who wait get the same.
func (f *flight) refuse(ask *exchange.Request, resp *exchange.Response) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
	e := *resp.Entry
	if err != nil || e.Size > int64(len(body)) {
		body = []byte(http.StatusText(e.Status) + "\n")
		e.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	}
	e.Size = int64(len(body))
	f.entry, f.replay = &e, body
	f.cache.remember(ask, &e, body)
	if ask.Validate != nil && f.refused() {
		f.cache.postpone(f.key, nil)
	}
	f.decide(replayed)
}

// refused says that upstream has not answered: an error, or a status that says
// nothing about the content. A 404 does.
func (f *flight) refused() bool {
	return f.err != nil || f.entry != nil && f.entry.Status >= http.StatusBadRequest &&
		f.entry.Status != http.StatusNotFound && f.entry.Status != http.StatusGone
}

// status is upstream's, as far as it gave one.
func (f *flight) status() int {
	if f.entry != nil {
		return f.entry.Status
	}
	return 0
}

// freshen is a 304: the stored entry's times start anew.
func (f *flight) freshen(ctx context.Context, old, notModified *exchange.Entry) {
	f.cache.backoff.delete(f.key)
	e := old.Freshened(notModified)
	switch err := f.cache.store.Update(ctx, e); {
	case errors.Is(err, fs.ErrNotExist):
		f.decide(overtaken)
		return
	case err != nil: // the disk is optional: the answer holds, it is only not remembered
		f.cache.disk.note(err)
		f.cache.log.Warn("validation not stored", "hub", f.key.Hub, "key", f.key.Path, "err", err)
	}
	f.entry = e
	f.decide(freshened)
}
