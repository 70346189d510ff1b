package front

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A conn is an HTTP/1 connection whose Read is the guard. net/http reads with one
// goroutine at a time; the fields without a mutex are that one's, handed over as
// net/http hands over the connection.
//
// While a request is being answered, net/http reads to learn whether the client
// leaves. What comes then is the next request: it is kept, and Read waits for the
// deadline that net/http sets to end that reading.
type conn struct {
	net.Conn
	front *Front

	busy bool  // net/http has a request, or a part of it, and has not ended its answer
	raw  bool  // the connection is hijacked: bytes pass
	err  error // the end, of every Read from now on

	buf     []byte // received: up to pos it was handed on; nil if there is nothing
	pos     int
	checked int // bytes behind pos that are good to be handed on

	head head
	body body

	// For answers of the front's own.
	files   bool         // the connection takes files as they are
	local   bool         // not of the network: whoever is there may be trusted
	ended   *atomic.Bool // the listener is closed: net/http is to close this too
	work    atomic.Int32 // quiet, answering or closing
	lane    uint32       // of tallies
	client  string       // its address, once it was asked for
	socket  *socket      // nil: the connection is read and written by its own methods
	vector  net.Buffers  // of pieces
	pieces  [2][]byte
	writeBy time.Time // the deadline of writing; zero: net/http's

	corked bool   // see Cork; like held, of the goroutine that writes
	held   []byte // written by net/http, and not yet sent

	mu       sync.Mutex
	deadline time.Time     // of reading, as net/http set it; guarded by mu
	wake     chan struct{} // closed when deadline changes or the conn is closed, if somebody waits; guarded by mu
	rise     sync.Cond     // as wake, of mu
	watched  bool          // the request under way may take time; guarded by mu
	closed   bool          // guarded by mu
	hurried  bool          // the deadline in force is a head's; guarded by mu
	linger   bool          // there is an answer that a reset could overtake; guarded by mu
}

// guarded is what every conn of ours is, whatever else it can do.
type guarded interface{ guard() *conn }

func (c *conn) guard() *conn { return c }

// A sendConn is a conn over one that takes files by sendfile; without it, net/http
// would copy them.
type sendConn struct {
	*conn
	file io.ReaderFrom
}

// A tlsConn is a conn inside TLS. net/http asks it for [http.Request.TLS].
type tlsConn struct {
	*conn
	inner *tls.Conn
}

func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.inner.ConnectionState() }

// wrap guards c, whose TLS handshake is done if it is a *tls.Conn. ended says that
// its listener is closed.
func (f *Front) wrap(c net.Conn, ended *atomic.Bool) net.Conn {
	g := &conn{Conn: c, front: f, ended: ended, lane: rand.Uint32()}
	g.rise.L = &g.mu
	if a := c.LocalAddr(); a != nil {
		g.local = a.Network() == "unix"
	}
	if secure, ok := c.(*tls.Conn); ok {
		return &tlsConn{g, secure}
	}
	if g.files = sends(c); g.files {
		g.socket = newSocket(c)
	}
	for inner := c; inner != nil; {
		if file, ok := inner.(io.ReaderFrom); ok {
			return &sendConn{g, file}
		}
		outer, ok := inner.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		inner = outer.NetConn()
	}
	return g
}

// NetConn is the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite is what net/http looks for at the end of a response after which it
// closes the connection.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// state hears from net/http what becomes of the connection.
func (c *conn) state(s http.ConnState) {
	switch s {
	case http.StateIdle:
		c.busy = false
		c.mu.Lock()
		c.watched = false
		c.mu.Unlock()
	case http.StateHijacked:
		c.busy, c.raw = false, true
	}
}

// Read gives bytes that were checked: of one head, with what there is of its
// body. Where a head may begin it waits for the whole of it.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case c.checked > 0:
			return c.hand(p), nil
		case c.err != nil:
			return 0, c.err
		case c.raw:
			if c.pos < len(c.buf) {
				c.checked = len(c.buf) - c.pos
				continue
			}
			return c.Conn.Read(p)
		case c.body.stage != over:
			if n, err := c.readBody(p); n > 0 || err != nil {
				return n, err
			}
		case c.busy:
			return 0, c.hold()
		default:
			if n, err := c.readHead(p); n > 0 || err != nil {
				return n, err
			}
		}
	}
}

// hand gives out what was checked.
func (c *conn) hand(p []byte) int {
	n := copy(p, c.buf[c.pos:c.pos+c.checked])
	c.pos += n
	if c.checked -= n; c.pos == len(c.buf) {
		c.release()
	}
	return n
}

