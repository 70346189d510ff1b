package hub

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A Format is what a type says of its sets (PROTOCOLS 0.19): a root that lists
// members, and companions that are only right beside that root. Paths are
// canonical. Its functions are pure.
type Format struct {
	// Companions are the paths that go with a root: signatures as a rule. ok is
	// false for a path that is no root.
	Companions func(root string) (paths []string, ok bool)

	// Read reads a root. Nil: it says nothing, and its order is its Last-Modified,
	// unless Unordered says that it has none: then any may follow any other.
	Read      func(root string, content io.Reader) (*Root, error)
	Unordered bool

	// Agrees says whether a companion is of the root, as far as its content tells.
	// Nil: it does not.
	Agrees func(root *Root, companion string, content []byte) bool

	// Request is what Parse makes of a path.
	Request func(path string) *exchange.Request

	// Member turns the request of a member's path into one for the content that f
	// names: with a key that is the content's own. It changes req, which has the
	// digest and the size already, is immutable, and has the digest as variant.
	// Nil: that is enough.
	Member func(req *exchange.Request, root *Root)
}

// A Root is what the root of a set says.
type Root struct {
	Order   int64                    // grows from one generation to the next, as a rule the Unix time of its publication; 0: it says nothing
	Expires time.Time                // after it clients refuse it; zero: never
	ByHash  bool                     // mirrors have members under their digests too
	Members map[string]exchange.Fact // by path
}

// A Generation is a root as it was published once, and what it says. It does
// not change.
type Generation struct {
	*Root
	Path   string          // of the root
	Digest exchange.Digest // of the root

	names map[exchange.Digest]string // of members
}

// Name is the path of the member with this digest; "" if there is none.
func (g *Generation) Name(d exchange.Digest) string { return g.names[d] }

// Generations keep the indexes that clients see coherent (DESIGN decision 6):
// a root is published when what clients use of its members is at hand, and the
// path of a member means the content that the published root names.
//
// They have two ends. [Generations.Gate] is below the cache and decides what the
// cache may store as a root: storing it is the publication. Root, Companion and
// Member are above the cache and answer clients. Between them, what is published
// is what the cache has. What they remember beside it, a [Memory], is within
// bounds: read roots, the members in use, and which root a client was given last,
// so that its members come from that one though another is published meanwhile.
//
// They are safe for concurrent use.
type Generations struct {
	format  Format
	hub     string
	mirrors int                                            // how many there are
	hold    time.Duration                                  // the longest a new root waits for its members
	expired bool                                           // roots past their date are served though nobody can be asked
	saw     func(path, mirror string, published time.Time) // nil: nobody wants to know
	log     *slog.Logger
	now     func() time.Time
	reading chan struct{} // a token for each root that is held in memory

	turn atomic.Uint32 // among mirrors that have all sent something wrong

	*Memory
}

// Bounds of what is remembered.
const (
	maxRoot     = 16 << 20 // bytes of a root that is read (FAULTS B43)
	maxReading  = 4        // roots in memory at once
	maxSets     = 256
	maxHot      = 256      // members of a set
	maxUnstored = 16 << 20 // bytes of published roots that could not be stored
	maxPins     = 10_000
	maxRoots    = 48
	maxMissing  = 4                // roots that one missing file makes be looked at
	pinTime     = time.Hour        // how long a client may take from a root to its last member
	latestTime  = 24 * time.Hour   // how long after a root no older one is given
	earlyTime   = 30 * time.Second // and from a companion to its root
	behindTime  = 10 * time.Minute // how long a mirror is thought behind
	forceTime   = 10 * time.Second // between validations that missing members make
	retryTime   = 30 * time.Second // until a root that was not let through is looked at again
	defaultHold = 10 * time.Minute
)

// GenerationOptions are those of a hub.
type GenerationOptions struct {
	Hold    time.Duration // the longest a new root waits for its members; 0 is 10 minutes
	Expired bool          // a root past its date is served though no upstream answers
}

