package http1

import (
	"bufio"
	"context"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// maxHead is how large the heads of a response may be where the Transport does not
// say: net/http's own limit.
const maxHead = 10 << 20

// A conn is a connection to the origin. One exchange has it at a time.
type conn struct {
	*counted
	in    *bufio.Reader
	raw   syscall.RawConn // nil: it cannot be looked into
	head  int64           // bytes that heads may still have; less than 0: what comes is not limited
	used  bool            // for an exchange before this one
	since time.Time       // idle
}

// A counted is an open connection that its Client counts, until it is closed.
type counted struct {
	net.Conn
	client *Client
	closed atomic.Bool
}

// NetConn is the connection itself.
func (k *counted) NetConn() net.Conn { return k.Conn }

// Close may be called more than once, and at any time.
func (k *counted) Close() error {
	if k.closed.Swap(true) {
		return net.ErrClosed
	}
	k.client.mu.Lock()
	k.client.open--
	k.client.mu.Unlock()
	return k.Conn.Close()
}

// connection is a kept connection, if it may be one, or a new one.
func (c *Client) connection(ctx context.Context, kept bool) (*conn, error) {
	for kept {
		k := c.take()
		if k == nil {
			break
		}
		if limit := c.transport.IdleConnTimeout; (limit <= 0 || time.Since(k.since) < limit) && k.alive() {
			return k, nil
		}
		k.Close()
	}
	n, err := c.count(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	size := c.transport.ReadBufferSize
	if size <= 0 {
		size = 4 << 10
	}
	k := &conn{counted: n, raw: rawConn(n.Conn)}
	k.in = bufio.NewReaderSize(limited{k}, size)
	return k, nil
}

// take takes out the connection that was used last; nil if there is none.
func (c *Client) take() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle) - 1
	if n < 0 {
		return nil
	}
	k := c.idle[n]
	c.idle[n], c.idle = nil, c.idle[:n]
	return k
}

// put keeps a connection whose exchange has ended as it should.
func (c *Client) put(k *conn) {
	limit := c.transport.MaxIdleConnsPerHost
	if limit <= 0 {
		limit = 2 // net/http's own
	}
	k.used, k.since = true, time.Now()
	c.mu.Lock()
	keep := !c.closed && len(c.idle) < limit && k.in.Buffered() == 0
	if keep {
		c.idle = append(c.idle, k)
		if len(c.idle) == 1 {
			c.arm()
		}
	}
	c.mu.Unlock()
	if !keep {
		k.Close()
	}
}

// looks is how often idle connections are looked at: one that the origin has closed
// has a descriptor until then.
const looks = 5 * time.Second

// arm sees to it that idle connections end in time. mu is held, and the first of
// them is the one that was used least recently.
func (c *Client) arm() {
	wait := c.looks
	if limit := c.transport.IdleConnTimeout; limit > 0 {
		wait = min(wait, max(time.Until(c.idle[0].since.Add(limit)), time.Millisecond))
	}
	if c.sweep == nil {
		c.sweep = time.AfterFunc(wait, c.expire)
	} else {
		c.sweep.Reset(wait)
	}
}

// expire closes the connections that were idle for too long, and those that the
// origin has ended.
func (c *Client) expire() {
	limit := c.transport.IdleConnTimeout
	var old []*conn
	c.mu.Lock()
	c.idle = slices.DeleteFunc(c.idle, func(k *conn) bool {
		over := limit > 0 && time.Since(k.since) >= limit || !k.alive()
		if over {
			old = append(old, k)
		}
		return over
	})
	if len(c.idle) > 0 {
		c.arm()
	}
	c.mu.Unlock()
	for _, k := range old {
		k.Close()
	}
}

// dial is what the Transport dials by.
func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	k, err := c.count(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// count dials, where there is room for one more connection. Requests are no more
// than there may be connections, so what is too much is idle.
func (c *Client) count(ctx context.Context, network, addr string) (*counted, error) {
	c.evict()
	n, err := c.dialer(ctx, network, addr)
	if err != nil {
		c.mu.Lock()
		c.open--
		c.mu.Unlock()
		return nil, err
	}
	return &counted{Conn: n, client: c}, nil
}

// evict makes room for a connection, and takes it.
func (c *Client) evict() {
	c.mu.Lock()
	c.open++
	var old []*conn
	for c.room != nil && c.open-len(old) > cap(c.room) && len(c.idle) > 0 {
		old = append(old, c.idle[0])
		c.idle = slices.Delete(c.idle, 0, 1)
	}
	full := c.room != nil && c.open-len(old) > cap(c.room)
	c.mu.Unlock()
	for _, k := range old {
		k.Close()
	}
	if full {
		c.transport.CloseIdleConnections()
	}
}

// limited is what a conn reads heads and bodies by.
type limited struct{ *conn }

func (l limited) Read(p []byte) (int, error) {
	k := l.conn
	if k.head == 0 {
		return 0, errHead
	}
	if k.head > 0 && int64(len(p)) > k.head {
		p = p[:k.head]
	}
	n, err := k.Conn.Read(p)
	if k.head > 0 {
		k.head -= int64(n)
	}
	return n, err
}

// rawConn is what a connection is looked into by; nil if it cannot be.
func rawConn(c net.Conn) syscall.RawConn {
	for {
		if s, ok := c.(syscall.Conn); ok {
			raw, err := s.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = outer.NetConn()
	}
}

// alive says that the origin has neither closed an idle connection nor sent
// something that nobody has asked for. What cannot be looked into is taken to be.
func (k *conn) alive() bool {
	if k.raw == nil {
		return true
	}
	quiet := false
	err := k.raw.Control(func(fd uintptr) {
		var b [1]byte
		for {
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err == syscall.EINTR {
				continue
			}
			quiet = err == syscall.EAGAIN
			return
		}
	})
	return err == nil && quiet
}
