package front

import (
	"errors"
	"hash/maphash"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// copied is up to where a body is copied behind its head, to leave in one write.
const copied = 4 << 10

// A draft is where an answer is made.
type draft struct {
	head   []byte
	answer Answer
}

var drafts = sync.Pool{New: func() any { return &draft{head: make([]byte, 0, 4<<10)} }}

// A stamp is the Date of one second.
type stamp struct {
	second int64
	text   []byte
}

func (f *Front) stamp(now time.Time) []byte {
	second := now.Unix()
	s := f.date.Load()
	if s == nil || s.second != second {
		s = &stamp{second, now.UTC().AppendFormat(nil, http.TimeFormat)}
		f.date.Store(s)
	}
	return s.text
}

// What a conn does with an answer of the front's own, as Close sees it.
const (
	quiet int32 = iota
	answering
	closing // asked for meanwhile: done behind the answer
)

// answer answers the request whose head b begins with, if there is a ready answer
// to it, and reports whether it did. net/http is between two requests. An error is
// the connection's end.
func (c *conn) answer(b []byte) (bool, error) {
	h, f := &c.head, c.front
	t := f.options.Ready.Load()
	if t == nil || !h.get || !h.plain || h.minor != '1' || c.local || c.ended.Load() {
		return false, nil
	}
	target := h.target.of(b)
	r := lookup(t, maphash.Bytes(t.seed, target), target, h.host.of(b), h.accept.of(b))
	if r == nil || !r.token.holds() || r.file != nil && !c.files {
		return false, nil
	}
	wall, now := time.Now(), t.options.Now()
	if r.due(now) {
		return false, nil
	}
	d := drafts.Get().(*draft)
	defer drafts.Put(d)
	a := &d.answer
	*a = Answer{Ready: r, Head: h.isHEAD, Status: http.StatusOK, Started: wall, part: stretch{0, r.Entry.Size}}
	if h.ranged.to > 0 && !a.narrow(h.ranged.of(b)) {
		return false, nil
	}
	if !r.judge(now, a) {
		return false, nil
	}
	head := r.appendHead(d.head[:0], now, f.stamp(wall), a)
	d.head = head
	if !r.used.Load() {
		r.used.Store(true)
	}
	if r.file != nil {
		if !r.file.hold() {
			return false, nil // it was taken out
		}
		defer r.file.drop()
	}
	if !c.work.CompareAndSwap(quiet, answering) {
		return true, net.ErrClosed
	}
	f.working.add(c, 1)
	var body []byte
	if r.file == nil && !h.isHEAD {
		body = r.body[a.part.from:][:a.part.n]
	}
	if len(body) <= copied {
		head = append(head, body...)
		d.head, body = head, nil
	}
	var err error
	if c.extend(t.options.WriteTimeout, wall); r.file != nil && !h.isHEAD {
		err = c.sendFile(&t.options, head, r.file, a.part)
	} else {
		err = c.send(&t.options, head, body)
	}
	if !c.work.CompareAndSwap(answering, quiet) {
		err = errors.Join(net.ErrClosed, c.Conn.Close())
	}
	f.working.add(c, -1)
	f.answered.add(c, 1)
	if r.sent != nil {
		if a.Complete = err == nil; !h.isHEAD && a.Complete {
			a.Bytes = a.part.n
		}
		if c.client == "" {
			c.client = remote(c.Conn)
		}
		a.Client, a.RequestID = c.client, a.id.of(d.head)
		r.sent(a)
	}
	if err != nil {
		c.err = err
		_ = c.Close()
	}
	return true, err
}

// narrow makes a an answer of the stretch that a Range field asks for; false if it is
// not answered here. Ranges are of GET alone (RFC 9110 §14.2).
func (a *Answer) narrow(field []byte) (ok bool) {
	if a.Head || a.Ready.partial == nil {
		return false
	}
	a.Status = http.StatusPartialContent
	a.part, ok = parseRange(field, a.Ready.Entry.Size)
	return ok
}

// send writes head and body, the deadline being set. A client has the write timeout for each piece that
// one of the minimum rate would take in that time.
func (c *conn) send(o *TableOptions, head, body []byte) error {
	piece := o.piece(len(body))
	first := min(piece, len(body))
	if err := c.write(head, body[:first]); err != nil {
		return err
	}
	for body = body[first:]; len(body) > 0; {
		if o.WriteTimeout > 0 {
			c.extend(o.WriteTimeout, time.Now())
		}
		first = min(piece, len(body))
		if err := c.write(body[:first], nil); err != nil {
			return err
		}
		body = body[first:]
	}
	return nil
}

// write writes head and body, which leave together.
func (c *conn) write(head, body []byte) error {
	if c.socket != nil {
		return c.socket.push(head, body, 0)
	}
	if len(body) == 0 {
		_, err := c.Conn.Write(head)
		return err
	}
	c.pieces = [2][]byte{head, body}
	c.vector = c.pieces[:]
	_, err := c.vector.WriteTo(c.Conn)
	return err
}

// extend moves the deadlines of the connection: that of writing is not before the
// write timeout and not behind its double, so that it need not be set each time;
// that of reading is net/http's, which knows nothing of the answers given here.
func (c *conn) extend(writing time.Duration, now time.Time) {
	if writing > 0 && c.writeBy.Sub(now) < writing {
		c.writeBy = now.Add(2 * writing)
		_ = c.Conn.SetWriteDeadline(c.writeBy)
	}
	idle := c.front.options.IdleTimeout
	if idle <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := c.deadline.Sub(now); c.hurried || left < idle-idle/8 {
		c.hurried = false
		c.deadline = now.Add(idle)
		_ = c.Conn.SetReadDeadline(c.deadline)
	}
}

// yield gives the connection to net/http as that expects it: without a deadline
// of writing.
func (c *conn) yield() {
	if !c.writeBy.IsZero() {
		c.writeBy = time.Time{}
		_ = c.Conn.SetWriteDeadline(time.Time{})
	}
}

// A tally counts without a write that all processors share.
type tally struct {
	cells [16]struct {
		n atomic.Int64
		_ [56]byte
	}
}

func (t *tally) add(c *conn, n int64) { t.cells[c.lane%16].n.Add(n) }

func (t *tally) sum() (n int64) {
	for i := range t.cells {
		n += t.cells[i].n.Load()
	}
	return n
}
