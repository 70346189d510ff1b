package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// kind is what became of a flight's head.
type kind uint8

const (
	failed    kind = iota // no answer: flight.err
	streaming             // content comes, readers follow it
	replayed              // a small refusal, the same for all who wait: flight.replay
	unshared              // content that is one client's alone: flight.claim
	freshened             // validated: flight.entry is the stored one with new times
	overtaken             // the store has it already: look again
)

// A flight is one transfer from upstream. One goroutine runs it; what it writes
// before closing head is for everybody to read after.
type flight struct {
	cache  *Cache
	key    exchange.Key
	cancel context.CancelCauseFunc

	head   chan struct{} // closed once the fields below are set
	kind   kind
	entry  *exchange.Entry
	err    error
	replay []byte
	draft  store.Draft // nil if the store gave none; closed by release

	mu       sync.Mutex
	frontier int64         // content below it may be read
	end      error         // io.EOF: complete; else why it failed; nil while it flies
	moved    chan struct{} // closed and replaced whenever frontier, end or window changes
	passing  bool          // the draft has failed: from the window's start on, content is there alone
	window   window
	drained  chan struct{} // closed and replaced whenever a reader moves, while passing
	readers  map[*reader]struct{}
	grace    *time.Timer // running while an abandoned flight may still be joined
	orphaned bool        // the last reader to leave has aborted
	over     bool        // run has returned
	drafted  int64       // what the draft has, once passing

	upstream *exchange.Response // unshared content, until it is claimed
	hold     int64              // how many bytes the frontier stays short of the newest; owned by run
}

// The policy for a flight that its last client has left before the end (DESIGN
// decision 1): it goes on when half is there, or when little is missing.
const (
	littleLeft = 64 << 20
	graceTime  = 5 * time.Second
)

var errAbandoned = errors.New("every client has left")

func newFlight(c *Cache, req *exchange.Request) *flight {
	return &flight{
		cache:   c,
		key:     req.Key,
		head:    make(chan struct{}),
		moved:   make(chan struct{}),
		drained: make(chan struct{}),
		readers: map[*reader]struct{}{},
	}
}

// attach gives ctx's request a reader at offset 0; nil if the flight takes no
// more. Callers hold Cache.mu, so the flight is on the table.
func (f *flight) attach(ctx context.Context) *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) >= maxReaders {
		return nil
	}
	if f.grace != nil {
		f.grace.Stop()
		f.grace = nil
	}
	r := &reader{flight: f, ctx: ctx}
	f.readers[r] = struct{}{}
	return r
}

// detach takes a reader away. aborted says that its client left before it had
// all it wanted: the last such one may end the flight.
func (f *flight) detach(r *reader, aborted bool) {
	f.mu.Lock()
	if _, ok := f.readers[r]; !ok {
		f.mu.Unlock()
		return
	}
	delete(f.readers, r)
	f.stir()
	f.orphaned = aborted
	f.reconsider()
	f.mu.Unlock()
	f.release()
}

// reconsider ends a flight without readers, soon, if it is not worth going on
// with. Callers hold mu.
func (f *flight) reconsider() {
	if len(f.readers) > 0 || f.end != nil {
		return
	}
	switch {
	case f.passing:
		f.cancel(errAbandoned) // nobody to read it, nowhere to keep it
	case f.orphaned && f.kind == streaming && !f.worthwhile():
		f.grace = time.AfterFunc(graceTime, func() { f.abandon(errAbandoned) })
	}
}

// worthwhile says whether a flight that its last client has left goes on.
// Callers hold mu.
func (f *flight) worthwhile() bool {
	size := f.entry.Size
	return size >= 0 && (f.frontier >= size/2 || size-f.frontier <= littleLeft)
}

// abandon ends the flight if it has no readers. It leaves the table first, so
// that nobody joins a flight that is about to fail.
func (f *flight) abandon(why error) {
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) == 0 && f.end == nil {
		if f.cache.flights[f.key] == f {
			delete(f.cache.flights, f.key)
		}
		f.cancel(why)
	}
}

