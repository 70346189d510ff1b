package edge

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	copyPiece = 64 << 10 // of a body through memory
	filePiece = 4 << 20  // of a file through sendfile

	// Up to this a file is read, and written in one go with the head: a system
	// call and a packet less than the head and sendfile.
	smallFile = 4 << 10
)

var errSlow = errors.New("slower than the minimum rate")

var buffers = sync.Pool{New: func() any { return new([copyPiece]byte) }}

// A writer is the client's end of a response. It gives up a client that takes
// nothing within the timeout, or less than the minimum rate; time in which there
// is nothing to write does not count. It belongs to the request's goroutine.
type writer struct {
	http.ResponseWriter
	control http.ResponseController
	file    io.ReaderFrom // reaches sendfile; nil where there is none
	cork    corker        // holds the beginning of the response back; nil: nothing does

	timeout time.Duration // 0: there is none
	minRate int64         // bytes a second
	spent   time.Duration // in writing bytes
	bytes   int64         // since the rate was last found good
	sent    int64         // in all
	posted  int64         // of the request's body, held in memory

	flush  bool  // after each write, since nobody knows when the next one comes
	direct bool  // the last that was written was a file: nothing is buffered
	err    error // of the client's connection; nothing is written after it
}

var _ io.ReaderFrom = (*writer)(nil)

func newWriter(w http.ResponseWriter, r *http.Request, timeout time.Duration, minRate int64) *writer {
	out := &writer{
		ResponseWriter: w,
		control:        *http.NewResponseController(w),
		timeout:        timeout,
		minRate:        minRate,
	}
	if r.ProtoMajor == 1 && r.TLS == nil { // else ReadFrom is a loop as ours, but without deadlines
		out.file, _ = w.(io.ReaderFrom)
	}
	return out
}

// begin gives the client the timeout anew, before a write.
func (w *writer) begin() (start time.Time) {
	if w.timeout > 0 {
		start = time.Now()
		if w.control.SetWriteDeadline(start.Add(w.timeout)) != nil {
			w.timeout = 0 // not supported: not asked again
		}
	}
	return start
}

// end accounts for a write of n bytes.
func (w *writer) end(start time.Time, n int64, err error) error {
	w.sent += n
	if w.timeout > 0 && err == nil {
		w.bytes += n
		w.spent += time.Since(start)
		if w.spent >= w.timeout {
			if float64(w.bytes) < float64(w.minRate)*w.spent.Seconds() {
				err = errSlow
			}
			w.bytes, w.spent = 0, 0
		}
	}
	w.err = err
	return err
}

// piece is how much a client of exactly the minimum rate takes within the
// timeout, for net/http is of no use after a deadline in mid-write.
func (w *writer) piece() int {
	if w.timeout <= 0 {
		return copyPiece
	}
	return int(min(max(float64(w.minRate)*w.timeout.Seconds(), 4<<10), copyPiece))
}

// Write writes p.
func (w *writer) Write(p []byte) (int, error) {
	written := 0
	w.direct = false
	for piece := w.piece(); written < len(p); {
		if w.err != nil {
			return written, w.err
		}
		start := w.begin()
		n, err := w.ResponseWriter.Write(p[written:min(written+piece, len(p))])
		if err == nil && w.flush {
			err = w.push()
		}
		written += n
		if err := w.end(start, int64(n), err); err != nil {
			return written, err
		}
	}
	return written, nil
}

// Flush sends what is buffered: bodies that must wait for more call it first.
// Its failure is the next write's.
func (w *writer) Flush() {
	if w.err != nil {
		return
	}
	start := w.begin()
	_ = w.end(start, 0, w.push())
}

// push sends what is buffered, here or below.
func (w *writer) push() error {
	err := w.control.Flush()
	if errors.Is(err, http.ErrNotSupported) {
		w.flush, err = false, nil
	}
	if w.cork != nil {
		if uncorked := w.cork.Uncork(); err == nil {
			err = uncorked
		}
		w.cork = nil
	}
	return err
}

// together keeps the head of r's response until content comes, or Flush is called.
func (w *writer) together(r *http.Request) {
	if w.cork = corkerOf(r); w.cork != nil {
		w.cork.Cork()
	}
}

// ReadFrom writes r to its end: by sendfile if it is an [io.LimitedReader] over
// a file, as [io.CopyN] makes one.
func (w *writer) ReadFrom(r io.Reader) (written int64, err error) {
	if limited, ok := r.(*io.LimitedReader); ok && w.file != nil && limited.N > smallFile {
		if _, ok := limited.R.(syscall.Conn); ok {
			return w.sendFile(limited)
		}
	}
	buf := buffers.Get().(*[copyPiece]byte)
	defer buffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			m, err := w.Write(buf[:n])
			written += int64(m)
			if err != nil {
				return written, err
			}
		}
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// sendFile is ReadFrom of a file. The first piece is small, since what is
// buffered goes with it, such as the head, and a deadline there is final; later
// ones may go on behind a deadline, for the kernel says how far it came.
func (w *writer) sendFile(r *io.LimitedReader) (written int64, err error) {
	for r.N > 0 {
		if w.err != nil {
			return written, w.err
		}
		size := int64(filePiece)
		if !w.direct {
			size = int64(w.piece())
		}
		piece := io.LimitedReader{R: r.R, N: min(r.N, size)}
		start := w.begin()
		n, err := w.file.ReadFrom(&piece)
		if w.direct && n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil // slow: the rate decides
		}
		written += n
		r.N -= n
		if err := w.end(start, n, err); err != nil {
			return written, err
		}
		w.direct = true
		if n == 0 {
			return written, nil // the file is shorter than it was
		}
	}
	return written, nil
}
