// Package cache answers requests from a store, and shares one upstream transfer
// among all who ask for the same key meanwhile.
//
// Its words: a *flight* is one transfer from upstream; it runs on the daemon's
// time, not on a client's, and writes to a [store.Draft] while any number of
// *readers* follow its *frontier*, the offset up to which content may be read.
// A flight *lands* when its content is proved and committed.
//
// The flow of a request: look the key up in the store; judge what is there
// (package freshness); answer from it, or join the key's flight, or start one.
// A stale entry starts a flight that carries its validators; a 304 freshens the
// entry, a 200 replaces it, a failure leaves it to answer as the policy allows. A
// flight for a range far from the beginning begins there (middle.go).
//
// What a flight has brought that ends early stays with a [store.Resumer]: now and
// then, and at its end, it notes how far it came (keep.go), and the next flight
// for the key, in another process too, asks upstream for the rest (remains.go).
//
// The disk is optional: a flight whose draft fails goes on through a small
// window of memory for the readers it has, and stores nothing.
//
// It does not choose among mirrors (package upstream), does not know protocols
// (package hub) and writes no HTTP (package edge).
package cache

import (
	"context"
	"errors"
	"hash"
	"hash/maphash"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// Options are what New needs. Store is required.
type Options struct {
	Store store.Store
	Facts Facts // what indexes have taught; nil: nothing

	// Hashes prove content by digests of a protocol's own, by algorithm. Content is
	// written to one in order, by one goroutine; its sum is compared with the digest.
	Hashes map[string]func() hash.Hash

	Chunk  int64 // bytes a flight reads at once when it is under way; default 1 MiB
	Object int64 // bytes that an object may have; 0 is no limit

	// Offline says whether a hub is, so that nothing is asked of its upstreams. It is
	// called for each request. nil: none is, ever.
	Offline func(hub string) bool

	// Carry is the context of a transfer: of the daemon, with what is to be known of
	// the request that began it. nil: the daemon's.
	Carry func(daemon, request context.Context) context.Context

	Log *slog.Logger     // default slog.Default()
	Now func() time.Time // default time.Now
}

// Facts are known of content before it comes (package ledger). It is an
// interface so that a cache can do without.
type Facts interface {
	// Lookup is what is known of a key. It may wait a little, for an index that
	// is being read.
	Lookup(ctx context.Context, key exchange.Key) (exchange.Fact, bool)

	// Known is Lookup that waits for nothing.
	Known(key exchange.Key) (exchange.Fact, bool)
}

// A Cache keeps what its sources answered. It is safe for concurrent use.
type Cache struct {
	store  store.Store
	facts  Facts
	hashes map[string]func() hash.Hash
	disk   disk
	chunk  int
	object int64
	away   func(hub string) bool // Options.Offline
	carry  func(daemon, request context.Context) context.Context
	log    *slog.Logger
	now    func() time.Time

	negative *expiring[negative]      // unanimous 404s
	wrong    *expiring[blame]         // mirrors that sent wrong content, by key
	backoff  *expiring[time.Duration] // keys whose validation failed, and how long the next pause is
	large    chan struct{}            // a token for each read buffer of full size
	chunks   sync.Pool                // *[]byte, chunk long
	counts   counts

	variants *catalogue           // by what request fields transparent responses were selected
	outdated *expiring[time.Time] // primary keys that were invalidated, and when
	aloof    *expiring[struct{}]  // keys whose responses cannot be shared: nobody waits for another's

	daemon context.Context // flights outlive requests; done when Close gives up waiting
	stop   context.CancelCauseFunc
	wg     sync.WaitGroup // flights

	seed maphash.Seed

	mu       sync.Mutex // before flight.mu
	flights  map[exchange.Key]*flight
	selected map[exchange.Key]*flight // of those, the ones whose response was selected by fields: under the key of who says the same; guarded by mu
	left     [256]uint64              // how many flights have left the table, by a hash of their key; guarded by mu
	closed   bool
}

// Bounds of what the cache keeps in memory; they are no configuration.
const (
	maxNegative = 10_000   // remembered 404s
	maxBackoff  = 10_000   // remembered failures
	maxWrong    = 10_000   // keys with mirrors that are avoided
	maxOutdated = 10_000   // remembered invalidations
	maxAloof    = 10_000   // keys whose responses are not shared
	maxLarge    = 32       // read buffers of full size at one time
	maxReaders  = 10_000   // waiters of one flight
	smallChunk  = 64 << 10 // the first read buffer of a flight
)

// errClosed ends flights when the daemon stops.
var errClosed = errors.New("the cache is closing")

// New makes a cache over a store.
func New(o Options) (*Cache, error) {
	if o.Store == nil {
		return nil, errors.New("cache: no store")
	}
	if o.Chunk <= 0 {
		o.Chunk = 1 << 20
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Carry == nil {
		o.Carry = func(daemon, _ context.Context) context.Context { return daemon }
	}
	c := &Cache{
		store:    o.Store,
		facts:    o.Facts,
		hashes:   o.Hashes,
		chunk:    int(o.Chunk),
		object:   o.Object,
		away:     o.Offline,
		carry:    o.Carry,
		log:      o.Log,
		now:      o.Now,
		negative: newExpiring[negative](maxNegative),
		wrong:    newExpiring[blame](maxWrong),
		backoff:  newExpiring[time.Duration](maxBackoff),
		variants: newCatalogue(o.Store),
		outdated: newExpiring[time.Time](maxOutdated),
		aloof:    newExpiring[struct{}](maxAloof),
		large:    make(chan struct{}, maxLarge),
		flights:  map[exchange.Key]*flight{},
		selected: map[exchange.Key]*flight{},
		seed:     maphash.MakeSeed(),
	}
	c.chunks.New = func() any { b := make([]byte, c.chunk); return &b }
	c.disk.log, c.disk.now = o.Log, o.Now
	c.daemon, c.stop = context.WithCancelCause(context.Background())
	return c, nil
}

// Close waits for the flights that have readers until ctx is done, then ends
// them all. No request may come after it.
func (c *Cache) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	flights := slices.Collect(maps.Values(c.flights))
	c.mu.Unlock()
	for _, f := range flights {
		f.abandon(errClosed)
	}
	done := make(chan struct{})
	go func() { c.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	c.stop(errClosed)
	<-done
	return nil
}

// Wrap is the cache before next. It is an [exchange.Filter].
func (c *Cache) Wrap(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		switch {
		case c.away != nil && c.away(req.Key.Hub):
			return c.here(ctx, req)
		case req.Policy.Class == freshness.Passthrough:
			return c.forward(ctx, next, req, exchange.FwdBypass)
		case req.Policy.Class == freshness.Transparent && req.Wire != nil:
			return c.transparent(ctx, next, req)
		}
		var err error
		for range 3 { // a flight that turns out to be no answer to this request sends it round again
			var resp *exchange.Response
			resp, err = c.get(ctx, next, req)
			if !errors.Is(err, errAgain) {
				return resp, err
			}
		}
		return c.forward(ctx, next, req, exchange.FwdURIMiss)
	})
}