// release gives back what the flight holds, once it is over and has no readers.
func (f *flight) release() {
	f.mu.Lock()
	if !f.over || len(f.readers) > 0 {
		f.mu.Unlock()
		return
	}
	draft, upstream := f.draft, f.upstream
	f.draft, f.upstream = nil, nil
	f.mu.Unlock()
	if draft != nil {
		if err := draft.Close(); err != nil {
			f.cache.log.Warn("draft not closed", "hub", f.key.Hub, "key", f.key.Path, "err", err)
		}
	}
	if upstream != nil {
		upstream.Body.Close()
	}
}

// stir wakes who waits for a reader to move. Callers hold mu.
func (f *flight) stir() {
	if f.passing {
		close(f.drained)
		f.drained = make(chan struct{})
	}
}

// run is the flight, from the question to its landing.
func (f *flight) run(ctx context.Context, next exchange.Source, req *exchange.Request, old *exchange.Entry) {
	defer func() {
		if p := recover(); p != nil {
			f.cache.log.Error("flight panicked", "hub", f.key.Hub, "key", f.key.Path, "err", p, "stack", string(debug.Stack()))
			f.fail(&exchange.Error{Status: http.StatusInternalServerError, Err: fmt.Errorf("panic: %v", p)})
		}
		f.mu.Lock()
		f.over = true
		f.mu.Unlock()
		f.release()
	}()
	if old == nil && f.overtaken(ctx, req) {
		return
	}
	ask := req.Clone()
	ask.Head, ask.Validate = false, old
	resp, err := next.Get(ctx, ask)
	if err != nil {
		f.lost(ctx, req, old, err)
		return
	}
	switch e := resp.Entry; {
	case e.Status == http.StatusNotModified && old != nil:
		resp.Body.Close()
		f.freshen(ctx, old, e)
	case e.Status >= http.StatusBadRequest:
		f.refuse(req, old, resp)
	case f.cache.object > 0 && e.Size > f.cache.object:
		resp.Body.Close()
		f.lost(ctx, req, old, tooLarge(e.Size))
	case resp.NoStore, e.Size == 0 && req.Policy.Class == freshness.Immutable:
		f.handOver(ctx, resp)
	default:
		f.cache.backoff.delete(f.key)
		f.cache.negative.delete(f.key)
		f.stream(ctx, req, resp)
	}
}

// overtaken looks once more whether another flight has landed between the
// request's look at the store and its joining the table.
func (f *flight) overtaken(ctx context.Context, req *exchange.Request) bool {
	entry, body, err := f.cache.store.Open(ctx, f.key)
	if err != nil {
		return false
	}
	body.Close()
	if v, _ := req.Policy.Judge(entry.Received, f.cache.now()); v != freshness.Fresh {
		return false
	}
	f.decide(overtaken)
	return true
}

// decide makes the head known. What is not streaming is over with it. The
// flight leaves the table first: who comes later starts anew.
func (f *flight) decide(k kind) {
	if k != streaming {
		f.cache.leave(f)
	}
	f.mu.Lock()
	f.kind = k
	if k != streaming {
		f.end = io.EOF
	}
	f.reconsider()
	f.mu.Unlock()
	close(f.head)
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
func (f *flight) lost(ctx context.Context, req *exchange.Request, old *exchange.Entry, err error) {
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w (%w)", cause, err)
	} else if old != nil {
		f.cache.postpone(f.key, err)
	}
	f.err = err
	f.decide(failed)
}

// refuse is an answer that is no content: all who wait get the same.
func (f *flight) refuse(req *exchange.Request, old *exchange.Entry, resp *exchange.Response) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
	e := *resp.Entry
	if err != nil || e.Size > int64(len(body)) {
		body = []byte(http.StatusText(e.Status) + "\n")
		e.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	}
	e.Size = int64(len(body))
	f.entry, f.replay = &e, body
	f.cache.remember(req, &e, body)
	if old != nil && f.refused() {
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

// claim is the unshared content, for the first who asks.
func (f *flight) claim() *exchange.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := f.upstream
	f.upstream = nil
	return resp
}

// complete says that all content is there to be read.
func (f *flight) complete() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end == io.EOF
}

// storing says that the content is to be kept.
func (f *flight) storing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.passing
}

