package front

import (
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// While a request is answered net/http reads on, to learn whether the client leaves:
// this is what it finds, and how long it waits.

// hold is Read while a request is answered. Its end is an error of the connection,
// such as that the client has left, or net/http's deadline. Bytes that come are
// kept; behind the first ones nothing is read, so that a client cannot make us
// buffer its pipeline.
func (c *conn) hold() error {
	if c.front.options.Watched {
		c.rest()
	}
	if c.pos == len(c.buf) {
		c.room()
		n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
		if c.buf = c.buf[:len(c.buf)+n]; n == 0 {
			c.release()
			return err
		}
	}
	for {
		c.mu.Lock()
		deadline, closed := c.deadline, c.closed
		if c.wake == nil {
			c.wake = make(chan struct{})
		}
		wake := c.wake
		c.mu.Unlock()
		var expired <-chan time.Time
		switch left := time.Until(deadline); {
		case closed:
			return net.ErrClosed
		case deadline.IsZero():
		case left <= 0:
			return os.ErrDeadlineExceeded
		default:
			timer := time.NewTimer(left)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-wake:
		case <-expired:
		}
	}
}

// rest waits until somebody watches the request under way, or its answer has ended,
// which net/http says by a deadline in the past: it costs less than a look for bytes
// that are not there, and what follows from it.
func (c *conn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.watched && !c.closed && (c.deadline.IsZero() || time.Until(c.deadline) > 0) {
		c.rise.Wait()
	}
}

// Watch is called by handlers of requests that may take time, where [Options.Watched] is
// set: their context ends when the client leaves from now on.
func Watch(r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*conn)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = true
	c.rise.Broadcast()
}

// SetReadDeadline keeps its meaning for net/http, also while Read holds bytes back.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline, c.hurried = t, false
	c.stir()
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

// stir wakes who holds. mu is held.
func (c *conn) stir() {
	c.rise.Broadcast()
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}
