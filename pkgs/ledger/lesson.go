package ledger

import (
	"time"
	"unsafe"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Bounds of lessons.
const (
	patience    = time.Second // that a reader has to come to the end
	lessonFacts = 256         // that are handed on at once
	maxWaiting  = 32 << 20    // bytes of facts that wait for the end of their index, of all lessons
)

// A Lesson is an index that teaches while somebody reads it for another reason,
// so that it is read once. Its methods are for one goroutine. A nil one is
// taught nothing.
type Lesson struct {
	batch   []taught
	batches chan []taught // to the run; nil is the end of an index that was read whole
	over    chan struct{} // closed when the run does not listen any more
	failed  chan struct{} // closed when the reader did not come to the end
}

type taught struct {
	path string
	fact exchange.Fact
}

// Lesson is [Ledger.Learn] for who is about to read the index anyway: the facts
// are given to the Lesson, which is to be ended. It is nil if there is nothing to
// learn, or somebody else reads it. A reader that fails, or that is not at the
// end within a second since its client or the origin is slow, is not waited for:
// the index is learned behind it, by parse.
func (l *Ledger) Lesson(next exchange.Source, req *exchange.Request, entry *exchange.Entry, prefix string, parse Parse) *Lesson {
	if req.Digest != "" && entry.Digest == "" {
		l.Learn(next, req, entry, prefix, parse) // what may be found wrong yet is not taught
		return nil
	}
	s := &Lesson{
		batches: make(chan []taught, 4),
		over:    make(chan struct{}),
		failed:  make(chan struct{}),
	}
	if !l.learn(next, req, entry, prefix, parse, s) {
		return nil
	}
	return s
}

// Teach remembers f of path, as the function does that [Ledger.Learn] hands to
// parse. It waits while the ledger is far behind.
func (s *Lesson) Teach(path string, f exchange.Fact) {
	if s == nil {
		return
	}
	if s.batch == nil {
		s.batch = make([]taught, 0, lessonFacts)
	}
	if s.batch = append(s.batch, taught{path, f}); len(s.batch) == lessonFacts {
		s.send()
	}
}

func (s *Lesson) send() {
	select {
	case s.batches <- s.batch:
		s.batch = nil
	case <-s.over:
		s.batch = s.batch[:0]
	}
}

// End says that the index was read, to the end of its content if err is nil.
// Nothing is taught after it.
func (s *Lesson) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		close(s.failed)
		return
	}
	if len(s.batch) > 0 {
		s.send()
	}
	select {
	case s.batches <- nil:
	case <-s.over:
	}
}

// attend takes what a lesson of hub teaches. It is false if the index is still
// to be read. The facts are written when the reader is at the end, not in
// competition with it, as far as there is room for them.
func (l *Ledger) attend(s *Lesson, hub string) bool {
	defer close(s.over)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var waiting [][]taught
	var held int64 // bytes of waiting
	defer func() {
		l.waiting.Add(-held)
		l.ring.flush()
	}()
	for n := 0; ; {
		select {
		case batch := <-s.batches:
			if batch == nil {
				for _, batch := range waiting {
					l.teachAll(hub, batch)
				}
				return l.ctx.Err() == nil
			}
			size := sizeOf(batch)
			switch n += len(batch); {
			case n > maxTeach:
			case l.waiting.Add(size) <= maxWaiting:
				waiting, held = append(waiting, batch), held+size
			default:
				l.waiting.Add(-size)
				l.teachAll(hub, batch)
			}
		case <-s.failed:
			return false
		case <-timeout.C:
			return false
		case <-l.ctx.Done():
			return false
		}
	}
}

// sizeOf is what a batch takes of memory.
func sizeOf(batch []taught) (size int64) {
	for i := range batch {
		size += int64(unsafe.Sizeof(batch[i])) + int64(len(batch[i].path)+len(batch[i].fact.Digest))
	}
	return size
}

// teachAll teaches a batch.
func (l *Ledger) teachAll(hub string, batch []taught) {
	var records [lessonFacts]record
	n := 0
	for _, t := range batch {
		if len(t.path) <= maxPath {
			var ok bool
			if records[n], ok = newRecord(hashKey(exchange.Key{Hub: hub, Path: t.path}), t.fact); ok {
				n++
			}
		}
	}
	l.ring.warm(records[:n])
	for _, r := range records[:n] {
		l.ring.put(r)
	}
}
