package front

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Listener guards what l accepts. It composes so: whatever limits or counts
// connections stands below (l), net/http above; nothing may wrap a conn between
// f and net/http. A wrapper below should have NetConn, or be an [io.ReaderFrom]
// itself: else files are copied instead of sent.
//
// If l is of TLS ([tls.NewListener]), the handshake is made here, each in a
// goroutine of its own that ends with it: what then speaks h2 goes to net/http as
// the *tls.Conn that it wants, the rest is guarded. [http.Request.TLS] is set in
// both cases.
//
// Closing the listener closes l, and connections whose handshake is under way.
func (f *Front) Listener(l net.Listener) net.Listener {
	return &listener{Listener: l, front: f, ready: make(chan accepted), closed: make(chan struct{}), shaking: map[net.Conn]struct{}{}}
}

type accepted struct {
	conn net.Conn
	err  error
}

type listener struct {
	net.Listener
	front *Front

	once  sync.Once
	ready chan accepted // from accept and the handshakes

	ending sync.Once
	ended  atomic.Bool
	closed chan struct{}

	mu      sync.Mutex
	shaking map[net.Conn]struct{} // guarded by mu; nil when the listener is closed
}

func (l *listener) Accept() (net.Conn, error) {
	l.once.Do(func() { go l.accept() })
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.ended.Store(true)
	err := l.Listener.Close()
	l.ending.Do(func() {
		close(l.closed)
		l.mu.Lock()
		defer l.mu.Unlock()
		for c := range l.shaking {
			c.Close()
		}
		l.shaking = nil
	})
	return err
}

// accept runs from the first Accept to the listener's end. It takes no further
// connection until net/http has taken the one before, or the error, which it backs
// off from.
func (l *listener) accept() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.give(accepted{err: err})
			if errors.Is(err, net.ErrClosed) {
				return
			}
		} else if secure, ok := c.(*tls.Conn); ok {
			go l.shake(secure)
		} else {
			l.give(accepted{conn: l.front.wrap(c, &l.ended)})
		}
		select {
		case <-l.closed:
			return
		default:
		}
	}
}

// shake makes the handshake of c, and gives it on.
func (l *listener) shake(c *tls.Conn) {
	l.mu.Lock()
	open := l.shaking != nil
	if open {
		l.shaking[c] = struct{}{}
	}
	l.mu.Unlock()
	if !open {
		c.Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(l.front.options.HeaderTimeout))
	err := c.HandshakeContext(context.Background())
	l.mu.Lock()
	delete(l.shaking, c)
	l.mu.Unlock()
	if err != nil {
		l.front.protocol.add("tls-handshake")
		l.front.options.Log.Debug("TLS handshake failed", "client", remote(c), "err", err)
		c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		l.give(accepted{conn: c})
	} else {
		l.give(accepted{conn: l.front.wrap(c, &l.ended)})
	}
}

func (l *listener) give(a accepted) {
	select {
	case l.ready <- a:
	case <-l.closed:
		if a.conn != nil {
			a.conn.Close()
		}
	}
}
