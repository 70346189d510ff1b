package proxytest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
)

// period is how long pseudo-random content goes without repeating itself. It
// is prime, so content put at a wrong offset is wrong content.
const period = 1048573

// A Body is content known by its recipe. It holds at most a mebibyte, whatever
// its size, and may be used by many goroutines. The zero Body is empty.
type Body struct {
	pattern []byte // repeated up to size
	size    int64
	flip    int64 // 1 + the offset of the byte with a wrong bit; 0: none
}

// Text is the content s.
func Text(s string) Body { return Body{pattern: []byte(s), size: int64(len(s))} }

// Random is size bytes that look random, the same ones for the same seed. A
// longer body of that seed begins with them.
func Random(size int64, seed uint64) Body {
	pattern := make([]byte, min(size, period))
	var key [32]byte
	copy(key[:], strconv.FormatUint(seed, 10))
	_, _ = rand.NewChaCha8(key).Read(pattern)
	return Body{pattern: pattern, size: size}
}

// ParseBody reads a body as scripts spell it: empty, random:SIZE,
// random:SIZE:SEED, or the text itself.
func ParseBody(s string) (Body, error) {
	if s == "empty" {
		return Body{}, nil
	}
	recipe, ok := strings.CutPrefix(s, "random:")
	if !ok {
		return Text(s), nil
	}
	n, seed, seeded := strings.Cut(recipe, ":")
	size, err := strconv.ParseInt(n, 10, 64)
	if err != nil || size < 0 {
		return Body{}, fmt.Errorf("body %q: bad size", s)
	}
	var number uint64
	if seeded {
		if number, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return Body{}, fmt.Errorf("body %q: bad seed", s)
		}
	}
	return Random(size, number), nil
}

// Flipped is b with one bit of the byte at off wrong.
func (b Body) Flipped(off int64) Body {
	b.flip = off + 1
	return b
}

// Size is the number of bytes.
func (b Body) Size() int64 { return b.size }

// Bytes is the whole content.
func (b Body) Bytes() []byte {
	p := make([]byte, b.size)
	_, _ = b.ReadAt(p, 0)
	return p
}

// SHA256 is the digest in hexadecimal.
func (b Body) SHA256() string {
	h := sha256.New()
	_, _ = io.Copy(h, b.Section(0, b.size))
	return hex.EncodeToString(h.Sum(nil))
}

// Section reads n bytes from off on.
func (b Body) Section(off, n int64) *io.SectionReader { return io.NewSectionReader(b, off, n) }

// ReadAt implements [io.ReaderAt].
func (b Body) ReadAt(p []byte, off int64) (int, error) {
	var n int
	for n < len(p) {
		piece := b.piece(off+int64(n), int64(len(p)-n))
		if len(piece) == 0 {
			return n, io.EOF
		}
		n += copy(p[n:], piece)
	}
	return n, nil
}

// piece is what can be had from off on without copying, at most n bytes, and
// nothing at the end. It is not to be written to.
func (b Body) piece(off, n int64) []byte {
	if off < 0 || off >= b.size {
		return nil
	}
	n = min(n, b.size-off)
	if flip := b.flip - 1; b.flip > 0 && off <= flip {
		if off == flip {
			return []byte{b.pattern[off%int64(len(b.pattern))] ^ 1}
		}
		n = min(n, flip-off)
	}
	from := off % int64(len(b.pattern))
	return b.pattern[from:min(from+n, int64(len(b.pattern)))]
}

var _ io.ReaderAt = Body{}
