package apk

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// The algorithms of an index's C: fields, Q1 and Q2, as digests spell them: the
// SHA-1 or SHA-256 of a package's control stream, beneath which the package's
// own chain hangs (see [NewHash]).
const (
	Q1 = "apk1"
	Q2 = "apk2"
)

// Bounds of what is before a package's data.
const (
	firstLook   = 16 << 10 // bytes that usually hold it
	maxHead     = 1 << 20  // bytes it may have; some ten KiB are the most that is known
	maxUnpacked = 64 << 20 // bytes it may unpack to
)

// NewHash is the hash of an algorithm, nil if that is neither [Q1] nor [Q2].
//
// A package is up to three streams of gzip, one behind the other: signature,
// control, data. The index names the control's hash, and the file .PKGINFO in
// the control the data's, datahash. The sum is that of the control if the data
// is what it promises, and zeros if it is not, or if what was written is no
// package: so a sum as an index has it proves all of a package but its
// signature, which only its own CRC-32 vouches for until the client has
// verified it.
func NewHash(algorithm string) hash.Hash {
	switch algorithm {
	case Q1:
		return &chain{control: sha1.New, size: sha1.Size}
	case Q2:
		return &chain{control: sha256.New, size: sha256.Size}
	}
	return nil
}

// A chain is a [hash.Hash] that keeps what is before the data until it can be
// read, in bounded memory, and hashes the data as it comes.
type chain struct {
	control func() hash.Hash
	size    int

	head []byte    // what came before look found the data
	next int       // how long head is when it is looked at again
	pkg  *segments // nil until the data has begun
	data hash.Hash // of what is behind the control
	bad  bool      // it is no package
}

// Segments are what a package's head says.
type segments struct {
	sum      []byte // of the control
	datahash []byte // SHA-256 of the data; nil if the control does not say
	data     int    // where it begins
}

func (c *chain) Write(p []byte) (int, error) {
	whole := len(p)
	for len(p) > 0 && c.pkg == nil && !c.bad {
		if c.next == 0 {
			c.next = firstLook
		}
		n := min(len(p), c.next-len(c.head))
		c.head, p = append(c.head, p[:n]...), p[n:]
		if len(c.head) < c.next {
			continue
		}
		switch pkg, err := look(c.head, c.control()); {
		case err == nil:
			c.pkg, c.data = pkg, sha256.New()
			c.data.Write(c.head[pkg.data:])
			c.head = nil
		case !errors.Is(err, io.ErrUnexpectedEOF) || c.next >= maxHead:
			c.bad, c.head = true, nil
		default:
			c.next *= 2
		}
	}
	if c.pkg != nil {
		c.data.Write(p)
	}
	return whole, nil
}

// Sum appends what [NewHash] says to b.
func (c *chain) Sum(b []byte) []byte {
	pkg, data := c.pkg, c.data
	if pkg == nil && !c.bad {
		found, err := look(c.head, c.control())
		if err == nil {
			pkg, data = found, sha256.New()
			data.Write(c.head[pkg.data:])
		}
	}
	if pkg == nil || pkg.datahash != nil && !bytes.Equal(data.Sum(nil), pkg.datahash) {
		return append(b, make([]byte, c.size)...)
	}
	return append(b, pkg.sum...)
}

func (c *chain) Reset()         { *c = chain{control: c.control, size: c.size} }
func (c *chain) Size() int      { return c.size }
func (c *chain) BlockSize() int { return sha256.BlockSize }

// look reads the head of a package as far as its control, whose hash it takes.
// An error matching [io.ErrUnexpectedEOF] says that there is more to come.
func look(head []byte, control hash.Hash) (*segments, error) {
	in := bytes.NewReader(head) // an io.ByteReader: gzip reads no further than a stream's end
	for {
		start := len(head) - in.Len()
		z, err := gzip.NewReader(in)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		plain := &io.LimitedReader{R: z, N: maxUnpacked}
		signature, datahash, err := readControl(plain)
		if err == nil {
			_, err = io.Copy(io.Discard, plain)
		}
		switch {
		case err != nil:
			return nil, err
		case plain.N == 0:
			return nil, errors.New("the control is too large")
		case signature:
			continue
		}
		end := len(head) - in.Len()
		control.Write(head[start:end])
		return &segments{sum: control.Sum(nil), datahash: datahash, data: end}, nil
	}
}

// readControl reads the archive in a stream that is either a signature or a
// control. Neither has an archive's end.
func readControl(r io.Reader) (signature bool, datahash []byte, err error) {
	found := false
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		switch {
		case err == io.EOF && !found:
			return false, nil, errors.New("no .PKGINFO in the control")
		case err == io.EOF:
			return false, datahash, nil
		case err != nil:
			return false, nil, err
		case strings.HasPrefix(h.Name, ".SIGN."):
			return true, nil, nil
		case h.Name == ".PKGINFO":
			found = true
			if datahash, err = readInfo(archive); err != nil {
				return false, nil, err
			}
		}
	}
}

// readInfo is the datahash that a .PKGINFO has; nil if there is none.
func readInfo(r io.Reader) (datahash []byte, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		if strings.TrimSpace(name) != "datahash" {
			continue
		}
		sum, err := hex.DecodeString(strings.TrimSpace(value))
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("datahash %q", value)
		}
		datahash = sum
	}
	return datahash, lines.Err()
}
