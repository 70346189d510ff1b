package cache

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// What a transfer has brought is noted this often at most, so that a kill does
// not cost all of it: each time the store syncs that much.
const (
	keepTime  = time.Second
	keepBytes = 4 << 20
	keepLeast = 1 << 20 // less is not worth a request for the rest
)

// A note is what goes with a part into the store, and comes back.
type note struct {
	Promise exchange.Digest   `json:"promise,omitempty"` // of the whole
	Hashed  int64             `json:"hashed"`            // bytes from the beginning
	Hashes  map[string][]byte `json:"hashes,omitempty"`  // their states after those, by algorithm
	Shares  []exchange.Share  `json:"shares,omitempty"`  // who has brought it
}

// A keeper notes how far a flight's transfer has come. It is used by one
// goroutine at a time. A nil keeper notes nothing.
type keeper struct {
	flight *flight
	draft  store.Keeper
	proof  *proof
	credit credit
	note   note
	at     time.Time // of the last note, or of the beginning
	got    int64     // bytes that were there then
}

// newKeeper is the keeper of a flight whose draft holds had bytes; nil if nothing
// that it leaves could be gone on with.
func (f *flight) newKeeper(ask *exchange.Request, resp *exchange.Response, p *proof, had *remains) *keeper {
	draft, ok := f.draft.(store.Keeper)
	if !ok || resp.Ranges == nil || resp.Unproven || f.entry.Size < 2*keepLeast || f.entry.Status != http.StatusOK {
		return nil
	}
	k := &keeper{flight: f, draft: draft, proof: p, credit: newCredit(resp, had), at: time.Now(), note: note{Promise: ask.Digest}}
	if had != nil {
		k.got = had.extents().sum()
	}
	return k
}

// advance notes, if it is time to, that content before off has come in order,
// hashed as far.
func (k *keeper) advance(off int64) {
	if k != nil && k.due(off) {
		k.keep(extents{{0, off}}, off, off)
	}
}

// scattered notes, if it is time to, which parts have come, hashed as far.
func (k *keeper) scattered(hashed int64) {
	if k == nil {
		return
	}
	var have extents
	k.flight.mu.Lock()
	got := k.flight.arrived.sum()
	due := k.due(got)
	if due {
		have = slices.Clone(k.flight.arrived)
	}
	k.flight.mu.Unlock()
	if due {
		k.keep(have, got, hashed)
	}
}

func (k *keeper) due(got int64) bool {
	return got-k.got >= keepBytes && time.Since(k.at) >= keepTime
}

// keep notes what is there. A little of the end is left out, so that there is
// something to ask for.
func (k *keeper) keep(have extents, got, hashed int64) {
	k.got, k.at = got, time.Now()
	part := &exchange.Part{Entry: k.entry()}
	for _, x := range have {
		if to := min(x.to, k.flight.entry.Size-smallChunk); to > x.from {
			part.Have = append(part.Have, exchange.Span{From: x.from, To: to})
		}
	}
	if got < keepLeast || len(part.Have) == 0 {
		return
	}
	k.note.Shares = k.credit.shares()
	k.note.Hashed, k.note.Hashes = k.proof.states(hashed)
	text, err := json.Marshal(k.note)
	if err != nil {
		return // what is there is worth less than an error
	}
	k.draft.Keep(part, text)
}

func (k *keeper) entry() *exchange.Entry {
	e := *k.flight.entry
	e.Key = k.flight.key
	return &e
}

// end notes all that has come of a transfer that has ended early, hashed so far,
// and gives it back to the store, for the next flight. What is wrong or cannot be read is dropped.
func (k *keeper) end(hashed int64, err error) {
	if k == nil {
		return
	}
	if errors.Is(err, errWrong) || errors.Is(err, errUnreadable) {
		k.draft.Keep(nil, nil)
		return
	}
	if !k.flight.storing() {
		return
	}
	k.flight.mu.Lock()
	have := slices.Clone(k.flight.arrived)
	k.flight.mu.Unlock()
	if have == nil {
		have = extents{{0, hashed}}
	}
	if got := have.sum(); got >= keepLeast {
		k.keep(have, got, hashed)
		k.flight.cache.counts.kept.Add(1)
		k.draft.Close()
	}
}

// A credit tells who has brought the content of a flight.
type credit struct {
	before []exchange.Share // of what was there
	mirror string
	blend  exchange.Blend // of what comes; nil: all is the mirror's
}

func newCredit(resp *exchange.Response, had *remains) credit {
	c := credit{mirror: resp.Entry.Mirror}
	if had != nil {
		c.before = had.note.Shares
	}
	var ok bool
	if c.blend, ok = resp.Body.(exchange.Blend); !ok {
		c.blend, _ = resp.Ranges.(exchange.Blend)
	}
	return c
}

// shares are sorted by mirror. Where nobody keeps account, bytes are 0.
func (c *credit) shares() []exchange.Share {
	sums := map[string]int64{}
	for _, s := range c.before {
		sums[s.Mirror] += s.Bytes
	}
	if c.blend != nil {
		for _, s := range c.blend.Shares() {
			sums[s.Mirror] += s.Bytes
		}
	} else {
		sums[c.mirror] += 0
	}
	shares := make([]exchange.Share, 0, len(sums))
	for _, m := range slices.Sorted(maps.Keys(sums)) {
		shares = append(shares, exchange.Share{Mirror: m, Bytes: sums[m]})
	}
	return shares
}

// sum is how many bytes have arrived.
func (x extents) sum() (n int64) {
	for _, e := range x {
		n += e.to - e.from
	}
	return n
}
