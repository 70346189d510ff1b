package flatpak

import (
	"bufio"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"runtime"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Algorithms of digests that names of packed content are.
const (
	File   = "ostree" // of a .filez: the SHA-256 of what the object is when it is not packed
	Packed = "gunzip" // the SHA-256 of what gzip has packed
)

// NewHash is the hash of an algorithm, nil if that is neither [File] nor [Packed].
// Its content ends with the first Sum. Of content that is not what it should be the
// sum is of zeros. Content is unpacked on a goroutine of the hash's own, in bounded
// memory, which ends with Sum, with Reset, or when the hash is garbage.
func NewHash(algorithm string) hash.Hash {
	switch algorithm {
	case File:
		return &unpacking{sum: sumFile}
	case Packed:
		return &unpacking{sum: sumPacked}
	}
	return nil
}

// An unpacking is a hash of what content unpacks to.
type unpacking struct {
	sum func(content io.Reader) ([]byte, error)

	in      *io.PipeWriter // to the goroutine; nil before the first Write
	result  chan []byte
	cleanup runtime.Cleanup
	done    []byte // what it was, after Sum
}

// Write never fails: what is wrong shows in the sum.
func (u *unpacking) Write(p []byte) (int, error) {
	if u.done == nil {
		if u.in == nil {
			u.begin()
		}
		_, _ = u.in.Write(p) // an error says that the rest does not matter
	}
	return len(p), nil
}

func (u *unpacking) begin() {
	out, in := io.Pipe()
	result := make(chan []byte, 1)
	go func(sum func(io.Reader) ([]byte, error)) {
		all, err := sum(out)
		if err != nil {
			all = make([]byte, sha256.Size)
		}
		out.CloseWithError(errWrong)
		result <- all
	}(u.sum)
	u.in, u.result = in, result
	u.cleanup = runtime.AddCleanup(u, func(in *io.PipeWriter) { in.CloseWithError(errWrong) }, in)
}

func (u *unpacking) Sum(b []byte) []byte {
	if u.done == nil {
		if u.in == nil {
			u.begin()
		}
		u.cleanup.Stop()
		u.in.Close()
		u.done = <-u.result
	}
	return append(b, u.done...)
}

func (u *unpacking) Reset() {
	if u.in != nil {
		u.cleanup.Stop()
		u.in.CloseWithError(errWrong)
	}
	*u = unpacking{sum: u.sum}
}

func (u *unpacking) Size() int      { return sha256.Size }
func (u *unpacking) BlockSize() int { return sha256.BlockSize }

var errWrong = errors.New("content that is not what its name says")

// sumPacked is [Packed] of content.
func sumPacked(content io.Reader) ([]byte, error) {
	plain, err := hub.Unpack(content)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, plain)
	return sum.Sum(nil), err
}

// maxHeader is how long the header of a file may be in bytes: extended attributes
// and the target of a link are in it.
const maxHeader = 1 << 20

// sumFile is [File] of content: the length of a header in big endian and four zeros,
// the header (tuuuusa(ayay)), which begins with the size, and the packed file. What
// has the name as its sum is the same with a header (uuuusa(ayay)), not packed.
func sumFile(content io.Reader) ([]byte, error) {
	in := bufio.NewReader(content)
	var lead [8]byte
	if _, err := io.ReadFull(in, lead[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(lead[:]))
	if n < 8+16+2 || n > maxHeader || binary.BigEndian.Uint32(lead[4:]) != 0 {
		return nil, errWrong
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint64(head)
	width := offsetSize(n)
	link, err := offset(head, n-width, width) // where the target of a link ends
	if err != nil || link < 8 {
		return nil, errWrong
	}
	head = head[8 : n-width]
	width = 1
	for len(head)+width > 1<<(8*width)-1 {
		width *= 2
	}
	head = append(head, binary.LittleEndian.AppendUint64(nil, uint64(link-8))[:width]...)
	binary.BigEndian.PutUint32(lead[:], uint32(len(head)))
	sum := sha256.New()
	sum.Write(lead[:])
	sum.Write(head)
	if _, err := in.Peek(1); err == io.EOF && size == 0 {
		return sum.Sum(nil), nil // a link
	}
	plain := flate.NewReader(in)
	defer plain.Close()
	if got, err := io.Copy(sum, plain); err != nil || uint64(got) != size {
		return nil, errors.Join(errWrong, err)
	}
	if _, err := in.Peek(1); err != io.EOF {
		return nil, errWrong // there is more behind
	}
	return sum.Sum(nil), nil
}