// readBody reads on in the body of the request under way. It returns 0 and no
// error if there is something to be handed out, or the body is over.
func (c *conn) readBody(p []byte) (int, error) {
	why := none
	if c.pos < len(c.buf) {
		c.checked, why = c.body.take(c.buf[c.pos:])
		return 0, c.spoiled(why)
	}
	if c.body.stage == content && int64(len(p)) > c.body.left {
		p = p[:c.body.left] // what follows is not ours yet
	}
	n, err := c.Conn.Read(p)
	good, why := c.body.take(p[:n])
	if bad := c.spoiled(why); bad != nil && good == 0 {
		return 0, bad
	}
	if good < n && why == none {
		c.keep(p[good:n])
	}
	if good > 0 {
		err = nil // it comes again
	}
	return good, err
}

// spoiled ends the connection for what is wrong in a body: net/http, which may be
// answering, gets an error for the rest of it.
func (c *conn) spoiled(why reason) error {
	if why == none {
		return nil
	}
	c.front.count(why)
	c.err = errors.New(refusals[why].text)
	c.mu.Lock()
	c.linger = true
	c.mu.Unlock()
	if c.checked == 0 {
		return c.err
	}
	return nil
}

// readHead waits for a head. It returns 0 and no error if there is something to
// be handed out. Nothing is written by net/http meanwhile.
func (c *conn) readHead(p []byte) (int, error) {
	lim := &c.front.limits
	c.head.reset()
	c.head.mayConnect = c.front.options.Connect
	if c.pos == len(c.buf) && len(p) >= 512 {
		// The usual way: p has room for most heads, and they come in one piece.
		n, err := c.receive(p)
		if n == 0 {
			return 0, err
		}
		size, why := c.head.parse(p[:n], lim)
		if why != none {
			return 0, c.refuse(why)
		}
		if size > 0 {
			if done, err := c.answer(p[:size]); done {
				c.keep(p[size:n])
				return 0, err
			}
			c.yield()
			good := size + c.begin(p[size:n])
			if good < n && c.err == nil {
				c.keep(p[good:n])
			}
			return copy(p, p[c.head.start:good]), nil
		}
		c.keep(p[:n])
	}
	return 0, c.gather(lim)
}

// receive is the Read of the connection, where a request is to come.
func (c *conn) receive(p []byte) (int, error) {
	if c.socket != nil {
		return c.socket.Read(p)
	}
	return c.Conn.Read(p)
}

// begin notes that a head is handed out, and returns how much of what came behind
// it belongs to it.
func (c *conn) begin(behind []byte) int {
	c.busy = true
	c.body.begin(&c.head)
	n, why := c.body.take(behind)
	_ = c.spoiled(why) // for the next Read
	return n
}

// gather is readHead for a head that does not come in one piece, or came behind
// another one. Its deadline begins with its first byte.
func (c *conn) gather(lim *limits) error {
	timed := false
	for {
		if c.pos < len(c.buf) {
			b := c.buf[c.pos:]
			size, why := c.head.parse(b, lim)
			if why != none {
				return c.refuse(why)
			}
			if size > 0 {
				if done, err := c.answer(b[:size]); done {
					if c.pos += size; c.pos == len(c.buf) {
						c.release()
					}
					return err
				}
				c.yield()
				c.checked = size + c.begin(b[size:]) - c.head.start
				c.pos += c.head.start
				return nil
			}
			if !timed {
				timed = true
				c.hurry()
			}
		}
		c.room()
		n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if n > 0 {
			continue
		}
		if timed && errors.Is(err, os.ErrDeadlineExceeded) {
			return c.refuse(headTimeout)
		}
		if err != nil {
			return err
		}
	}
}

// hurry sets the deadline of a head that has begun, unless net/http's own, which
// it takes back once it has the head, comes before.
func (c *conn) hurry() {
	deadline := time.Now().Add(c.front.options.HeaderTimeout)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadline.IsZero() || deadline.Before(c.deadline) {
		c.hurried = true
		_ = c.Conn.SetReadDeadline(deadline)
	}
}

// Close ends the connection, and a Read that waits. If an answer of the front's own
// is under way it ends behind that: net/http takes the connection for idle.
func (c *conn) Close() error {
	if c.work.CompareAndSwap(answering, closing) {
		return nil
	}
	c.mu.Lock()
	linger := c.linger && !c.closed
	c.closed = true
	c.stir()
	c.mu.Unlock()
	if linger {
		c.drain()
	}
	return c.Conn.Close()
}
