// Package ledger remembers what indexes taught: size and digest of content to
// come, by key.
//
// Its words: a fact is what an index says of one key; a mark says that an index
// was read; a run is the reading of one index; a lesson is one that somebody
// reads for another reason. Hubs teach, mostly by [Ledger.Lesson] or
// [Ledger.Learn], which reads an index behind the client that asked for it; the
// cache asks with [Ledger.Lookup] and then proves content by the answer.
//
// Facts lie in one file, written as a ring: new ones replace the oldest when it
// is full (ring.go). In memory there are 8 bytes for each of them (table.go).
//
// The ledger is advisory. It is bounded and may forget; a crash costs what was
// not written, a damaged record is no record, and a file that it does not know
// is begun anew. It proves nothing and fetches nothing but indexes, and it does
// not know what an index looks like: the parser is the hub's.
package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// defaultEntries needs 112 MB of disk and 16 MiB of memory once they are there.
const defaultEntries = 1_750_000

// maxPath is the length from which a key is not remembered.
const maxPath = 4096

// Options are what Open needs. Path is required.
type Options struct {
	// Path is the file. Its folder exists, and is this process's own.
	Path string

	// Entries are the facts with SHA-256 that there is room for, 64 bytes each;
	// those with SHA-384 or SHA-512 need half as much again. Default 1.75 million.
	// The file of another number is begun anew.
	Entries int

	Wait time.Duration    // the longest a Lookup waits for an index; default 2 s
	Log  *slog.Logger     // default slog.Default()
	Now  func() time.Time // default time.Now
}

// A Ledger is safe for concurrent use. A nil one knows nothing and learns nothing.
type Ledger struct {
	ring *ring
	wait time.Duration
	log  *slog.Logger
	now  func() time.Time

	ctx  context.Context // of the runs; done when Close begins
	stop context.CancelFunc
	wg   sync.WaitGroup // runs
	busy chan struct{}  // a token for each run that reads

	reading atomic.Int32 // len(covers), so that an idle Lookup takes no lock
	waiting atomic.Int64 // bytes of facts that lessons hold

	mu      sync.Mutex
	closed  bool                // guarded by mu, like all that follows
	covers  map[*cover]struct{} // indexes that are being read
	running map[hash]struct{}   // identities of the indexes that Learn reads
	queued  int                 // runs that are not over
	failed  map[hash]time.Time  // identities whose run failed, and when
}

// Open reads the file, or begins one. What is in it is lost, with a warning, if
// it is not a ledger of this version and size; err is only for a file that can
// not be opened at all.
func Open(o Options) (*Ledger, error) {
	if o.Path == "" {
		return nil, fmt.Errorf("ledger: no path")
	}
	if o.Entries <= 0 {
		o.Entries = defaultEntries
	}
	if o.Wait <= 0 {
		o.Wait = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r, err := openRing(o.Path, o.Entries, o.Log)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{
		ring:    r,
		wait:    o.Wait,
		log:     o.Log,
		now:     o.Now,
		busy:    make(chan struct{}, maxBusy),
		covers:  map[*cover]struct{}{},
		running: map[hash]struct{}{},
		failed:  map[hash]time.Time{},
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l, nil
}

// Close ends the runs, waits for them and closes the file. Nothing is taught or
// known afterwards.
func (l *Ledger) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.wg.Wait()
	return l.ring.close()
}

// Pause writes what there is and leaves the file to another process from then on,
// or goes on with it. A ledger that is paused still knows what it knew, as long as
// the other does not overwrite it, and little of what it is taught.
func (l *Ledger) Pause(paused bool) {
	if l != nil {
		l.ring.pause(paused)
	}
}

// Teach remembers f. Digests are those that [exchange.ParseDigest] knows, and
// apk1 and apk2 (package hub/apk); others are none. SHA-2 counts; a lesser fact (SHA-1 or MD5, or a size alone) is taken
// only if there is no better one, or one of another size (PROTOCOLS 0.16).
// Otherwise what was taught last holds.
func (l *Ledger) Teach(key exchange.Key, f exchange.Fact) {
	if l == nil || !l.teach(key, f) {
		return
	}
	l.ring.flush()
}

// teach is Teach without the flush.
func (l *Ledger) teach(key exchange.Key, f exchange.Fact) bool {
	if len(key.Path) > maxPath {
		return false
	}
	r, ok := newRecord(hashKey(key), f)
	return ok && l.ring.put(r)
}

// Known is what was taught of a key; it waits for nothing.
func (l *Ledger) Known(key exchange.Key) (exchange.Fact, bool) {
	if l == nil || len(key.Path) > maxPath {
		return exchange.Fact{}, false
	}
	r, ok := l.ring.get(hashKey(key))
	if !ok {
		return exchange.Fact{}, false
	}
	return r.fact(), true
}

// Lookup is what was taught of a key. If that is nothing, but an index is being
// read that may teach it, Lookup waits for that, no longer than Options.Wait
// and ctx.
func (l *Ledger) Lookup(ctx context.Context, key exchange.Key) (exchange.Fact, bool) {
	if l == nil || len(key.Path) > maxPath {
		return exchange.Fact{}, false
	}
	h := hashKey(key)
	if r, ok := l.ring.get(h); ok {
		return r.fact(), true
	}
	if l.reading.Load() == 0 {
		return exchange.Fact{}, false
	}
	return l.await(ctx, key, h)
}
