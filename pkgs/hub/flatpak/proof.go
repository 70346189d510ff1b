package flatpak

import (
	"bufio"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/gvariant"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Algorithms of digests that names of packed content are.
const (
	File   = "ostree" // of a .filez: the SHA-256 of what the object is when it is not packed
	Packed = "gunzip" // the SHA-256 of what gzip has packed
)

// NewHash is the hash of an algorithm ([hub.NewHash]), nil if that is neither [File]
// nor [Packed].
func NewHash(algorithm string) hash.Hash {
	switch algorithm {
	case File:
		return hub.NewHash(sha256.Size, sumFile)
	case Packed:
		return hub.NewHash(sha256.Size, sumPacked)
	}
	return nil
}

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
	link, attributes, err := gvariant.Pair(head, 1) // link ends with the target of a link
	if err != nil || len(link) < 8 {
		return nil, errWrong
	}
	head = gvariant.AppendEnd(append(link[8:], attributes...), len(link)-8)
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
