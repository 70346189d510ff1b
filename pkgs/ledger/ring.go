package ledger

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// The file is a page of header and a number of segments. Segments are written
// one after the other, each from its beginning, and are numbered for ever: the
// one numbered n, from 1, lies at place n-1 modulo their count, over the oldest
// one. A segment begins with a header of minRecord bytes, records follow. The
// check of a record includes the number of its segment, so what is left behind
// it from the segment before is not taken for its own.
//
// That is quick to write (facts of one index lie together, a second reading of
// it writes nothing) and needs no repair. The price is that all of it is read
// once at the start, some 0.2 s for a million facts.
const (
	page        = 4096
	segmentSize = 64 << 10
	magic       = "cache-proxy ledger 1\n"
	segmentMark = "ledger\r\n"
)

// A ring keeps records in a file. One goroutine at a time writes, readers never
// wait for it or for its I/O.
type ring struct {
	file *os.File
	log  *slog.Logger

	buffers sync.Pool // *[maxRecord]byte, for readers: what is read into escapes

	// write is held by who puts, before mu, and over I/O: readers do not take it.
	write   sync.Mutex
	scratch []byte // of a segment; guarded by write, like all that follows
	closed  bool
	failing bool // the last write failed
	paused  bool // the file is not written: another process has it

	mu       sync.RWMutex
	table    *table   // guarded by mu, like all that follows
	segments []uint64 // number of the segment at each place; 0: nothing is there
	head     uint64   // number of the segment that is being written
	pending  []byte   // what is not in the file yet, the end of head
	start    int64    // where pending begins in the file
}

func (r *ring) place(number uint64) int { return int((number - 1) % uint64(len(r.segments))) }

func (r *ring) offset(place int) int64 { return page + int64(place)*segmentSize }

// unit is what the table has of a record.
func (r *ring) unit(place, at int) uint32 { return uint32((r.offset(place) + int64(at)) / unit) }

