// Package members reads a gzip file member by member (RFC 1952, section 2.2): for
// formats that give each of the members, which lie one behind the other, a meaning of
// its own. Whoever wants their contents as one stream reads the file by compress/gzip.
package members

import (
	"bufio"
	"compress/gzip"
	"io"
)

// A Reader reads the members of one file, and nothing beyond the end of a member before
// it is asked for more. It is for one goroutine.
type Reader struct {
	file *bufio.Reader
	tee  *bufio.Writer // hears what is read of the file
	z    *gzip.Reader
}

// NewReader reads the file that r is.
func NewReader(r io.Reader) *Reader {
	return &Reader{file: bufio.NewReaderSize(r, 64<<10), tee: bufio.NewWriter(io.Discard), z: new(gzip.Reader)}
}

// Next is the content of the next member, when that of the one before was read to its
// end. What the member is in the file is written to packed: all of it when the content
// has come to its end without an error. The error is [io.EOF] where the file ends.
func (r *Reader) Next(packed io.Writer) (content io.Reader, err error) {
	r.tee.Reset(packed)
	if err := r.z.Reset(file{r}); err != nil {
		return nil, err
	}
	r.z.Multistream(false)
	return member{r}, nil
}

// Rest is what lies behind the member that was read last, as it is in the file.
func (r *Reader) Rest() io.Reader { return r.file }

// member is the content of the one that is being read.
type member struct{ r *Reader }

func (m member) Read(p []byte) (int, error) {
	n, err := m.r.z.Read(p)
	if err == io.EOF {
		if e := m.r.tee.Flush(); e != nil {
			err = e
		}
	}
	return n, err
}

// file is what gzip reads of the file, byte by byte, so that it does not read ahead.
type file struct{ r *Reader }

func (f file) Read(p []byte) (int, error) {
	n, err := f.r.file.Read(p)
	f.r.tee.Write(p[:n]) // its errors are sticky
	return n, err
}

func (f file) ReadByte() (byte, error) {
	b, err := f.r.file.ReadByte()
	if err == nil {
		f.r.tee.WriteByte(b)
	}
	return b, err
}