// errAgain says that the store has changed under a request; it looks again.
var errAgain = errors.New("look again")

// get answers req once: from the store, by validating what is there, or by a flight.
func (c *Cache) get(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	since := c.departures(req.Key)
	entry, body, err := c.store.Open(ctx, req.Key)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.WarnContext(ctx, "store cannot be read", "hub", req.Key.Hub, "key", req.Key.Path, "err", err)
			since = unseen
		}
		return c.miss(ctx, next, req, since)
	}
	if !entry.Matches(c.fact(ctx, req)) {
		// An index has since said otherwise: what is stored is of the past (a
		// republished chart, a rebuilt package).
		body.Close()
		return c.miss(ctx, next, req, since)
	}
	verdict, left := req.Policy.Judge(entry.Received, c.now())
	if verdict == freshness.Fresh {
		return hit(req, entry, body, left), nil
	}
	return c.validate(ctx, next, req, stored{entry, body, verdict, left})
}

// fact is what is known of the content that req asks for.
func (c *Cache) fact(ctx context.Context, req *exchange.Request) exchange.Fact {
	if req.Digest != "" || c.facts == nil || req.Policy.Class != freshness.Immutable {
		return exchange.Fact{Size: req.Size, Digest: req.Digest}
	}
	f, _ := c.facts.Lookup(ctx, req.Key)
	if f.Size == 0 {
		f.Size = req.Size
	}
	return f
}

