package hub

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Sizes of a window.
const (
	windowSize = 64 << 10
	maxToken   = 1 << 20 // a link, a name or a tag that must be seen whole
)

var errToken = errors.New("a token of more than 1 MiB")

// A window is the part of a text that an edit looks at while it copies the text
// from src to dst. Most of a text passes through it unlooked-at; what is held is
// kept whole.
type window struct {
	src io.Reader
	dst *bufio.Writer
	buf []byte

	from int   // buf[from:pos] was looked at, and is to be written
	pos  int   // where the edit is
	end  int   // buf[pos:end] is still to be looked at
	hold int   // buf[hold:] stays in the buffer; -1: nothing is held
	base int64 // offset of buf[0] in the text
	err  error // why there is no more: io.EOF at the end of the text
}

func newWindow(dst io.Writer, src io.Reader) *window {
	return &window{src: src, dst: bufio.NewWriterSize(dst, windowSize), buf: make([]byte, windowSize), hold: -1}
}

// more reads on behind end; what is neither held nor to be looked at is written.
// It is false where there is no more, and err says why. Indexes into buf move.
func (w *window) more() bool {
	keep := w.pos
	if w.hold >= 0 {
		keep = w.hold
	}
	if keep > w.from {
		if _, err := w.dst.Write(w.buf[w.from:keep]); err != nil {
			w.err = err
		}
	}
	if w.err != nil {
		w.from = keep
		return false
	}
	copy(w.buf, w.buf[keep:w.end])
	w.from, w.pos, w.end, w.base = 0, w.pos-keep, w.end-keep, w.base+int64(keep)
	if w.hold >= 0 {
		w.hold = 0
	}
	if w.end == len(w.buf) {
		if len(w.buf) >= maxToken {
			w.err = errToken
			return false
		}
		w.buf = append(w.buf, make([]byte, len(w.buf))...)
	}
	for range 100 {
		n, err := w.src.Read(w.buf[w.end:])
		w.end += n
		if err != nil {
			w.err = err // what was read with it is looked at first
		}
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	w.err = io.ErrNoProgress
	return false
}

// replace writes text in place of buf[from:to], which was not written yet.
func (w *window) replace(from, to int, text []byte) {
	w.dst.Write(w.buf[w.from:from]) // its errors are sticky
	w.dst.Write(text)
	w.from = to
}

// finish writes the rest; the text must have come to its end.
func (w *window) finish() error {
	if w.err != nil && w.err != io.EOF {
		return w.err
	}
	w.dst.Write(w.buf[w.from:w.pos])
	w.from = w.pos
	return w.dst.Flush()
}

// fail is an error about the text at pos; where the text cannot be read on, that is why.
func (w *window) fail(what string) error {
	at := w.base + int64(w.pos)
	switch {
	case w.pos < w.end, w.err == nil:
		return fmt.Errorf("%s at byte %d", what, at)
	case w.err == io.EOF:
		return fmt.Errorf("%s at byte %d: %w", what, at, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("byte %d: %w", at, w.err)
}
