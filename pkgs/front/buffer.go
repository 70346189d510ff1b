package front

import "sync"

const bufferSize = 4 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// keep puts b behind what is received and not handed on.
func (c *conn) keep(b []byte) {
	for len(b) > 0 {
		c.room()
		n := copy(c.buf[len(c.buf):cap(c.buf)], b)
		c.buf, b = c.buf[:len(c.buf)+n], b[n:]
	}
}

// room makes some at the end of buf. A head's limits bound how far it grows.
func (c *conn) room() {
	switch {
	case c.buf == nil:
		c.buf = buffers.Get().(*[bufferSize]byte)[:0]
	case len(c.buf) < cap(c.buf):
	case c.pos > 0:
		n := copy(c.buf, c.buf[c.pos:])
		c.buf, c.pos = c.buf[:n], 0
	default:
		larger := make([]byte, len(c.buf), 2*cap(c.buf))
		copy(larger, c.buf)
		c.release()
		c.buf = larger
	}
}

// release gives buf back, whose bytes were all handed on.
func (c *conn) release() {
	if cap(c.buf) == bufferSize {
		buffers.Put((*[bufferSize]byte)(c.buf[:bufferSize]))
	}
	c.buf, c.pos = nil, 0
}
