package cacheproxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/disk"
)

// An upgrade replaces the process, and so the program, while clients are served. The
// process hands its listening sockets and the lock of its store over to a successor
// that it starts. Once that serves, it takes no connection any more, and ends what
// it has begun: every connection has at most one more request of each kind, whose
// answer says that it was the last. Until the successor serves nothing has changed
// that cannot be taken back.
//
// The successor finds in its environment who its predecessor is, and from descriptor
// 3 on: a connection to it, the store's lock, and the sockets. Over the connection
// comes a line that names the sockets; it answers with a line when it serves. From
// the start the predecessor tells it, a line each, which keys it has changed. The
// end of the connection is the end of the predecessor.

const (
	predecessorEnv = "CACHE_PROXY_PREDECESSOR" // its process
	patience       = time.Minute               // for a successor that does not come to serve
	tellTime       = 100 * time.Millisecond    // for one that does not read
	serves         = "serves\n"
)

// handover is the first line to a successor.
type handover struct {
	Sockets []socket `json:"sockets"`
}

// A socket is one that is handed over: where it is in the configuration.
type socket struct {
	Operators bool   `json:"operators"` // it is for them, not for clients
	Network   string `json:"network"`   // "": it was given, and is in no configuration
	Address   string `json:"address"`
}

// told is a line about a key. Its parts need not be UTF-8.
type told struct {
	Hub, Path, Variant []byte
}

// A successor is the process that takes over.
type successor struct {
	conn net.Conn
}

// tell says that what a key leads to has changed. One that does not read in time
// finds out later.
func (n *successor) tell(key exchange.Key) {
	line, err := json.Marshal(told{[]byte(key.Hub), []byte(key.Path), []byte(key.Variant)})
	if err != nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(tellTime))
	_, _ = n.conn.Write(append(line, '\n'))
}

// upgrades are what a server has of them.
type upgrades struct {
	successor atomic.Pointer[successor] // from when it is started
	leaving   atomic.Bool               // it serves: what goes on here ends
	left      chan struct{}             // closed then
}

// changing hears from the store what changes.
func (s *Server) storeChanging(key exchange.Key) (done func()) {
	ready := s.epochs.Changing(key)
	return func() {
		ready()
		if n := s.upgrades.successor.Load(); n != nil {
			n.tell(key)
		}
	}
}

// Upgrade starts a program as this process's successor, and returns when that
// serves: then Run ends behind what is under way, for which there is
// limits.upgrade. If there is an error, or ctx ends before, all is as it was, and
// the program has ended.
func (s *Server) Upgrade(ctx context.Context, program string, args ...string) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if !s.running || s.closed || s.draining.Load() {
		return errors.New("the server does not run, or is stopping")
	}
	d, ok := s.store.(*disk.Store)
	if !ok {
		return errors.New("the store cannot be handed over")
	}
	lock, err := d.Cede()
	if err != nil {
		return err
	}
	s.keepRecords(false)
	process, err := s.succeed(ctx, lock, program, args)
	if err != nil {
		s.upgrades.successor.Store(nil)
		s.keepRecords(true)
		return errors.Join(err, d.Reclaim())
	}
	s.log.Info("another process serves; what is under way here ends", "pid", process.Pid, "limit", s.revision().config.Limits.Upgrade)
	s.notifier.tell("MAINPID=" + strconv.Itoa(process.Pid))
	s.draining.Store(true)
	s.upgrades.leaving.Store(true)
	s.hot.Store(nil) // the successor decides what is current
	for _, p := range s.inlets {
		keepFile(p.Listener)
	}
	s.detach(append([]*inlet(nil), s.inlets...))
	close(s.upgrades.left)
	return nil
}

// keepRecords says whether the files beside the store are this process's to write.
func (s *Server) keepRecords(keep bool) {
	s.ledger.Pause(!keep)
	s.league.pause(!keep)
	s.memories.pause(!keep)
}

// succeed starts the successor and waits until it serves. One that does not has
// ended when succeed returns.
func (s *Server) succeed(ctx context.Context, lock *os.File, program string, args []string) (*os.Process, error) {
	ours, theirs, err := connected()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	first, files, err := s.sockets()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		ours.Close()
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), predecessorEnv+"="+strconv.Itoa(os.Getpid()), "WATCHDOG_PID=")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = append([]*os.File{theirs, lock}, files...)
	line, err := json.Marshal(first)
	if err != nil {
		ours.Close()
		return nil, err
	}
	if _, err := ours.Write(append(line, '\n')); err != nil { // it fits into the socket's buffer
		ours.Close()
		return nil, err
	}
	s.upgrades.successor.Store(&successor{conn: ours})
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	theirs.Close() // its end is to be seen
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := awaited(ctx, ours); err != nil {
		_ = cmd.Process.Kill()
		was := <-ended
		ours.Close()
		return nil, fmt.Errorf("the new process does not serve: %w", errors.Join(err, was))
	}
	return cmd.Process, nil
}

// awaited waits for the word that the successor serves.
func awaited(ctx context.Context, conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(conn).ReadString('\n')
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case line != serves:
		return fmt.Errorf("it says %q", line)
	}
	return nil
}

// connected are the two ends of a connection, the second for a child.
func connected() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no other child gets them
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(pair[0])
		syscall.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(pair[0]), "successor")
	theirs = os.NewFile(uintptr(pair[1]), "predecessor")
	defer f.Close()
	if ours, err = net.FileConn(f); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// sockets are all that are listened on, and what the successor is to know of them.
// The caller closes the files. Callers hold reloading.
func (s *Server) sockets() (h handover, files []*os.File, err error) {
	add := func(l net.Listener, a Address, operators bool) error {
		f, err := duplicate(l)
		if err != nil {
			return fmt.Errorf("hand over the listener on %v: %w", l.Addr(), err)
		}
		files = append(files, f)
		h.Sockets = append(h.Sockets, socket{operators, a.Network, a.Address})
		return nil
	}
	for _, p := range s.inlets {
		if err := add(p.Listener, p.address, false); err != nil {
			return h, files, err
		}
	}
	if l, a := s.operators.listening(); l != nil {
		return h, files, add(l, a, true)
	}
	return h, files, nil
}

// duplicate is the socket of a listener as a file of its own. What File of package
// net returns, a child would get in blocking mode, and so this process too.
func duplicate(l net.Listener) (*os.File, error) {
	c, ok := l.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var own int
	var failed error
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if own, failed = syscall.Dup(int(fd)); failed == nil {
			syscall.CloseOnExec(own)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), l.Addr().String()), nil
}

// keepFile lets the file of a unix socket stay when the listener is closed.
func keepFile(l net.Listener) {
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
}

// leave waits until the connections of a server that has a successor have ended,
// or ctx is done, or there was time enough.
func (s *Server) leave(ctx context.Context) {
	limit := time.NewTimer(time.Duration(s.revision().config.Limits.Upgrade))
	defer limit.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for s.connections.open() > 0 {
		select {
		case <-look.C:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
