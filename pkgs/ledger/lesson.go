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
	lessonText  = 32 << 10    // bytes of their paths and digests, about
	maxWaiting  = 32 << 20    // bytes of facts that wait for the end of their index, of all lessons
)

// A Lesson is an index that teaches while somebody reads it for another reason,
// so that it is read once. Its methods are for one goroutine. A nil one is
// taught nothing.
type Lesson struct {
	batch   *batch        // being filled; nil: none
	batches chan *batch   // to the run; nil is the end of an index that was read whole
	over    chan struct{} // closed when the run does not listen any more
	failed  chan struct{} // closed when the reader did not come to the end
}

// A batch is facts on their way to the ledger. They are handed on as they are
// spelled: what it costs to read them is not on the way of the index.
type batch struct {
	text  []byte // path and digest of each, one behind the other
	facts []taught
}

type taught struct {
	path, digest int // where they end in text
	size         int64
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
		batches: make(chan *batch, 4),
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
	if b := s.next(); b != nil {
		b.text = append(b.text, path...)
		at := len(b.text)
		b.text = append(b.text, f.Digest...)
		s.add(taught{at, len(b.text), f.Size})
	}
}

// TeachBytes is Teach of the path that suffix is behind path, and of the digest
// that an algorithm and its sum in hexadecimal spell; none without an algorithm.
// It keeps neither, and checks neither: what is no digest teaches nothing.
func (s *Lesson) TeachBytes(path []byte, suffix string, size int64, algorithm string, sum []byte) {
	if b := s.next(); b != nil {
		b.text = append(append(b.text, path...), suffix...)
		at := len(b.text)
		if algorithm != "" {
			b.text = append(append(append(b.text, algorithm...), ':'), sum...)
		}
		s.add(taught{at, len(b.text), size})
	}
}

// next is the batch for the next fact; nil if nobody is taught.
func (s *Lesson) next() *batch {
	if s == nil {
		return nil
	}
	if s.batch == nil {
		s.batch = &batch{make([]byte, 0, lessonText), make([]taught, 0, lessonFacts)}
	}
	return s.batch
}

func (s *Lesson) add(t taught) {
	s.batch.facts = append(s.batch.facts, t)
	if len(s.batch.facts) == lessonFacts {
		s.send()
	}
}

func (s *Lesson) send() {
	select {
	case s.batches <- s.batch:
		s.batch = nil
	case <-s.over:
		s.batch.text, s.batch.facts = s.batch.text[:0], s.batch.facts[:0]
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
	if s.batch != nil && len(s.batch.facts) > 0 {
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
	var waiting []*batch
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
			size := batch.size()
			switch n += len(batch.facts); {
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

// size is what a batch takes of memory.
func (b *batch) size() int64 {
	return int64(cap(b.text)) + int64(cap(b.facts))*int64(unsafe.Sizeof(taught{}))
}

// teachAll teaches a batch.
func (l *Ledger) teachAll(hub string, b *batch) {
	var records [lessonFacts]record
	text := string(b.text)
	n, from := 0, 0
	for _, t := range b.facts {
		path, digest := text[from:t.path], text[t.path:t.digest]
		if from = t.digest; len(path) <= maxPath {
			f := exchange.Fact{Size: t.size, Digest: exchange.Digest(digest)}
			var ok bool
			if records[n], ok = newRecord(hashKey(exchange.Key{Hub: hub, Path: path}), f); ok {
				n++
			}
		}
	}
	l.ring.warm(records[:n])
	for _, r := range records[:n] {
		l.ring.put(r)
	}
}
