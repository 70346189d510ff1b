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
		blame, _, _ := f.cache.wrong.get(f.key, f.cache.now())
		ask.Avoid, ask.Doubt, ask.Resume = blame.wrong, blame.doubted, nil
		if try == 1 {
			f.had = f.cache.remains(ctx, ask)
		}
		if f.had != nil {
			ask.Resume = f.had.part
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

// stream carries the content of resp to the readers and to the store.
//
// Content with a known digest that is no longer than what is held back for the
// proof (DESIGN decision 4) is proved before anybody hears of it; if it is
// wrong, that is the error. Of longer content readers have had a part: the
// flight fails, and another one fetches what is right.
func (f *flight) stream(ctx context.Context, next exchange.Source, ask *exchange.Request, resp *exchange.Response) error {
	defer resp.Body.Close()
	entry := *resp.Entry
	entry.Stored = entry.Received
	f.entry, f.ranges = &entry, resp.Ranges
	p := f.cache.newProof(ask.Digest)
	f.hold = p.hold()
	quiet := f.hold > 0 && entry.Size >= 0 && entry.Size <= f.hold
	if f.replaces = ask.Validate != nil; f.replaces {
		f.hold = smallChunk
	}
	if f.shared != nil && f.shared.alone {
		f.replaces, f.hold = true, min(max(entry.Size, 0), 1) // nobody finds it here, so it is in its place when it is whole
	}
	had := f.had
	if f.had = nil; had != nil {
		f.resume(had)
	} else if err := f.reserve(ctx, entry.Size); err != nil {
		f.cache.disk.note(err)
		f.pass(err, 0)
		quiet = false // what is not drafted needs readers
	}
	f.keeper = f.newKeeper(ask, resp, p, had)
	switch {
	case quiet:
	case entry.Size >= 0 && entry.Size <= smallChunk && f.draft != nil:
		f.linger()
	default:
		f.announce()
	}
	fresh := false
	n, err := f.fetch(ctx, resp, p, had)
	if err == nil {
		if err = p.check(); err != nil {
			err = fmt.Errorf("%v from %s: %w", f.key, entry.Mirror, err)
			fresh = f.wrong(resp, had)
		}
	}
	switch {
	case err != nil && quiet:
		f.draft.Close()
		f.draft, f.entry = nil, nil
		f.mu.Lock()
		f.passing, f.drafted, f.window = false, 0, window{} // nothing of it is to be mixed with what comes now
		f.mu.Unlock()
		return err
	case err != nil:
		f.keeper.end(n, err)
		f.fail(causeOr(ctx, err))
		if fresh {
			f.cache.again(next, ask)
		}
		return nil
	}
	f.finish(ctx, n, p, resp.Unproven && p.wanted == nil)
	return nil
}

// wrong takes note of content that is not what it should be, and reports whether
// another one is worth a try.
func (f *flight) wrong(resp *exchange.Response, had *remains) (fresh bool) {
	f.cache.counts.wrong.Add(1)
	credit := newCredit(resp, had)
	return f.cache.quarantine(f.key, credit.shares(), had != nil)
}

// reserve makes the draft, or says why there is none.
func (f *flight) reserve(ctx context.Context, size int64) error {
	if err := f.cache.disk.allow(); err != nil {
		return err
	}
	d, err := f.cache.store.Draft(ctx, size)
	if err != nil {
		return err
	}
	f.draft = d
	return nil
}

// causeOr prefers the reason why ctx ended to what came of it.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// fetch brings the content of resp, or what is missing of it, into the draft or
// the window, and returns how long it was, or how far it was hashed.
func (f *flight) fetch(ctx context.Context, resp *exchange.Response, p *proof, had *remains) (int64, error) {
	size := resp.Entry.Size
	hashed, begun := int64(0), int64(0)
	if had != nil {
		begun = had.begun()
		hashed = p.restore(had.note, begun)
	}
	parts := f.arrived != nil // as resume has decided
	if had == nil {
		parts = f.ranges != nil && f.ranges.Striped() && size > 0 && f.draft != nil && f.storing()
	}
	if parts {
		return f.copyParts(ctx, f.ranges, resp.Body, size, p, hashed)
	}
	if had != nil {
		if err := f.rehash(ctx, p, hashed, begun); err != nil {
			return 0, err
		}
		f.ranges.Rewind(begun)
	}
	return f.copy(ctx, resp.Body, size, p, begun)
}

// copy reads body, which begins at off, to its end, and returns where that was.
// size is -1 if unknown.
func (f *flight) copy(ctx context.Context, body io.Reader, size int64, proof *proof, off int64) (int64, error) {
	p := publisher{flight: f}
	defer p.stop()
	buf := newBuffer(f.cache)
	defer buf.free()
	for {
		n, err := body.Read(buf.b)
		if n > 0 {
			if size >= 0 && off+int64(n) > size {
				return off, fmt.Errorf("%w: %v from %s is longer than the %d bytes it promised", errWrong, f.key, f.entry.Mirror, size)
			}
			proof.Write(buf.b[:n])
			if werr := f.write(ctx, buf.b[:n], off); werr != nil {
				return off, werr
			}
			off += int64(n)
			if f.cache.object > 0 && off > f.cache.object {
				return off, tooLarge(off)
			}
			p.advance(off)
			f.keeper.advance(off)
			buf.adapt(n)
			if f.late != nil && f.hold == 0 && off < size {
				f.announce() // the rest takes its time
			}
		}
		switch {
		case err == io.EOF && size >= 0 && off < size:
			return off, fmt.Errorf("%v from %s: %d of %d bytes: %w", f.key, f.entry.Mirror, off, size, io.ErrUnexpectedEOF)
		case err == io.EOF:
			return off, nil
		case err != nil:
			return off, fmt.Errorf("read %v from %s: %w", f.key, f.entry.Mirror, err)
		}
	}
}

func tooLarge(n int64) error {
	return &exchange.Error{Status: http.StatusBadGateway, Message: "the object is larger than allowed", Reason: "object-size", Err: fmt.Errorf("%d bytes", n)}
}

// write puts p at off: into the draft, or into the window once that has failed.
func (f *flight) write(ctx context.Context, p []byte, off int64) error {
	if f.draft != nil && f.storing() {
		_, err := f.draft.WriteAt(p, off)
		if err == nil {
			return nil
		}
		f.cache.disk.note(err)
		f.pass(err, off)
	}
	return f.offer(ctx, p)
}

// finish lands a flight whose content is proved: its readers may have all of
// it, then it is committed, then it leaves the table, so that nobody who looks
// at either misses it. unproven content is not stored.
func (f *flight) finish(ctx context.Context, size int64, p *proof, unproven bool) {
	defer f.cache.leave(f)
	f.mu.Lock()
	keep := !f.passing && !unproven
	f.mu.Unlock()
	// Nobody gets the old content after the new: what replaces a stored entry is
	// whole only once it is in its place.
	if f.replaces && keep {
		f.commit(ctx, size, p)
	}
	f.mu.Lock()
	f.frontier, f.end = size, io.EOF
	f.wake()
	f.mu.Unlock()
	f.announce()
	if !f.replaces && keep {
		f.commit(ctx, size, p)
	}
}

// commit publishes the draft. If that fails the content is whole all the same,
// only not stored.
func (f *flight) commit(ctx context.Context, size int64, p *proof) {
	e := *f.entry
	e.Key, e.Size, e.Digest, e.Proved = f.key, size, p.digest(), p.proved()
	if f.shared != nil && !f.shared.claim(&e) {
		return
	}
	err := f.draft.Commit(context.WithoutCancel(ctx), &e)
	f.cache.disk.note(err)
	if err != nil {
		f.cache.log.Warn("content not stored", "hub", f.key.Hub, "key", f.key.Path, "err", err)
	}
}
