package cache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
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
	begun  time.Time
	second bool // another one has ended between the request's look at the store and this one
	cancel context.CancelCauseFunc

	selected exchange.Key // under which it is in Cache.selected; zero: it is not; guarded by Cache.mu

	head   chan struct{} // closed once the fields below are set
	kind   kind
	entry  *exchange.Entry
	err    error
	replay []byte
	draft  store.Draft // nil if the store gave none; closed by release
	ranges exchange.Ranges
	from   int64 // where upstream's answer begins, if not at the beginning: there is a client that reads from there (middle.go)
	lanes  bool  // that answer comes in parts from several mirrors

	unproven bool // nothing will tell that the content is whole: it is not stored

	mu       sync.Mutex
	frontier int64         // content below it may be read
	resumed  int64         // how much of the content an earlier flight has brought
	arrived  extents       // what of it has come out of order; nil while it comes in order
	end      error         // io.EOF: complete; else why it failed; nil while it flies
	moved    chan struct{} // closed and forgotten whenever frontier, end or window changes; nil: nobody waits
	passing  bool          // the draft has failed: from the window's start on, content is there alone
	window   window
	drained  chan struct{} // closed and forgotten whenever a reader moves, while passing; nil: nobody waits
	readers  map[*reader]struct{}
	grace    *time.Timer // running while an abandoned flight may still be joined
	orphaned bool        // the last reader to leave has aborted
	over     bool        // run has returned
	drafted  int64       // what the draft has, once passing

	upstream  *exchange.Response // unshared content, until it is claimed
	late      *time.Timer        // makes the head known, if the content of a small body does not come at once; owned by run
	announced sync.Once          // the head of content is known
	hold      int64              // how many bytes the frontier stays short of the newest; owned by run
	replaces  bool               // there is a stored entry that this content takes the place of; owned by run
	had       *remains           // of an earlier flight, until it is gone on with or dropped; owned by run
	keeper    *keeper            // nil: what comes cannot be gone on with; owned by run, or by follow
	shared    *sharing           // how a response is stored that says so itself (shared.go); nil: as the policy says
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
		begun:   c.now(),
		head:    make(chan struct{}),
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
	f.orphaned = aborted && !(f.kind == streaming && r.off == f.entry.Size)
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
	size, got := f.entry.Size, max(f.frontier, f.arrived.sum())
	return size >= 0 && (got >= size/2 || size-got <= littleLeft)
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
	if f.passing && f.drained != nil {
		close(f.drained)
		f.drained = nil
	}
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

// announce makes the head of content known, if it is not yet.
func (f *flight) announce() {
	f.announced.Do(func() { f.decide(streaming) })
	if f.late != nil {
		f.late.Stop()
		f.late = nil
	}
}

// lingerTime is how long the head of a small body may wait for content, to leave
// with it: one packet and one awakening instead of two.
const lingerTime = 5 * time.Millisecond

// linger makes the head known soon.
func (f *flight) linger() {
	f.late = time.AfterFunc(lingerTime, func() { f.announced.Do(func() { f.decide(streaming) }) })
}

// hurry ends linger: the head is known, or will not be.
func (f *flight) hurry() {
	if f.late != nil && !f.late.Stop() {
		f.announce()
	}
	f.late = nil
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

// keeping says, of a flight whose head is known, that its content will be stored if
// it comes whole.
func (f *flight) keeping() bool { return f.storing() && !f.unproven }

// storing says that the content is drafted.
func (f *flight) storing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.passing
}

// fail ends a flight in mid-air. It leaves the table first, so that a client
// that sees the failure may ask again at once.
func (f *flight) fail(err error) {
	f.hurry()
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
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
}

// next is the channel that the next wake closes. Callers hold mu.
func (f *flight) next() <-chan struct{} {
	if f.moved == nil {
		f.moved = make(chan struct{})
	}
	return f.moved
}
