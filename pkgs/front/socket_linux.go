package front

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// A socket reads and writes a connection of the network without the scheduler being
// told of the system calls. None of them blocks, as a rule they take a few
// microseconds; else the runtime's monitor looks into each that is under way every
// 20 µs, and who comes back from one may have lost its processor: together a third
// of what a small answer costs. Deadlines are the connection's.
//
// One goroutine reads at a time, and one writes.
type socket struct {
	raw syscall.RawConn

	in      []byte // where what is read goes
	n       int    // read
	failed  error  // of reading
	waited  bool   // there was nothing to read at first
	streak  int    // reads in a row that did not wait
	receive func(fd uintptr) (done bool)

	out   [2]syscall.Iovec // what is left to be written
	flags int              // of send(2)
	err   error            // of writing
	write func(fd uintptr) (done bool)
}

// maxStreak is how many requests of one connection are answered while others wait
// for their turn: the slowest hundredth of 64 clients took 8 ms with 4 and 10
// without a bound.
const maxStreak = 4

// newSocket is nil if c cannot be read and written so.
func newSocket(c net.Conn) *socket {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.receive, s.write = s.receiveNow, s.writeNow
	return s
}

// Read is that of the connection, whose errors it has.
func (s *socket) Read(b []byte) (int, error) {
	if s.streak >= maxStreak {
		s.streak = 0
		runtime.Gosched()
	}
	s.in, s.n, s.failed, s.waited = b, 0, nil, false
	err := s.raw.Read(s.receive)
	s.in = nil
	if s.streak++; s.waited {
		s.streak = 0
	}
	if err == nil {
		err = s.failed
	}
	if err == nil && s.n == 0 {
		return 0, io.EOF
	}
	if err != nil {
		// net/http knows what fails in reading by this name, and says nothing then.
		op := &net.OpError{Op: "read", Net: "tcp", Err: err}
		if as := (*net.OpError)(nil); errors.As(err, &as) {
			*op = *as
			op.Op = "read"
		}
		err = op
	}
	return s.n, err
}

func (s *socket) receiveNow(fd uintptr) (done bool) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.in))), uintptr(len(s.in)))
		switch errno {
		case 0:
			s.n = int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			s.waited = true
			return false
		default:
			s.failed = os.NewSyscallError("read", errno)
			return true
		}
	}
}

// push writes head and body, of which either may be empty. flags are those of
// send(2): MSG_MORE says that more follows at once.
func (s *socket) push(head, body []byte, flags int) error {
	s.flags = flags
	for i, b := range [2][]byte{head, body} {
		s.out[i].Base = unsafe.SliceData(b)
		s.out[i].SetLen(len(b))
	}
	s.err = nil
	err := s.raw.Write(s.write)
	s.out = [2]syscall.Iovec{}
	if err == nil {
		err = s.err
	}
	return err
}

func (s *socket) writeNow(fd uintptr) (done bool) {
	for {
		first := &s.out[0]
		if first.Len == 0 {
			if first = &s.out[1]; first.Len == 0 {
				return true
			}
		}
		var n uintptr
		var errno syscall.Errno
		if s.flags != 0 {
			m, err := syscall.SendmsgN(int(fd), unsafe.Slice(first.Base, first.Len), nil, nil, s.flags)
			n = uintptr(max(m, 0))
			errno, _ = err.(syscall.Errno)
		} else if first == &s.out[0] && s.out[1].Len > 0 {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(first)), 2)
		} else {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(first.Base)), uintptr(first.Len))
		}
		switch errno {
		case 0:
			s.written(int(n))
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.err = os.NewSyscallError("write", errno)
			return true
		}
	}
}

// written takes n bytes away from what is left.
func (s *socket) written(n int) {
	for i := range s.out {
		v := &s.out[i]
		m := min(n, int(v.Len))
		if v.SetLen(int(v.Len) - m); v.Len > 0 {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), m))
		}
		n -= m
	}
}
