package hub

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Bounds of what an index may become when it is unpacked (FAULTS limits).
const (
	MaxUnpacked = 1 << 30 // bytes
	maxRatio    = 1000    // unpacked to packed bytes, from maxFree on
	maxFree     = 1 << 20 // unpacked bytes that need no ratio
)

// ErrBomb says that content grows beyond what an index may have when it is unpacked.
var ErrBomb = errors.New("the index unpacks to more than is allowed")

// Unpack reads content that may be packed by gzip, xz, zstd or bzip2: its first
// bytes decide, not its name, and content that is not packed is read as it is.
// What comes out is bounded by [MaxUnpacked] and by its ratio to what goes in;
// beyond, reads are [ErrBomb]. The caller closes it; r is not closed.
func Unpack(r io.Reader) (io.ReadCloser, error) {
	in := &counted{r: r}
	b := bufio.NewReaderSize(in, 64<<10)
	magic, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	out := &unpacked{in: in, close: func() {}}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		out.r, out.close = z, func() { z.Close() }
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		// The dictionary is what the header says, so it is bounded too.
		z, err := xz.ReaderConfig{DictCap: 64 << 20}.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("xz: %w", err)
		}
		out.r = z
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderMaxMemory(MaxUnpacked))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		out.r, out.close = z, z.Close
	case bytes.HasPrefix(magic, []byte("BZh")):
		out.r = bzip2.NewReader(b)
	default:
		out.r = b
	}
	return out, nil
}

// ReadAll is the whole of r, which has max bytes at most, or it is an error.
func ReadAll(r io.Reader, max int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("more than %d bytes", max)
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}

// Lines calls f with each line of r, without its end, until that says an error: that
// of Lines too, as is a line of more than max bytes. A line is valid until f returns.
func Lines(r io.Reader, max int, f func(line []byte) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, min(max, 64<<10)), max)
	for in.Scan() {
		if err := f(in.Bytes()); err != nil {
			return err
		}
	}
	return in.Err()
}

// counted counts what is read through it.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type unpacked struct {
	r     io.Reader
	in    *counted
	n     int64
	close func()
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.n += int64(n)
	if u.n > MaxUnpacked || u.n > maxFree && u.n > maxRatio*u.in.n {
		return 0, ErrBomb
	}
	return n, err
}

func (u *unpacked) Close() error {
	u.close()
	return nil
}