// NewGenerations makes them for a hub.
func NewGenerations(o *Options, f Format, g GenerationOptions) *Generations {
	if g.Hold <= 0 {
		g.Hold = defaultHold
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	memory := o.Memory
	if memory == nil {
		memory = NewMemory(nil)
	}
	return &Generations{
		format: f, hub: o.Name, mirrors: len(o.Mirrors), hold: g.Hold, expired: g.Expired, saw: o.Saw, log: log, now: o.Time,
		reading: make(chan struct{}, maxReading), Memory: memory,
	}
}

// Root answers a client that asks for a root, and remembers which one it was given.
func (g *Generations) Root(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	resp := g.expected(ctx, next, req)
	early := resp != nil
	if !early {
		var err error
		if resp, err = next.Get(ctx, req); err != nil {
			return nil, err
		}
	}
	if resp.Entry.Status != http.StatusOK || req.Head {
		return resp, nil
	}
	gen := g.generation(resp)
	if gen == nil {
		return resp, nil
	}
	// Who was given the companion of this one before is given it, though others have
	// a newer one by now: to that client nothing goes back.
	if newer := g.advance(gen); newer != "" && !early {
		resp.Body.Close()
		var err error
		if resp, gen, err = g.regain(ctx, next, req, newer); err != nil {
			return nil, err
		}
	}
	if now := g.now(); resp.Outcome.Stale && !g.expired && !gen.Expires.IsZero() && now.After(gen.Expires) {
		// Clients take an expired root for an attack, and a 503 for what it is.
		resp.Body.Close()
		return nil, &exchange.Error{Status: http.StatusServiceUnavailable, RetryAfter: retryTime,
			Message: "this index has expired, and no mirror has a newer one"}
	}
	g.give(req.Client, req.Key.Path, pin{digest: gen.Digest, at: g.now()})
	return resp, nil
}

// expected is the root that a client has had the companion of a moment ago, be it
// that another one has taken its place since; nil if there is none, or it is gone.
func (g *Generations) expected(ctx context.Context, next exchange.Source, req *exchange.Request) *exchange.Response {
	p, ok := g.pin(req.Client, req.Key.Path, earlyTime)
	if !ok || !p.early || req.Policy.Class != freshness.Mutable {
		return nil
	}
	there := *req
	there.Policy.TTL = freshness.Forever // whatever it is
	for _, ask := range []*exchange.Request{&there, rootWas(req, p.digest)} {
		resp, err := next.Get(ctx, ask)
		if err != nil {
			continue
		}
		if resp.Entry.Status == http.StatusOK && resp.Entry.Digest == p.digest {
			return resp
		}
		resp.Body.Close()
	}
	return nil
}

// Companion answers a client that asks for what goes with a root: the one that
// was fetched with the root that the client has, or is about to get. Which of
// the two, a client does not say: who asks for the same one again has begun anew
// (zypper asks for the signature first), and so has everybody if first is set.
func (g *Generations) Companion(ctx context.Context, next exchange.Source, req *exchange.Request, root string, first bool) (*exchange.Response, error) {
	p, given := g.pin(req.Client, root, pinTime)
	var gen *Generation
	var err error
	if given && !first && !slices.Contains(p.with, req.Key.Path) {
		gen = g.recall(ctx, next, root, p.digest)
	}
	if gen == nil {
		gen, err = g.Current(ctx, next, root)
		p = pin{at: g.now(), early: !first}
	}
	if gen == nil {
		if err != nil {
			g.log.DebugContext(ctx, "no root for a companion", "hub", g.hub, "key", req.Key.Path, "err", err)
		}
		return next.Get(ctx, req)
	}
	p.digest, p.with = gen.Digest, append(slices.Clip(p.with), req.Key.Path)
	g.give(req.Client, root, p)
	return next.Get(ctx, companionOf(req, gen.Digest))
}

// Published is the generation that the client was given, or else what is
// published now: fresh, as far as upstream answers. It is nil without an error if
// what is published cannot be read; without a root the error is [fs.ErrNotExist],
// and [ErrLost] where that is older than one that a client was given, which is gone.
func (g *Generations) Published(ctx context.Context, next exchange.Source, client exchange.Client, root string) (*Generation, error) {
	if p, ok := g.pin(client, root, pinTime); ok {
		if gen := g.recall(ctx, next, root, p.digest); gen != nil {
			return gen, nil
		}
	}
	return g.Current(ctx, next, root)
}

// Current is Published for nobody in particular.
func (g *Generations) Current(ctx context.Context, next exchange.Source, root string) (*Generation, error) {
	return g.ask(ctx, next, g.format.Request(root))
}

// ask is the generation that req gets, or the newer one that a client was given.
func (g *Generations) ask(ctx context.Context, next exchange.Source, req *exchange.Request) (*Generation, error) {
	gen, err := g.fetch(ctx, next, req)
	if err == nil && gen != nil && g.format.Read != nil {
		if newer := g.newer(gen); newer != "" {
			if latest := g.recall(ctx, next, req.Key.Path, newer); latest != nil {
				return latest, nil
			}
			return nil, errLost()
		}
	}
	return gen, err
}

// fetch is the generation that req gets, however old.
func (g *Generations) fetch(ctx context.Context, next exchange.Source, req *exchange.Request) (*Generation, error) {
	resp, err := next.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch status := resp.Entry.Status; status {
	case http.StatusOK:
		return g.generation(resp), nil
	case http.StatusNotFound, http.StatusGone:
		return nil, fs.ErrNotExist
	default:
		return nil, &exchange.Error{Status: status}
	}
}

// Known is Published as far as memory goes; nil if it is not there.
func (g *Generations) Known(client exchange.Client, root string) *Generation {
	if p, ok := g.pin(client, root, pinTime); ok {
		return g.read(root, p.digest)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sets[root]; s != nil {
		return g.readLocked(root, s.current)
	}
	return nil
}

// Knows says whether a root has been seen.
func (g *Generations) Knows(root string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sets[root] != nil
}

// generation reads the root in resp, whose body stays as it is. Nil: it cannot
// be known by its digest, or not be read.
func (g *Generations) generation(resp *exchange.Response) *Generation {
	key, digest := resp.Entry.Key.Path, resp.Entry.Digest
	if digest == "" {
		return nil
	}
	if gen := g.read(key, digest); gen != nil {
		return gen
	}
	body, ok := resp.Body.(io.ReadSeeker)
	if !ok || resp.Entry.Size > maxRoot {
		return nil
	}
	root, err := g.parse(resp.Entry, io.LimitReader(body, maxRoot))
	if _, e := body.Seek(0, io.SeekStart); err == nil {
		err = e
	}
	if err != nil {
		g.log.Warn("root cannot be read", "hub", g.hub, "key", key, "mirror", resp.Entry.Mirror, "err", err)
		return nil
	}
	return g.keep(key, digest, root)
}

// parse reads a root; where the format has no word for it, its date is its order.
func (g *Generations) parse(e *exchange.Entry, content io.Reader) (*Root, error) {
	if g.format.Read != nil {
		return g.format.Read(e.Key.Path, content)
	}
	root := &Root{}
	if t, err := http.ParseTime(e.Header.Get("Last-Modified")); err == nil && !g.format.Unordered {
		root.Order = t.Unix()
	}
	return root, nil
}