// hit is the response from a fresh entry.
func hit(req *exchange.Request, e *exchange.Entry, body io.ReadCloser, left time.Duration) *exchange.Response {
	return &exchange.Response{
		Entry:   e,
		Body:    content(req, body),
		Outcome: exchange.Outcome{Hit: true, TTL: left, HasTTL: left != freshness.Forever},
	}
}

// content is the body, or none where only the head is wanted.
func content(req *exchange.Request, body io.ReadCloser) io.ReadCloser {
	if req.Head {
		body.Close()
		return http.NoBody
	}
	return body
}

// miss answers a request for which nothing is stored, as it was found after since.
func (c *Cache) miss(ctx context.Context, next exchange.Source, req *exchange.Request, since uint64) (*exchange.Response, error) {
	if n, left, ok := c.negative.get(req.Key, c.now()); ok {
		return n.response(left), nil
	}
	if req.Head && !c.flying(req.Key) {
		// Nothing is stored for a HEAD: the head alone is no content (T34).
		resp, err := c.forward(ctx, next, req, exchange.FwdURIMiss)
		if err == nil {
			c.remember(req, resp.Entry, nil)
		}
		return resp, err
	}
	f, r, leader := c.join(ctx, next, req, nil, since)
	if f == nil {
		return c.forward(ctx, next, req, exchange.FwdURIMiss)
	}
	select {
	case <-f.head:
	case <-ctx.Done():
		r.Close()
		return nil, context.Cause(ctx)
	}
	return c.landed(ctx, next, req, f, r, exchange.Outcome{
		Fwd: exchange.FwdURIMiss, Collapsed: !leader,
		TTL: req.Policy.TTL, HasTTL: req.Policy.Class == freshness.Mutable && req.Policy.TTL != freshness.Forever,
	})
}

// landed makes the response of a flight whose head is known, for the reader r
// that joined it; it takes r over.
func (c *Cache) landed(ctx context.Context, next exchange.Source, req *exchange.Request, f *flight, r *reader, o exchange.Outcome) (*exchange.Response, error) {
	if f.kind != streaming {
		defer r.Close()
	}
	switch f.kind {
	case failed:
		return nil, f.err
	case replayed:
		o.HasTTL = false
		return &exchange.Response{Entry: f.entry, Body: bytesBody(req, f.replay), Outcome: o}, nil
	case unshared:
		if resp := f.claim(); resp != nil {
			resp.Outcome = o
			resp.Outcome.Collapsed, resp.Outcome.HasTTL = false, false
			resp.Body = content(req, resp.Body)
			return c.proven(ctx, req, resp), nil
		}
		return c.forward(ctx, next, req, o.Fwd)
	case streaming:
		o.Stored = f.keeping()
		if o.Collapsed && f.complete() {
			o = exchange.Outcome{Hit: true, TTL: o.TTL, HasTTL: o.HasTTL}
		}
		if req.Head {
			r.Close()
			return &exchange.Response{Entry: f.entry, Body: http.NoBody, Outcome: o}, nil
		}
		return &exchange.Response{Entry: f.entry, Body: r, Outcome: o}, nil
	}
	return nil, errAgain // freshened, or another flight was quicker: the store has it now
}

// forward asks next for this one client, beside the cache.
func (c *Cache) forward(ctx context.Context, next exchange.Source, req *exchange.Request, why exchange.Fwd) (*exchange.Response, error) {
	if blame, _, ok := c.wrong.get(req.Key, c.now()); ok {
		ask := *req
		ask.Avoid, ask.Doubt = blame.wrong, blame.doubted
		req = &ask
	}
	resp, err := next.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	resp.Outcome.Fwd = why
	return c.proven(ctx, req, resp), nil
}
