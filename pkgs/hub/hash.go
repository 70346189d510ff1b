package hub

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"runtime"
)

// NewHash is a hash by a protocol's own rule, with which content is proved as it comes
// (cache.Options.Hashes): its sum, of size bytes, is that which sum makes of the
// content, and of zeros where sum says that the content is not what it should be. sum
// reads all of the content that its sum is to vouch for, in bounded memory, on a
// goroutine of the hash's own, which ends with Sum, with Reset, or when the hash is
// garbage. The content ends with the first Sum.
func NewHash(size int, sum func(content io.Reader) ([]byte, error)) hash.Hash {
	return &reading{size: size, sum: sum}
}

// A reading is a hash of what a function reads of content.
type reading struct {
	size int
	sum  func(content io.Reader) ([]byte, error)

	in      *io.PipeWriter // to the goroutine; nil before the first Write
	result  chan []byte
	cleanup runtime.Cleanup
	done    []byte // what it was, after Sum
}

// errUnread ends the reading of content that nobody wants to know more of.
var errUnread = errors.New("nobody reads on")

// Write never fails: what is wrong shows in the sum.
func (h *reading) Write(p []byte) (int, error) {
	if h.done == nil {
		if h.in == nil {
			h.begin()
		}
		_, _ = h.in.Write(p) // an error says that the rest does not matter
	}
	return len(p), nil
}

func (h *reading) begin() {
	out, in := io.Pipe()
	result := make(chan []byte, 1)
	go func(size int, sum func(io.Reader) ([]byte, error)) { // not h, which must become garbage
		all, err := sum(out)
		if err != nil {
			all = make([]byte, size)
		}
		out.CloseWithError(errUnread)
		result <- all
	}(h.size, h.sum)
	h.in, h.result = in, result
	h.cleanup = runtime.AddCleanup(h, func(in *io.PipeWriter) { in.CloseWithError(errUnread) }, in)
}

func (h *reading) Sum(b []byte) []byte {
	if h.done == nil {
		if h.in == nil {
			h.begin()
		}
		h.cleanup.Stop()
		h.in.Close()
		h.done = <-h.result
	}
	return append(b, h.done...)
}

func (h *reading) Reset() {
	if h.in != nil {
		h.cleanup.Stop()
		h.in.CloseWithError(errUnread)
	}
	*h = reading{size: h.size, sum: h.sum}
}

func (h *reading) Size() int      { return h.size }
func (h *reading) BlockSize() int { return sha256.BlockSize }
