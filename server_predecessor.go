package cacheproxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/disk"
)

// A Predecessor is the process that hands its sockets and its store over to this
// one (see [Server.Upgrade]). It goes on for a while with what it has begun.
type Predecessor struct {
	conn net.Conn
	in   *bufio.Reader // of conn
	lock *os.File      // of its store

	abandoned atomic.Bool // nobody follows it any more

	mu      sync.Mutex
	sockets []handed // that nobody has taken; guarded by mu
}

// handed is a socket that is listened on.
type handed struct {
	socket
	net.Listener
}

// FindPredecessor is the process that has started this one as its successor; nil
// if none has. Whoever serves gives it to New, whose Server answers for it.
func FindPredecessor() (*Predecessor, error) {
	of := os.Getenv(predecessorEnv)
	os.Unsetenv(predecessorEnv)
	if of == "" || of != strconv.Itoa(os.Getppid()) {
		return nil, nil
	}
	p, err := newPredecessor(firstInherited)
	if err != nil {
		return nil, fmt.Errorf("take over from process %s: %w", of, err)
	}
	return p, nil
}

// newPredecessor takes descriptors from the first one on.
func newPredecessor(first int) (*Predecessor, error) {
	syscall.CloseOnExec(first)
	f := os.NewFile(uintptr(first), "predecessor")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	p := &Predecessor{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	line, err := p.in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var h handover
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, err
	}
	syscall.CloseOnExec(first + 1)
	p.lock = os.NewFile(uintptr(first+1), "lock")
	for i, s := range h.Sockets {
		l, err := inheritedListener(first + 2 + i)
		if err != nil {
			return nil, err
		}
		if u, ok := l.(*net.UnixListener); ok && s.Network != "" {
			u.SetUnlinkOnClose(true) // as that which it made itself
		}
		p.sockets = append(p.sockets, handed{s, l})
	}
	return p, nil
}

// take is the listener on a, for operators or for clients, if there is one and
// nobody has taken it.
func (p *Predecessor) take(a Address, operators bool) net.Listener {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.sockets, func(h handed) bool { return h.socket == socket{operators, a.Network, a.Address} })
	if i < 0 {
		return nil
	}
	l := p.sockets[i].Listener
	p.sockets = slices.Delete(p.sockets, i, i+1)
	return l
}

// given are the listeners that the predecessor was given itself.
func (p *Predecessor) given() (all []net.Listener) {
	for {
		l := p.take(Address{}, false)
		if l == nil {
			return all
		}
		all = append(all, l)
	}
}

// ready says that this process serves, and lets go of what it does not listen on.
func (p *Predecessor) ready() {
	if p == nil {
		return
	}
	p.mu.Lock()
	for _, h := range p.sockets {
		h.Close()
	}
	p.sockets = nil
	p.mu.Unlock()
	_, _ = p.conn.Write([]byte(serves))
}

// abandon ends following, though the predecessor may go on.
func (p *Predecessor) abandon() {
	if p != nil {
		p.abandoned.Store(true)
		p.conn.Close()
	}
}

// follow hears what the predecessor changes in the store until that has ended.
func (s *Server) follow(p *Predecessor, d *disk.Store) {
	for {
		line, err := p.in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			continue // the rest of it is none either
		}
		if err != nil {
			break
		}
		var t told
		if json.Unmarshal(line, &t) == nil {
			key := exchange.Key{Hub: string(t.Hub), Path: string(t.Path), Variant: string(t.Variant)}
			done := s.epochs.Changing(key)
			d.Recount(key)
			done()
		}
	}
	if p.abandoned.Load() {
		return
	}
	p.conn.Close()
	if err := d.Settle(); err != nil {
		s.log.Warn("what the process before has left stays until the next start", "err", err)
	}
	s.log.Info("the process before has ended")
}
