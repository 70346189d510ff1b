package cacheproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// connections counts the connections that are open, and those that were refused.
type connections struct {
	mu      sync.Mutex
	all     int                // guarded by mu
	clients map[netip.Addr]int // guarded by mu; clients without connections are not in it

	refusedAll, refusedClient, refusedFiles atomic.Int64
	warned                                  atomic.Int64 // when people were last told to look, in Unix seconds

	lingering chan struct{} // a token for each refused connection that is still read

	spareMu sync.Mutex
	spare   *os.File // a descriptor to give up when there is none left; guarded by spareMu
}

func newConnections() *connections {
	return &connections{clients: map[netip.Addr]int{}, lingering: make(chan struct{}, 64)}
}

// accept takes connections from p until it is closed, which is no error.
func (s *Server) accept(p *inlet) error {
	for pause := time.Duration(0); ; {
		c, err := p.Accept()
		switch {
		case err == nil:
			pause = 0
			s.admit(p, c)
			continue
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			s.log.Log(context.Background(), s.connections.concern(), "no descriptor left for a connection", "addr", p.Addr().String(), "err", err)
			if s.connections.shed(p.Listener) {
				continue
			}
		case !temporary(err):
			return err
		}
		pause = min(max(5*time.Millisecond, 2*pause), 200*time.Millisecond)
		time.Sleep(pause)
	}
}

// concern is the level of something that a person should look at, but not once a connection.
func (n *connections) concern() slog.Level {
	now, last := time.Now().Unix(), n.warned.Load()
	if now-last >= 60 && n.warned.CompareAndSwap(last, now) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// shed gives up a descriptor to take a connection and close it, so that its
// client need not wait for nothing.
func (n *connections) shed(l net.Listener) bool {
	n.spareMu.Lock()
	defer n.spareMu.Unlock()
	n.setSpare(nil)
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(shedTime)) // others may need the descriptor
		defer d.SetDeadline(time.Time{})
	}
	c, err := l.Accept()
	if err == nil {
		n.refusedFiles.Add(1)
		c.Close()
	}
	spare, _ := os.Open(os.DevNull)
	n.setSpare(spare)
	return err == nil
}

// shedTime is how long a connection that has been announced may take to come.
const shedTime = 100 * time.Millisecond

// setSpare replaces the spare descriptor. Callers hold spareMu.
func (n *connections) setSpare(f *os.File) {
	if n.spare != nil {
		n.spare.Close()
	}
	n.spare = f
}

// keepSpare has a spare descriptor at hand until release is called.
func (n *connections) keepSpare() (release func()) {
	spare, _ := os.Open(os.DevNull)
	n.spareMu.Lock()
	n.setSpare(spare)
	n.spareMu.Unlock()
	return func() {
		n.spareMu.Lock()
		n.setSpare(nil)
		n.spareMu.Unlock()
	}
}

// admit gives a connection to the door of the current revision, unless there are
// too many.
func (s *Server) admit(p *inlet, c net.Conn) {
	for {
		rev := s.revision()
		secure := rev.tls != nil && rev.config.secure(p.address, c.LocalAddr())
		client := remote(c, rev.config)
		if why := s.connections.enter(client, &rev.config.Limits); why != nil {
			why.Add(1)
			s.connections.refuse(c, secure)
			return
		}
		leave := sync.OnceFunc(func() {
			s.connections.leave(client)
			rev.door.left()
		})
		if !rev.door.entered() {
			s.connections.leave(client)
			continue // it was replaced meanwhile
		}
		in := counted(c, leave)
		if secure {
			in = tls.Server(&helloConn{Conn: in}, rev.tls.config)
		}
		rev.door.feed.give(in)
		return
	}
}

// remote is the client's address, if the number of its connections is bounded.
func remote(c net.Conn, cfg *Config) (client netip.Addr) {
	addr, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	client = addr.Addr().Unmap().WithZone("")
	for _, p := range cfg.TrustedProxies {
		if p.Contains(client) {
			return netip.Addr{}
		}
	}
	return client
}

// enter counts a connection, or says which of the counters its refusal is for.
// Connections of no client count among all only.
func (n *connections) enter(client netip.Addr, l *Limits) (refused *atomic.Int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.all >= l.connections():
		return &n.refusedAll
	case client.IsValid() && n.clients[client] >= l.ConnectionsPerClient:
		return &n.refusedClient
	}
	n.all++
	if client.IsValid() {
		n.clients[client]++
	}
	return nil
}

func (n *connections) leave(client netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all--
	if !client.IsValid() {
		return
	}
	if n.clients[client]--; n.clients[client] == 0 {
		delete(n.clients, client)
	}
}

// open is how many connections there are.
func (n *connections) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all
}

const tooMany = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\ntoo many connections\n"

// refuse ends a connection that is too many. Without TLS it says why; then what
// the client sends is read for a moment, since it would not see the answer if the
// connection ended by a reset.
func (n *connections) refuse(c net.Conn, secure bool) {
	half, ok := c.(interface{ CloseWrite() error })
	if secure || !ok {
		c.Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, tooMany) // fits into what a new connection buffers
	_ = half.CloseWrite()
	select {
	case n.lingering <- struct{}{}:
		go func() { // ends with the deadline
			_, _ = io.CopyN(io.Discard, c, 64<<10)
			c.Close()
			<-n.lingering
		}()
	default:
		c.Close()
	}
}

// counted is c with something to do when it is closed. What net/http and the edge
// look for in a connection is still there.
func counted(c net.Conn, leave func()) net.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return &tcpConn{c, leave}
	case *net.UnixConn:
		return &unixConn{c, leave}
	}
	return &otherConn{c, leave}
}

type (
	tcpConn struct {
		*net.TCPConn
		leave func()
	}
	unixConn struct {
		*net.UnixConn
		leave func()
	}
	otherConn struct {
		net.Conn
		leave func()
	}
)

func (c *tcpConn) Close() error        { defer c.leave(); return c.TCPConn.Close() }
func (c *unixConn) Close() error       { defer c.leave(); return c.UnixConn.Close() }
func (c *otherConn) Close() error      { defer c.leave(); return c.Conn.Close() }
func (c *otherConn) NetConn() net.Conn { return c.Conn }

// connections is how many there may be.
func (l *Limits) connections() int {
	if l.Connections > 0 {
		return l.Connections
	}
	return openFiles() / 2
}

// openFiles is how many files the process may have open.
var openFiles = sync.OnceValue(func() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<30))
})

// Stats are numbers of the server since it was made.
type Stats struct {
	Fills FillStats

	Connections int // of clients, now

	// Connections that were refused: because of limits.connections, because of
	// limits.connections-per-client, and because there was no descriptor left.
	RefusedAll, RefusedClient, RefusedFiles int64

	Hot  uint64 // requests that were answered from memory, in front of net/http
	Warm uint64 // and behind it

	// Requests that the guard of connections refused, by reason (see [front.Front.Stats]).
	Guard map[string]uint64
}

// Stats are the numbers as they are now.
func (s *Server) Stats() Stats {
	n := s.connections
	return Stats{
		Fills: s.fills.stats(),

		Connections:   n.open(),
		RefusedAll:    n.refusedAll.Load(),
		RefusedClient: n.refusedClient.Load(),
		RefusedFiles:  n.refusedFiles.Load(),
		Hot:           s.doors.answered(),
		Warm:          s.warm.Load(),
		Guard:         s.doors.refused(),
	}
}
