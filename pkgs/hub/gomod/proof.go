package gomod

import (
	"bytes"
	"io"
)

// hold is how many bytes the reader of a proof is behind until it is proved. It
// is more than the central directory of most zips, without which the rest is of
// no use.
const hold = 64 << 10

// A proof is content that is copied while it is read, and checked before its end
// is. It is read by one goroutine.
type proof struct {
	src    io.ReadCloser
	size   int64 // as the head has it; -1 if it does not
	kept   file
	check  func(content io.ReaderAt, size int64) error
	strict bool // without a copy there is no content either

	buf     []byte
	written int64     // to kept
	served  int64     // to the reader
	err     error     // why nothing more comes from src: io.EOF once it is proved
	plain   io.Reader // the rest of the content, if it cannot be copied
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// begin reads until there is something to serve, or all of it.
func (p *proof) begin() error {
	p.buf = make([]byte, hold)
	for p.served == p.limit() && p.err == nil && p.plain == nil {
		p.step()
	}
	if p.err == io.EOF {
		return nil
	}
	return p.err
}

// limit is how far the content may be read.
func (p *proof) limit() int64 {
	if p.err == io.EOF {
		return p.written
	}
	return max(p.served, p.written-hold)
}

func (p *proof) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for p.plain == nil {
		if n := p.limit() - p.served; n > 0 {
			read, err := p.kept.ReadAt(b[:min(int64(len(b)), n)], p.served)
			p.served += int64(read)
			if read > 0 {
				err = nil
			}
			return read, err
		}
		if p.err != nil {
			return 0, p.err
		}
		p.step()
	}
	return p.plain.Read(b)
}

// step copies a little, and checks all of it at its end.
func (p *proof) step() {
	n, err := p.src.Read(p.buf)
	if n > 0 {
		if _, failed := p.kept.WriteAt(p.buf[:n], p.written); failed != nil {
			if p.strict {
				p.err = failed
				return
			}
			rest := io.NewSectionReader(p.kept, p.served, p.written-p.served)
			p.plain = io.MultiReader(rest, bytes.NewReader(p.buf[:n]), p.src)
			return
		}
		p.written += int64(n)
	}
	switch {
	case err == io.EOF && p.size >= 0 && p.written != p.size:
		p.err = io.ErrUnexpectedEOF
	case err == io.EOF:
		if p.err = p.check(p.kept, p.written); p.err == nil {
			p.err = io.EOF
		}
	default:
		p.err = err
	}
}

func (p *proof) Close() error {
	p.kept.Close()
	return p.src.Close()
}

// memory is a file for what is short. Writes append.
type memory struct{ b []byte }

func (m *memory) WriteAt(b []byte, _ int64) (int, error) {
	m.b = append(m.b, b...)
	return len(b), nil
}

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(b, off)
}

func (m *memory) Close() error { return nil }
