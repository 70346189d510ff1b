package cache

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
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

// remains are what an earlier flight has left of its content.
type remains struct {
	draft store.Keeper
	part  *exchange.Part
	note  note
}

// A note is what goes with a part into the store, and comes back.
type note struct {
	Promise exchange.Digest   `json:"promise,omitempty"` // of the whole
	Hashed  int64             `json:"hashed"`            // bytes from the beginning
	Hashes  map[string][]byte `json:"hashes,omitempty"`  // their states after those, by algorithm
	Shares  []exchange.Share  `json:"shares,omitempty"`  // who has brought it
}

// remains looks for what is left of the content that ask is for; nil if there is
// nothing that may be gone on with.
func (c *Cache) remains(ctx context.Context, ask *exchange.Request) *remains {
	resumer, ok := c.store.(store.Resumer)
	if !ok {
		return nil
	}
	draft, part, text, err := resumer.Resume(ctx, ask.Key)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Info("transfer begins anew", "hub", ask.Key.Hub, "key", ask.Key.Path, "err", err)
		}
		return nil
	}
	r := &remains{draft: draft, part: part}
	if json.Unmarshal(text, &r.note) != nil {
		r.note = note{}
	}
	if ask.Size > 0 && ask.Size != part.Entry.Size || contradicts(ask.Digest, r.note.Promise) || len(ask.Doubt) > 0 {
		r.drop() // it is of other content, or said to be
		c.counts.dropped.Add(1)
		return nil
	}
	return r
}

// contradicts reports whether two digests cannot be of the same content.
func contradicts(a, b exchange.Digest) bool {
	return a != "" && b != "" && a != b && a.Algorithm() == b.Algorithm()
}

// drop ends what is left.
func (r *remains) drop() {
	r.draft.Keep(nil, nil)
	r.draft.Close()
}

// begun is how much of the content is there without a gap.
func (r *remains) begun() int64 {
	if r.part.Have[0].From > 0 {
		return 0
	}
	return r.part.Have[0].To
}

// extents are what is there.
func (r *remains) extents() extents {
	x := make(extents, len(r.part.Have))
	for i, s := range r.part.Have {
		x[i] = extent{s.From, s.To}
	}
	return x
}

// weigh decides by an answer what becomes of what an earlier flight has left:
// upstream goes on with it, or could not say, or has other content by now.
func (f *flight) weigh(resp *exchange.Response) {
	if f.had == nil {
		return
	}
	switch status := resp.Entry.Status; {
	case resp.Resumed && resp.Ranges != nil:
	case status == http.StatusNotModified,
		status >= http.StatusBadRequest && status != http.StatusNotFound && status != http.StatusGone:
		f.putBack()
	default:
		f.had.drop()
		f.had = nil
		f.cache.counts.dropped.Add(1)
	}
}

// putBack leaves what an earlier flight has left to the next one.
func (f *flight) putBack() {
	if f.had != nil {
		f.had.draft.Close()
		f.had = nil
	}
}

// resume makes what an earlier flight has left the beginning of this one.
func (f *flight) resume(had *remains) {
	have := had.extents()
	f.draft = had.draft
	f.cache.counts.resumed.Add(1)
	f.cache.counts.resumedBytes.Add(have.sum())
	f.cache.log.Debug("transfer goes on", "hub", f.key.Hub, "key", f.key.Path, "mirror", f.mirror(), "had", have.sum(), "size", f.entry.Size)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frontier = max(had.begun()-f.hold, 0)
	if f.scattered(had) {
		f.arrived = have
	}
}

// scattered says that what is there has more than one end to go on from, or is
// to be gone on with by several mirrors.
func (f *flight) scattered(had *remains) bool {
	return had != nil && (len(had.part.Have) > 1 || had.begun() == 0 || f.ranges.Striped())
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
	k.flight.mu.Lock()
	have := slices.Clone(k.flight.arrived)
	k.flight.mu.Unlock()
	if got := have.sum(); k.due(got) {
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
// and gives it back to the store, for the next flight. Wrong content is dropped.
func (k *keeper) end(hashed int64, err error) {
	if k == nil {
		return
	}
	if errors.Is(err, errWrong) {
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

// states are the hashes as they are after n bytes; none if they cannot be had.
func (p *proof) states(n int64) (hashed int64, states map[string][]byte) {
	states = map[string][]byte{}
	for algorithm, h := range p.hashes() {
		m, ok := h.(encoding.BinaryMarshaler)
		if !ok {
			return 0, nil
		}
		b, err := m.MarshalBinary()
		if err != nil {
			return 0, nil
		}
		states[algorithm] = b
	}
	return n, states
}

// restore puts the hashes back to the states of a note, and returns how many
// bytes they cover: 0 if one of them is not in it. have is what there is.
func (p *proof) restore(n note, have int64) int64 {
	if n.Hashed <= 0 || n.Hashed > have {
		return 0
	}
	hashes := p.hashes()
	for algorithm, h := range hashes {
		m, ok := h.(encoding.BinaryUnmarshaler)
		if !ok || m.UnmarshalBinary(n.Hashes[algorithm]) != nil {
			for _, h := range hashes {
				h.Reset()
			}
			return 0
		}
	}
	return n.Hashed
}

func (p *proof) hashes() map[string]hash.Hash {
	all := map[string]hash.Hash{"sha256": p.content}
	if p.wanted != nil && p.wanted != p.content {
		all[p.promise.Algorithm()] = p.wanted
	}
	return all
}

// rehash hashes what the draft has from one offset to another.
func (f *flight) rehash(ctx context.Context, p *proof, from, to int64) error {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for from < to {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := (*buf)[:min(int64(len(*buf)), to-from)]
		if n, err := f.draft.ReadAt(b, from); n < len(b) {
			return fmt.Errorf("read %v back: %w", f.key, err)
		}
		p.Write(b)
		from += int64(len(b))
	}
	return nil
}
