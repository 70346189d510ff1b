package edge

import (
	"errors"
	"io"
)

// A copier is a body that knows better than a loop of reads how to reach a
// writer: the cache's reader of a growing file. CopyTo writes n bytes from the
// current position, all that is left if n < 0, waiting for those to come; before
// it waits it calls w's Flush, if w has one.
type copier interface {
	CopyTo(w io.Writer, n int64) (int64, error)
}

// A lostError is the failure to write to the client.
type lostError struct{ err error }

func (e *lostError) Error() string { return "client: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// copyBody writes n bytes of body from its current position, or all of it if
// n < 0. A body that ends before is an [io.ErrUnexpectedEOF]; a [*lostError] is
// the client's doing, everything else the body's.
func copyBody(w *writer, body io.Reader, n int64) error {
	var written int64
	var err error
	if n < 0 {
		w.file = nil // chunks do not go through sendfile
	}
	if c, ok := body.(copier); ok {
		w.flush = false
		written, err = c.CopyTo(w, n)
	} else if n >= 0 {
		written, err = w.ReadFrom(&io.LimitedReader{R: body, N: n})
	} else {
		written, err = w.ReadFrom(body)
	}
	switch {
	case w.err != nil:
		return &lostError{w.err} // whatever the body made of it
	case n >= 0 && written < n && (err == nil || errors.Is(err, io.EOF)):
		return io.ErrUnexpectedEOF
	case err != nil && err != io.EOF:
		return err
	}
	return nil
}
