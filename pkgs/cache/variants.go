package cache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// A selection says by which request fields the responses under one primary key
// were selected (§4.1). Immutable; nil is none.
type selection struct {
	// salt goes into the variants' keys: with another one they are not found any more,
	// which is how all of a URI's variants are invalidated at once.
	salt string

	by []string // sorted names of fields, joined by commas; the latest first, at most maxBy
}

const (
	maxBy         = 8
	maxSelections = 20_000
	maxPath       = 512     // of a key that is remembered, in bytes; for longer ones the marker is read
	markerVariant = "~vary" // the marker's variant: no hash is spelled so
)

// A catalogue remembers selections, for as many keys as are in use, and leaves a
// marker in the store for each that is not empty.
type catalogue struct {
	store store.Store

	writing sync.Mutex // held over the store, so that markers do not overtake each other; they are seldom written

	mu sync.Mutex // after writing
	m  map[exchange.Key]*selection
}

func newCatalogue(s store.Store) *catalogue {
	return &catalogue{store: s, m: map[exchange.Key]*selection{}}
}

// get is the selection of a primary key.
func (c *catalogue) get(ctx context.Context, key exchange.Key) *selection {
	c.mu.Lock()
	sel, ok := c.m[key]
	c.mu.Unlock()
	if ok {
		return sel
	}
	marker := key
	marker.Variant = markerVariant
	if e, body, err := c.store.Open(ctx, marker); err == nil {
		body.Close()
		if salt := e.Header.Get("Salt"); salt != "" {
			sel = &selection{salt, e.Header["Vary"]}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, ok := c.m[key]; ok { // another one was quicker, and may know more
		return now
	}
	c.put(key, sel)
	return sel
}

// put remembers sel. Callers hold mu.
func (c *catalogue) put(key exchange.Key, sel *selection) {
	if len(key.Path) > maxPath {
		return
	}
	if _, ok := c.m[key]; !ok && len(c.m) >= maxSelections {
		for victim := range c.m { // any: what is in use comes back from its marker
			delete(c.m, victim)
			break
		}
	}
	c.m[key] = sel
}

// add notes that a response was selected by these fields, and returns the
// selection that says so. A marker that cannot be written costs a miss after the
// next start.
func (c *catalogue) add(ctx context.Context, key exchange.Key, names []string) *selection {
	by := strings.Join(names, ",")
	sel := c.get(ctx, key)
	if by == "" || sel != nil && slices.Contains(sel.by, by) {
		return sel
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	old := sel
	if now, ok := c.m[key]; ok {
		old = now
	}
	sel = &selection{salt: rand.Text(), by: []string{by}}
	if old != nil {
		sel.salt = old.salt
		sel.by = append(sel.by, slices.DeleteFunc(slices.Clone(old.by), func(s string) bool { return s == by })...)
		sel.by = sel.by[:min(len(sel.by), maxBy)]
	}
	c.put(key, sel)
	c.mu.Unlock()
	c.mark(ctx, key, sel)
	return sel
}

// mark writes the marker. Callers hold writing.
func (c *catalogue) mark(ctx context.Context, key exchange.Key, sel *selection) {
	draft, err := c.store.Draft(ctx, 0)
	if err != nil {
		return
	}
	defer draft.Close()
	key.Variant = markerVariant
	now := time.Now()
	_ = draft.Commit(ctx, &exchange.Entry{
		Key: key, Status: http.StatusOK, Header: http.Header{"Salt": {sel.salt}, "Vary": sel.by},
		Received: now, Stored: now,
	})
}

// forget drops the selection: no variant that is stored will be found again.
func (c *catalogue) forget(ctx context.Context, key exchange.Key) {
	if c.get(ctx, key) == nil {
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	c.put(key, nil)
	c.mu.Unlock()
	key.Variant = markerVariant
	_ = c.store.Delete(ctx, key)
}

// variant is the secondary key of what these fields of a request select; "" for no fields.
func (s *selection) variant(by string, request http.Header) string {
	if by == "" {
		return ""
	}
	h := sha256.New()
	h.Write([]byte(s.salt))
	for name := range strings.SplitSeq(by, ",") {
		value, present := freshness.Selected(request, name)
		mark := byte('-')
		if present {
			mark = '+'
		}
		h.Write([]byte("\x00" + name + "\x00" + string(mark) + value))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// place is the key under which a response selected by these fields is stored.
func (s *selection) place(key exchange.Key, names []string, request http.Header) exchange.Key {
	if len(names) > 0 {
		key.Variant = s.variant(strings.Join(names, ","), request)
	}
	return key
}

// flightKey is the key of transfers that this request may share: as far as it is
// known what selects, it says the same in all of that.
func (s *selection) flightKey(req *exchange.Request) exchange.Key {
	key := req.Key
	if s != nil {
		var all []string
		for _, by := range s.by {
			all = append(all, strings.Split(by, ",")...)
		}
		slices.Sort(all)
		key.Variant = s.variant(strings.Join(slices.Compact(all), ","), req.Header)
	}
	return key
}

// find is the newest stored response that the request may mean, with its content;
// nil if there is none, and why.
func (c *Cache) find(ctx context.Context, req *exchange.Request, sel *selection) (*held, exchange.Fwd) {
	why := exchange.FwdURIMiss
	bys := []string{""}
	if sel != nil {
		bys = append(bys, sel.by...)
		why = exchange.FwdVary
	}
	var best *held
	since, _, _ := c.outdated.get(req.Key, c.now())
	for _, by := range bys {
		key := req.Key
		if by != "" {
			key.Variant = sel.variant(by, req.Header)
		}
		e, body, err := c.store.Open(ctx, key)
		if err != nil {
			continue
		}
		if e.Requested.IsZero() || !e.Requested.After(since) || best != nil && !newer(e, best.entry) {
			body.Close() // RFC 9111 §4.4: it was invalidated; or an older one
			continue
		}
		if best != nil {
			best.body.Close()
		}
		best = &held{entry: e, body: body}
	}
	if best == nil {
		return nil, why
	}
	best.use = judged(best.entry).Reuse(req.Header, c.now(), req.Policy.StaleIfError)
	return best, ""
}

// newer says whether a is the later response (§4.1).
func newer(a, b *exchange.Entry) bool {
	x, y := judged(a).Date(), judged(b).Date()
	if x.Equal(y) {
		return a.Received.After(b.Received)
	}
	return x.After(y)
}