// scan reads a segment and calls f for its good records.
func (r *ring) scan(number uint64, f func(rec *record, at int)) error {
	n, err := r.file.ReadAt(r.scratch, r.offset(r.place(number)))
	var rec record
	for at := minRecord; at < n; {
		if !rec.decode(r.scratch[at:n], number) {
			at += unit
			continue
		}
		f(&rec, at)
		at += rec.len()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// get is the record of h.
func (r *ring) get(h hash) (record, bool) {
	rec, _, ok := r.find(h)
	return rec, ok
}

// find is get, and the place. It reads the file without a lock: what is
// overwritten meanwhile fails its check, and is then as good as forgotten.
func (r *ring) find(h hash) (rec record, place uint32, ok bool) {
	type candidate struct {
		place   uint32
		segment uint64
	}
	var seen [8]candidate // of 10^6 keys, two in 4000 have a namesake
	n := 0
	r.mu.RLock()
	for at := -1; n < len(seen); {
		place, at, ok = r.table.next(h.tag(), at)
		if !ok {
			break
		}
		if off := int64(place)*unit - r.start; off >= 0 && off < int64(len(r.pending)) {
			if rec.decode(r.pending[off:], r.head) && rec.hash == h {
				r.mu.RUnlock()
				return rec, place, true
			}
			continue
		}
		segment := r.segments[(int64(place)*unit-page)/segmentSize]
		seen[n] = candidate{place, segment}
		n++
	}
	r.mu.RUnlock()
	if n == 0 {
		return record{}, 0, false
	}
	b := r.buffers.Get().(*[maxRecord]byte)
	defer r.buffers.Put(b)
	for _, c := range seen[:n] {
		got, _ := r.file.ReadAt(b[:], int64(c.place)*unit)
		if rec.decode(b[:got], c.segment) && rec.hash == h {
			return rec, c.place, true
		}
	}
	return record{}, 0, false
}

// old says whether the record at place is in the older half of the ring.
func (r *ring) old(place uint32) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	number := r.segments[(int64(place)*unit-page)/segmentSize]
	return (r.head-number)*2 >= uint64(len(r.segments))
}

// fresh says whether a mark stands, in the younger half of the ring: what it
// speaks of was put, or put again, before it, and is all there.
func (r *ring) fresh(h hash) bool {
	rec, place, ok := r.find(h)
	return ok && rec.kind == kindMark && !r.old(place)
}

// put adds a record, unless the one that is there is as good. It is written by
// and by: see flush. It reports whether there is something to write.
func (r *ring) put(rec record) bool {
	r.write.Lock()
	defer r.write.Unlock()
	if r.closed {
		return false
	}
	was, place, known := r.find(rec.hash)
	if known && rec.yields(&was) {
		if !r.old(place) {
			return false
		}
		rec = was // taught still, so it is moved to where it lives longer
	} else if known && rec.size == 0 && rec.kind == was.kind && rec.sum == was.sum {
		rec.size = was.size
	}
	r.room(rec.len())
	r.mu.Lock()
	defer r.mu.Unlock()
	if known {
		r.table.remove(rec.hash.tag(), place)
	}
	at := r.start + int64(len(r.pending))
	r.pending = rec.append(r.pending, r.head)
	r.table.insert(rec.hash.tag(), uint32(at/unit))
	return true
}

// warm looks at where the table has the records. One after the other each put
// would wait for memory; here the processor has many in flight.
func (r *ring) warm(records []record) (seen int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range records {
		if r.table.slots[r.table.home(records[i].hash.tag())] != 0 {
			seen++
		}
	}
	return seen
}

// room begins the next segment if the current one has not n bytes left.
func (r *ring) room(n int) {
	if r.head > 0 {
		end := r.offset(r.place(r.head)) + segmentSize
		if r.start+int64(len(r.pending)+n) <= end {
			return
		}
		r.flushLocked()
	}
	number := r.head + 1
	place := r.place(number)
	r.forget(place)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head, r.segments[place] = number, number
	r.start = r.offset(place)
	r.pending = append(r.pending[:0], segmentHeader(number)...)
}

// forget takes the records of a segment out of the table.
func (r *ring) forget(place int) {
	number := r.segments[place]
	if number == 0 {
		return
	}
	type gone struct{ tag, unit uint32 }
	list := make([]gone, 0, segmentSize/minRecord)
	err := r.scan(number, func(rec *record, at int) {
		list = append(list, gone{rec.hash.tag(), r.unit(place, at)})
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range list {
		r.table.remove(g.tag, g.unit)
	}
	if err != nil {
		r.table.sweep(r.unit(place, 0), r.unit(place+1, 0))
	}
}

// flush writes what was put. Put only fills memory, up to a segment.
func (r *ring) flush() {
	r.write.Lock()
	defer r.write.Unlock()
	if !r.closed && !r.paused {
		r.flushLocked()
	}
}

// pause ends writing behind what is pending, or goes on with it. What is put
// meanwhile is known until its segment is full.
func (r *ring) pause(paused bool) {
	r.write.Lock()
	defer r.write.Unlock()
	if !r.closed && !r.paused {
		r.flushLocked()
	}
	r.paused = paused
}

// flushLocked is flush for who holds write. What cannot be written is lost.
func (r *ring) flushLocked() {
	if len(r.pending) == 0 {
		return
	}
	var err error
	if !r.paused {
		_, err = r.file.WriteAt(r.pending, r.start)
	}
	if err != nil && !r.failing {
		r.log.Warn("ledger is not written", "err", err)
	}
	r.failing = err != nil
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start += int64(len(r.pending))
	r.pending = r.pending[:0]
}

func (r *ring) close() error {
	r.write.Lock()
	defer r.write.Unlock()
	if r.closed {
		return nil
	}
	r.flushLocked()
	r.closed = true
	if err := r.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}
