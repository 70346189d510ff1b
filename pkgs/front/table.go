package front

import (
	"hash/maphash"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	ways     = 4
	sets     = 4096
	doors    = 1 << 15
	maxReady = 64 << 10  // bytes of content that is kept in memory
	fixed    = 3 << 10   // what an answer costs beside its content
	filed    = 512 << 10 // what counts for content that is sent from its file: few have a descriptor
)

// TableOptions are what a table needs. Epochs and Memory are required.
type TableOptions struct {
	Epochs *Epochs // of the store that answers come from
	Memory int64   // bytes of answers that are kept

	// WriteTimeout and MinRate have the meaning that they have in the edge: how long a
	// client may take nothing, and how many bytes a second it must take (1 KiB). No
	// WriteTimeout is no limit at all.
	WriteTimeout time.Duration
	MinRate      int64

	Now func() time.Time // for Age and freshness; nil: time.Now
}

// A Table has the ready answers of one configuration: hits that may be given again
// without net/http, the hub or the store being asked. Looking up takes no lock and
// writes nothing that others read. It is safe for concurrent use.
//
// An answer gets in at the second hit of its target within a while, so that a scan
// over many does not push out those that are used; and the least recently used
// ones go first.
//
// A table belongs to a configuration: what a request under an older one publishes
// ends in the older table.
type Table struct {
	options TableOptions
	seed    maphash.Seed
	sets    [sets][ways]atomic.Pointer[Ready]
	doors   [doors]atomic.Uint32 // hashes of targets that were hit once

	mu    sync.Mutex // of who publishes
	bytes int64      // guarded by mu
	hand  int        // guarded by mu
}

// NewTable is an empty table.
func NewTable(o TableOptions) *Table {
	if o.MinRate <= 0 {
		o.MinRate = 1 << 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Table{options: o, seed: maphash.MakeSeed()}
}

// Begin is the epoch of key, taken before that is looked up for what may be
// published.
func (t *Table) Begin(key exchange.Key) (epoch uint64) {
	return t.options.Epochs.cell(key).Load()
}

// lookup finds an answer to a GET or HEAD of target, which has that hash; nil if there
// is none.
func lookup[T string | []byte](t *Table, hash uint64, target, host, accept T) *Ready {
	set := &t.sets[hash%sets]
	for i := range set {
		if r := set[i].Load(); r != nil && r.hash == hash && r.Target == string(target) && r.host == string(host) && r.accept == string(accept) {
			return r
		}
	}
	return nil
}

// Publish offers a hit that was looked up behind Begin, which said epoch. It is taken if
// another request that says the same would be answered the same, but for the
// times: the whole of a stored file, of an entry that is the request's own.
func (t *Table) Publish(epoch uint64, h Hit) {
	if h.Request.Method != http.MethodGet || !simple(h.Request) {
		return
	}
	token := token{t.options.Epochs.cell(h.Exchange.Key), epoch}
	if !token.holds() {
		return
	}
	resp, req := h.Response, h.Exchange
	e := resp.Entry
	file, ok := resp.Body.(stored)
	header := h.Header
	if field := h.Request.Header["Range"]; len(field) > 0 {
		header = whole(header, field[0], e.Size)
	}
	if !ok || header == nil || !resp.Outcome.Hit || resp.Outcome.Stale || e.Status != http.StatusOK || e.Key != req.Key || e.Size < 0 || e.Size > maxReady && !canSend || resp.Unproven || resp.NoStore {
		return
	}
	target, host, accept := h.Request.RequestURI, h.Request.Host, first(h.Request.Header["Accept"])
	hash := maphash.String(t.seed, target)
	if door := &t.doors[hash>>32%doors]; door.Load() != uint32(hash) {
		door.Store(uint32(hash))
		return
	}
	now := t.options.Now()
	old := lookup(t, hash, target, host, accept)
	if old != nil && old.token == token && !now.After(old.soft) {
		return // it says the same
	}
	r := &Ready{
		Target: target, host: host, accept: accept, hash: hash, token: token,
		Entry: e, policy: req.Policy, outcome: resp.Outcome,
	}
	info, err := file.Stat()
	if err != nil || info.Size() != e.Size {
		return
	}
	r.identity = identity{info, e.Size}
	if !r.render(header) || !r.fill(file, old) {
		return
	}
	if h.Sent != nil {
		r.sent = h.Sent()
	}
	r.soft, r.hard = now.Add(lifetime), now.Add(2*lifetime)
	t.put(r)
	if r.file != nil {
		// A descriptor keeps the space of a file that is deleted: not for longer than
		// the answer is good.
		time.AfterFunc(2*lifetime, func() { t.remove(r) })
	}
}

// fill takes the content from old, the answer that r replaces, if that is of the
// same file; else from file.
func (r *Ready) fill(file stored, old *Ready) bool {
	size := r.Entry.Size
	if old != nil && !old.identity.same(r.identity) {
		old = nil
	}
	var err error
	switch {
	case size > maxReady && old != nil && old.file.hold():
		r.file, r.cost = old.file, filed
	case size > maxReady:
		r.file, err = share(file)
		r.cost = filed
	case old != nil:
		r.body, r.cost = old.body, fixed+size
	default:
		r.body, err = read(file, size)
		r.cost = fixed + size
	}
	return err == nil
}

func read(file io.ReaderAt, size int64) ([]byte, error) {
	b := make([]byte, size)
	n, err := file.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b, err
}

// put takes the place of an answer to the same request, of none, or of one that
// was not used of late.
func (t *Table) put(r *Ready) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set := &t.sets[r.hash%sets]
	at, rank := 0, 0
	for i := range set {
		old := set[i].Load()
		is := 1
		switch {
		case old == nil:
			is = 3
		case old.hash == r.hash && old.Target == r.Target && old.host == r.host && old.accept == r.accept:
			is = 4
		case !old.used.Swap(false):
			is = 2
		}
		if is > rank {
			at, rank = i, is
		}
	}
	t.replace(&set[at], r)
	for round := 0; t.bytes > t.options.Memory && round < 2*sets; round++ {
		t.hand = (t.hand + 1) % sets
		for i := range t.sets[t.hand] {
			slot := &t.sets[t.hand][i]
			if old := slot.Load(); old != nil && old != r && !old.used.Swap(false) {
				t.replace(slot, nil)
			}
		}
	}
}

// remove takes r out, if it is still in.
func (t *Table) remove(r *Ready) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.sets[r.hash%sets] {
		if slot := &t.sets[r.hash%sets][i]; slot.Load() == r {
			t.replace(slot, nil)
		}
	}
}

func (t *Table) replace(slot *atomic.Pointer[Ready], r *Ready) {
	if old := slot.Load(); old != nil {
		t.bytes -= old.cost
		if old.file != nil {
			defer old.file.drop() // answers under way hold it themselves
		}
	}
	if r != nil {
		t.bytes += r.cost
	}
	slot.Store(r)
}