// stream carries the content of resp to the readers and to the store.
func (f *flight) stream(ctx context.Context, req *exchange.Request, resp *exchange.Response) {
	defer resp.Body.Close()
	f.entry = resp.Entry
	content := sha256.New()
	wanted := req.Digest.New()
	if req.Digest.Algorithm() == "sha256" {
		wanted = content
	}
	if wanted != nil {
		f.hold = smallChunk
	}
	err := f.cache.disk.allow()
	if err == nil {
		f.draft, err = f.cache.store.Draft(ctx, f.entry.Size)
	}
	if err != nil {
		f.cache.disk.note(err)
		f.pass(err, 0)
	}
	f.decide(streaming)

	n, err := f.copy(ctx, resp.Body, f.entry.Size, content, wanted)
	switch {
	case err != nil:
		f.fail(cmpCause(ctx, err))
		return
	case wanted != nil && exchange.NewDigest(req.Digest.Algorithm(), wanted.Sum(nil)) != req.Digest:
		f.fail(fmt.Errorf("content of %v from %s is not %s", f.key, f.entry.Mirror, req.Digest))
		return
	}
	f.finish(ctx, n, exchange.NewDigest("sha256", content.Sum(nil)), resp.Unproven && wanted == nil)
}

// cmpCause prefers the reason why ctx ended to what came of it.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// copy reads body to its end, and returns how long it was.
//
// size is -1 if unknown. The frontier stays f.hold bytes behind, for the proof
// by the caller (DESIGN decision 4).
func (f *flight) copy(ctx context.Context, body io.Reader, size int64, content, wanted hash.Hash) (int64, error) {
	p := publisher{flight: f}
	defer p.stop()
	buf := newBuffer(f.cache)
	defer buf.free()
	var off int64
	for {
		n, err := body.Read(buf.b)
		if n > 0 {
			if size >= 0 && off+int64(n) > size {
				return off, fmt.Errorf("%v from %s is longer than the %d bytes it promised", f.key, f.entry.Mirror, size)
			}
			content.Write(buf.b[:n])
			if wanted != nil && wanted != content {
				wanted.Write(buf.b[:n])
			}
			if werr := f.write(ctx, buf.b[:n], off); werr != nil {
				return off, werr
			}
			off += int64(n)
			if f.cache.object > 0 && off > f.cache.object {
				return off, tooLarge(off)
			}
			p.advance(off)
			buf.adapt(n)
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
	return &exchange.Error{Status: http.StatusBadGateway, Message: "the object is larger than allowed", Err: fmt.Errorf("%d bytes", n)}
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
func (f *flight) finish(ctx context.Context, size int64, digest exchange.Digest, unproven bool) {
	defer f.cache.leave(f)
	f.mu.Lock()
	f.frontier, f.end = size, io.EOF
	keep := !f.passing && !unproven
	f.wake()
	f.mu.Unlock()
	if !keep {
		return
	}
	e := *f.entry
	e.Key, e.Size, e.Digest = f.key, size, digest
	err := f.draft.Commit(context.WithoutCancel(ctx), &e)
	f.cache.disk.note(err)
	if err != nil {
		f.cache.log.Warn("content not stored", "hub", f.key.Hub, "key", f.key.Path, "err", err)
	}
}

// fail ends a flight in mid-air. It leaves the table first, so that a client
// that sees the failure may ask again at once.
func (f *flight) fail(err error) {
	f.cache.leave(f)
	select {
	case <-f.head:
	default:
		f.err = err
		f.decide(failed)
		return
	}
	level := slog.LevelWarn
	if errors.Is(err, errAbandoned) || errors.Is(err, errClosed) {
		level = slog.LevelDebug
	}
	f.cache.log.Log(context.Background(), level, "transfer failed", "hub", f.key.Hub, "key", f.key.Path, "mirror", f.mirror(), "err", err)
	f.mu.Lock()
	f.end = err
	f.wake()
	f.mu.Unlock()
}

func (f *flight) mirror() string {
	if f.entry != nil {
		return f.entry.Mirror
	}
	return ""
}

// wake makes readers look at the flight again. Callers hold mu.
func (f *flight) wake() {
	close(f.moved)
	f.moved = make(chan struct{})
}
