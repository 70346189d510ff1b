// Package object is content that both ends of a measurement know: SIZE bytes
// that look random and follow from the path /anything/SIZE-SEED. Nothing is
// stored and checking costs a comparison, so neither end is what is measured.
package object

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
)

// period is prime, so content at a wrong offset is wrong content.
const period = 1048573

// Pattern is what all objects repeat; it is twice a period long, so that a
// piece of up to a period can be had at every offset.
type Pattern []byte

// NewPattern makes the one pattern there is.
func NewPattern() Pattern {
	p := make([]byte, period, 2*period)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return append(p, p...)
}

// An Object is one object of a pattern.
type Object struct {
	Size    int64
	seed    int64
	pattern Pattern
}

// At is the object that a path names.
func (p Pattern) At(name string) (Object, error) {
	size, seed, ok := strings.Cut(path.Base(name), "-")
	n, err := strconv.ParseInt(size, 10, 64)
	if !ok || err != nil || n < 0 {
		return Object{}, fmt.Errorf("object %q: want SIZE-SEED", name)
	}
	s, err := strconv.ParseInt(seed, 10, 64)
	if err != nil || s < 0 {
		return Object{}, fmt.Errorf("object %q: want SIZE-SEED", name)
	}
	return Object{Size: n, seed: s, pattern: p}, nil
}

// Piece is what stands at off: at most n bytes, at least one before the end.
// It is not to be written to.
func (o Object) Piece(off, n int64) []byte {
	n = min(n, o.Size-off, period)
	from := (off + o.seed*7919) % period
	return o.pattern[from : from+n]
}

// SHA256 is that of the content.
func (o Object) SHA256() (sum [sha256.Size]byte) {
	h := sha256.New()
	for off := int64(0); off < o.Size; {
		p := o.Piece(off, o.Size-off)
		h.Write(p)
		off += int64(len(p))
	}
	h.Sum(sum[:0])
	return sum
}

// Many is the path of one of a great many objects, in 256 folders.
func Many(size, seed int64) string { return fmt.Sprintf("/m/%02x/%d-%d", seed%256, size, seed) }

// Equal says whether p is what stands at off.
func (o Object) Equal(p []byte, off int64) bool {
	if off+int64(len(p)) > o.Size {
		return false
	}
	for len(p) > 0 {
		want := o.Piece(off, int64(len(p)))
		if !bytes.Equal(p[:len(want)], want) {
			return false
		}
		p, off = p[len(want):], off+int64(len(want))
	}
	return true
}
