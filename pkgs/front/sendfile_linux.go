package front

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// canSend says that large files can be ready: that they reach the socket from one
// descriptor that all answers share.
const canSend = true

// filePiece is how much of a file is sent within one deadline.
const filePiece = 4 << 20

// A descriptor is of one file, and shared: who sends from it says at what offset.
// It is closed behind its last holder.
type descriptor struct {
	fd      int
	holders atomic.Int64
}

// share duplicates the descriptor of an open file, with one holder.
func share(file syscall.Conn) (*descriptor, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &descriptor{}
	d.holders.Store(1)
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) {
		var n uintptr
		n, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		d.fd = int(n)
	}); err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	return d, nil
}

// hold is false if the descriptor is closed.
func (d *descriptor) hold() bool {
	for {
		n := d.holders.Load()
		if n == 0 {
			return false
		}
		if d.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (d *descriptor) drop() {
	if d.holders.Add(-1) == 0 {
		_ = syscall.Close(d.fd)
	}
}

// sendFile writes head and a stretch of d, the deadline being set. A client has the write
// timeout for as much as one of the minimum rate takes in that time, as in the edge.
func (c *conn) sendFile(o *TableOptions, head []byte, d *descriptor, part stretch) error {
	if c.socket == nil {
		return net.ErrClosed // it was, when it was wrapped
	}
	if err := c.socket.push(head, nil, syscall.MSG_MORE); err != nil {
		return err
	}
	for offset, end := part.from, part.from+part.n; offset < end; {
		if o.WriteTimeout > 0 && offset > part.from {
			c.writeBy = time.Now().Add(o.WriteTimeout)
			_ = c.Conn.SetWriteDeadline(c.writeBy)
		}
		n, err := c.socket.send(d, offset, min(end-offset, filePiece))
		offset += n
		if errors.Is(err, os.ErrDeadlineExceeded) && float64(n) >= float64(o.MinRate)*o.WriteTimeout.Seconds() {
			err = nil // slow, but not too slow
		}
		if err != nil {
			if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
				_ = tcp.SetLinger(0) // so that nobody takes this for an end
			}
			return err
		}
	}
	return nil
}

// send writes piece bytes of d at offset, and returns how many.
func (s *socket) send(d *descriptor, offset, piece int64) (int64, error) {
	from, to := offset, offset+piece
	var failed error
	err := s.raw.Write(func(fd uintptr) bool {
		for offset < to {
			n, err := syscall.Sendfile(int(fd), d.fd, &offset, int(to-offset))
			switch {
			case err == syscall.EINTR:
			case err == syscall.EAGAIN:
				return false
			case err != nil:
				failed = os.NewSyscallError("sendfile", err)
				return true
			case n == 0:
				failed = io.ErrUnexpectedEOF // the file is shorter than it was
				return true
			}
		}
		return true
	})
	return offset - from, errors.Join(err, failed)
}

// sends says whether files can be sent over c as they are.
func sends(c net.Conn) bool {
	_, ok := c.(syscall.Conn)
	_, tcp := c.RemoteAddr().(*net.TCPAddr)
	return ok && tcp
}
