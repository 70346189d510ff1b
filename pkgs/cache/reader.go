package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// A reader is one client's view of a flight: a ReadSeekCloser that waits for
// the frontier. It serves one request, on one goroutine.
type reader struct {
	flight *flight
	ctx    context.Context // the request that it serves
	off    int64           // where the next read begins; owned by the request's goroutine
	file   *os.File        // the growing file, opened for this reader when first sent from

	at    int64 // guarded by flight.mu: where it last waited, for the window
	waits bool  // guarded by flight.mu: it waits there still
	cut   error // guarded by flight.mu: why this reader alone was ended
}

// wait blocks until content at off may be read, and returns how much of it, and
// whether it lies in the draft. At the end of a complete flight it returns [io.EOF].
// idle is called once before it blocks.
func (r *reader) wait(off int64, idle func()) (n int64, drafted bool, err error) {
	f := r.flight
	for {
		f.mu.Lock()
		if r.at != off {
			r.at = off
			f.stir()
		}
		n, err := f.readable(off), f.end
		drafted = !f.passing || off < f.drafted
		if drafted && f.passing {
			n = min(n, f.drafted-off)
		}
		if r.cut != nil {
			n, err = 0, r.cut
		}
		var moved <-chan struct{}
		if r.waits = n <= 0 && err == nil; r.waits {
			moved = f.next()
		}
		f.mu.Unlock()
		switch {
		case err != nil && err != io.EOF:
			return 0, false, err // a failed flight ends its readers at once, with content left or not
		case n > 0:
			return n, drafted, nil
		case err != nil:
			return 0, false, err
		}
		if idle != nil {
			idle()
			idle = nil
		}
		select {
		case <-moved:
		case <-r.ctx.Done():
			return 0, false, context.Cause(r.ctx)
		}
	}
}

// Read reads content at the reader's offset, waiting for it if need be.
func (r *reader) Read(p []byte) (int, error) {
	n, drafted, err := r.wait(r.off, nil)
	if err != nil {
		return 0, err
	}
	n, err = r.readAt(p[:min(int64(len(p)), n)], drafted)
	r.off += n
	return int(n), err
}

// readAt reads p at the reader's offset, where wait has said that it may.
func (r *reader) readAt(p []byte, drafted bool) (int64, error) {
	if drafted {
		n, err := r.flight.draft.ReadAt(p, r.off)
		if n == len(p) {
			err = nil
		}
		switch {
		case errors.Is(err, os.ErrClosed):
			return 0, r.failure()
		case err == io.EOF: // it has lost what it had; this must not pass for the end
			err = io.ErrUnexpectedEOF
		}
		return int64(n), err
	}
	r.flight.mu.Lock()
	defer r.flight.mu.Unlock()
	n := r.flight.window.copyAt(p, r.off)
	if n == 0 {
		return 0, errors.New("content has passed by unstored")
	}
	return int64(n), nil
}

// failure is why a flight has given its draft back to the store while it has
// readers: it fails, and they must not hear of it before it has left the table.
func (r *reader) failure() error {
	f := r.flight
	for {
		f.mu.Lock()
		err, moved := f.end, f.next()
		f.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-moved:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// Seek sets the offset of the next read. Content before the window of a flight
// that passes through is gone; reading there is an error.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		if r.flight.entry.Size < 0 {
			return 0, errors.New("seek from the end: the size is not known yet")
		}
		offset += r.flight.entry.Size
	}
	if offset < 0 {
		return 0, errors.New("seek: negative offset")
	}
	r.off = offset
	return offset, nil
}

// copyBuffers are for readers whose content does not come from a file.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// sendAtLeast is from how many bytes on a reader opens the growing file for
// sendfile; below, a read and a write are cheaper.
const sendAtLeast = 64 << 10

// CopyTo writes n bytes (all the rest if n < 0) to w as they come, and returns how many it
// wrote. Whatever w has buffered is flushed before it waits.
func (r *reader) CopyTo(w io.Writer, n int64) (written int64, err error) {
	flush := func() {}
	if f, ok := w.(interface{ Flush() }); ok {
		flush = f.Flush
	}
	for n < 0 || written < n {
		rest := int64(-1)
		if n >= 0 {
			rest = n - written
		}
		m, ok, err := r.section(w, rest)
		written += m
		if err != nil {
			return written, err
		}
		if ok {
			continue
		}
		ready, drafted, err := r.wait(r.off, flush)
		if err == io.EOF {
			if n < 0 {
				return written, nil
			}
			return written, io.ErrUnexpectedEOF
		}
		if err != nil {
			return written, err
		}
		if n >= 0 {
			ready = min(ready, n-written)
		}
		m, err = r.send(w, ready, drafted)
		written += m
		r.off += m
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// send writes up to n bytes at the reader's offset, all of which are ready.
func (r *reader) send(w io.Writer, n int64, drafted bool) (int64, error) {
	if drafted && (n >= sendAtLeast || r.file != nil) && r.open() {
		if _, err := r.file.Seek(r.off, io.SeekStart); err != nil {
			return 0, err
		}
		m, err := io.CopyN(w, r.file, n)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return m, err
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	m, err := r.readAt((*buf)[:min(n, int64(len(*buf)))], drafted)
	if err != nil {
		return 0, err
	}
	k, err := w.Write((*buf)[:m])
	return int64(k), err
}

// open opens the growing file for this reader, if the draft is one.
func (r *reader) open() bool {
	if r.file != nil {
		return true
	}
	d, ok := r.flight.draft.(store.Reopener)
	if !ok {
		return false
	}
	file, err := d.Reopen()
	if err != nil {
		return false
	}
	r.file = file
	return true
}

// Close ends the reader. If its request was cancelled before the reader came to
// the end, that is an abort, and the flight may end with it.
func (r *reader) Close() error {
	r.release(r.ctx.Err() != nil)
	return nil
}

// leave ends the reader of a request that is answered otherwise: the flight goes on.
func (r *reader) leave() { r.release(false) }

func (r *reader) release(aborted bool) {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	r.flight.detach(r, aborted)
}

// bytesBody is b as a body, or none where only the head is wanted.
func bytesBody(req *exchange.Request, b []byte) io.ReadCloser {
	if req.Head {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(b))
}
