package front

import (
	"io"
	"sync"
)

// net/http writes a small response in two pieces, since its buffer has no room for
// head and content: two system calls, two packets, and a client that is woken twice.
// Between Cork and Uncork the first piece waits for the second.

// maxHeld is what may wait: no more than net/http's buffer has.
const maxHeld = bufferSize

// Cork holds back the next bytes that are written, until more come, or Uncork. It
// belongs to the goroutine that writes.
func (c *conn) Cork() { c.corked = true }

// Uncork is the end of Cork: what is held back leaves.
func (c *conn) Uncork() error {
	c.corked = false
	return c.writeHeld(nil)
}

// Write writes p, and what is held back before it.
func (c *conn) Write(p []byte) (int, error) {
	if c.corked && len(c.held) == 0 && len(p) <= maxHeld {
		c.held = append(buffers.Get().(*[bufferSize]byte)[:0], p...)
		return len(p), nil
	}
	if len(c.held) == 0 {
		return c.put(p)
	}
	if err := c.writeHeld(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeHeld writes what is held back, if anything is, and p with it.
func (c *conn) writeHeld(p []byte) error {
	held := c.held
	if len(held) == 0 {
		return nil
	}
	c.held = nil
	defer buffers.Put((*[bufferSize]byte)(held[:bufferSize]))
	if len(p) > maxJoined-maxHeld {
		return c.write(held, p)
	}
	b := joined.Get().(*[maxJoined]byte)
	defer joined.Put(b)
	n := copy(b[:], held)
	n += copy(b[n:], p)
	_, err := c.put(b[:n])
	return err
}

// put writes p, as the front's own answers are written if p is small.
func (c *conn) put(p []byte) (int, error) {
	if c.socket == nil || len(p) > maxPushed {
		return c.Conn.Write(p)
	}
	if err := c.socket.push(p, nil, 0); err != nil {
		return 0, err
	}
	return len(p), nil
}

// maxPushed is up to where a write that the scheduler is not told of is short.
const maxPushed = 64 << 10

// maxJoined is up to where what leaves together is copied together.
const maxJoined = 8 << 10

var joined = sync.Pool{New: func() any { return new([maxJoined]byte) }}

// ReadFrom is that of the connection below.
func (c *sendConn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.writeHeld(nil); err != nil {
		return 0, err
	}
	return c.file.ReadFrom(r)
}
