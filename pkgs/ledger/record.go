package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A hash stands for a key, or for the identity of an index. It is part of a
// SHA-256, since what is hashed is foreign: nobody can make two keys meet.
type hash [16]byte

func (h hash) tag() uint32 { return binary.BigEndian.Uint32(h[:]) }

// Domains keep the hashes of keys and of indexes apart.
const (
	domainKey   = 'k'
	domainIndex = 'i'
)

func hashKey(k exchange.Key) hash { return hashOf(domainKey, k.Hub, k.Path, k.Variant) }

// hashOf hashes strings, each behind its length.
func hashOf(domain byte, parts ...string) hash {
	var buf [512]byte // longer ones are on the heap
	b := append(buf[:0], domain)
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	return hash(sum[:16])
}

// A record is a fact or a mark, as it lies in the file:
//
//	0  CRC-32C of the number of its segment and of what follows here
//	4  kind
//	5  size, 7 bytes, little endian
//	12 hash
//	28 digest; then zeros up to a multiple of 32 bytes, 64 at least
type record struct {
	hash hash
	kind byte
	size int64
	sum  [64]byte
}

// Kinds of records. Zero is none: a file begins as zeros.
const (
	kindMark byte = iota + 1 // an index was read
	kindSize                 // a fact without digest
	kindMD5
	kindSHA1
	kindSHA256
	kindSHA384
	kindSHA512
	kindAPK1 // of Alpine's packages: what hub/apk computes
	kindAPK2
	kindEnd
)

var kinds = [kindEnd]struct {
	prefix   string // of the digest's spelling
	sum      int    // bytes of the digest
	strength int
}{
	kindMark:   {"", 0, 0},
	kindSize:   {"", 0, 0},
	kindMD5:    {"md5:", 16, 1},
	kindSHA1:   {"sha1:", 20, 1},
	kindSHA256: {"sha256:", 32, 2},
	kindSHA384: {"sha384:", 48, 2},
	kindSHA512: {"sha512:", 64, 2},
	kindAPK1:   {"apk1:", 20, 1},
	kindAPK2:   {"apk2:", 32, 2},
}

const (
	unit       = 32 // records begin at multiples of it
	minRecord  = 64
	maxRecord  = 96
	recordHead = 28
	maxSize    = 1<<56 - 1
)

// castagnoli is the polynomial that CPUs know.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newRecord is the record of a fact; false if there is nothing in it.
func newRecord(h hash, f exchange.Fact) (record, bool) {
	r := record{hash: h, kind: kindSize}
	if f.Size > 0 && f.Size <= maxSize {
		r.size = f.Size
	}
	for kind := kindMD5; kind < kindEnd; kind++ {
		k := &kinds[kind]
		digits, ok := strings.CutPrefix(string(f.Digest), k.prefix)
		if !ok || len(digits) != 2*k.sum {
			continue
		}
		var text [128]byte
		copy(text[:], digits)
		if _, err := hex.Decode(r.sum[:], text[:len(digits)]); err == nil {
			r.kind = kind
		} else {
			r.sum = [64]byte{}
		}
		break
	}
	return r, r.kind != kindSize || r.size > 0
}

// fact is what the record says.
func (r *record) fact() exchange.Fact {
	k := &kinds[r.kind]
	if k.sum == 0 {
		return exchange.Fact{Size: r.size}
	}
	var text [7 + 128]byte
	n := copy(text[:], k.prefix)
	n += hex.Encode(text[n:], r.sum[:k.sum])
	return exchange.Fact{Size: r.size, Digest: exchange.Digest(text[:n])}
}

// yields says whether r has nothing to tell beyond old, which is of the same
// hash, or too little to replace it.
func (r *record) yields(old *record) bool {
	if r.kind == old.kind && r.sum == old.sum {
		return r.size == old.size || r.size == 0
	}
	conflict := r.size > 0 && old.size > 0 && r.size != old.size
	return !conflict && kinds[r.kind].strength < kinds[old.kind].strength
}

func (r *record) len() int {
	return max(minRecord, (recordHead+kinds[r.kind].sum+unit-1)/unit*unit)
}

// append encodes the record for a segment.
func (r *record) append(b []byte, segment uint64) []byte {
	var e [maxRecord]byte
	binary.LittleEndian.PutUint64(e[4:], uint64(r.size)<<8|uint64(r.kind))
	copy(e[12:], r.hash[:])
	copy(e[recordHead:], r.sum[:kinds[r.kind].sum])
	binary.LittleEndian.PutUint32(e[:], checksum(e[4:r.len()], segment))
	return append(b, e[:r.len()]...)
}

// decode reads the record at the beginning of b, if a whole one is there.
func (r *record) decode(b []byte, segment uint64) bool {
	if len(b) < minRecord || b[4] == 0 || b[4] >= kindEnd {
		return false
	}
	r.kind = b[4]
	n := r.len()
	if len(b) < n || binary.LittleEndian.Uint32(b) != checksum(b[4:n], segment) {
		return false
	}
	r.size = int64(binary.LittleEndian.Uint64(b[4:]) >> 8)
	copy(r.hash[:], b[12:])
	r.sum = [64]byte{}
	copy(r.sum[:], b[recordHead:recordHead+kinds[r.kind].sum])
	return true
}

func checksum(b []byte, segment uint64) uint32 {
	// The number comes in last: an inversion of bits is as good as more input.
	return crc32.Update(uint32(segment)*0x9e3779b1^uint32(segment>>32), castagnoli, b)
}
