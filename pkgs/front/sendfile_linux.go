package front

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// canSend says that large files can be ready: that they reach the socket from one
// descriptor that all answers share.
const canSend = true

// filePiece is how much of a file is sent within one deadline.
const filePiece = 1 << 20

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

// sendFile writes head and size bytes of d. A client has the write timeout for as
// much as one of the minimum rate takes in that time, as in the edge.
func (c *conn) sendFile(o *TableOptions, head []byte, d *descriptor, size int64) error {
	if _, err := c.Conn.Write(head); err != nil {
		return err
	}
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	for offset := int64(0); offset < size; {
		piece := min(size-offset, filePiece)
		if o.WriteTimeout > 0 {
			c.writeBy = time.Now().Add(o.WriteTimeout)
			_ = c.Conn.SetWriteDeadline(c.writeBy)
		}
		from := offset
		var failed error
		err := raw.Write(func(fd uintptr) bool {
			for offset < from+piece {
				n, err := syscall.Sendfile(int(fd), d.fd, &offset, int(from+piece-offset))
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
		if errors.Is(err, os.ErrDeadlineExceeded) && float64(offset-from) >= float64(o.MinRate)*o.WriteTimeout.Seconds() {
			err = nil // slow, but not too slow
		}
		if err = errors.Join(err, failed); err != nil {
			if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
				_ = tcp.SetLinger(0) // so that nobody takes this for an end
			}
			return err
		}
	}
	return nil
}

// sends says whether files can be sent over c as they are.
func sends(c net.Conn) bool {
	_, ok := c.(syscall.Conn)
	_, tcp := c.RemoteAddr().(*net.TCPAddr)
	return ok && tcp
}

// A pusher writes to a socket that has room, as a rule, without the scheduler being
// told of the system call: it would look into each that is under way every 20 µs,
// which costs a tenth of a small answer. The call does not block.
type pusher struct {
	raw  syscall.RawConn
	left []byte // of what is written
	err  error
	call func(fd uintptr) (done bool)
}

// newPusher is nil if c cannot be written so.
func newPusher(c net.Conn) *pusher {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	p := &pusher{raw: raw}
	p.call = p.write
	return p
}

func (p *pusher) write(fd uintptr) (done bool) {
	for len(p.left) > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p.left))), uintptr(len(p.left)))
		switch errno {
		case 0:
			p.left = p.left[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			p.err = os.NewSyscallError("write", errno)
			return true
		}
	}
	return true
}

// push writes b. Deadlines are the connection's.
func (p *pusher) push(b []byte) error {
	p.left, p.err = b, nil
	err := p.raw.Write(p.call)
	p.left = nil
	if err == nil {
		err = p.err
	}
	return err
}
