package exchange

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Fast is the algorithm that New knows beside those of promises: XXH64, which tells
// damage as well as they do, in a sixth of the time, and proves nothing to who has an
// enemy. No promise is of it.
const Fast = "xxh64"

// fastSize is above which size content that nothing was promised of has a digest by Fast:
// SHA-256 takes a third of the time of a large transfer, and there it has but to tell
// damage.
const fastSize = 16 << 20

// OwnAlgorithm is that of the digest which stored content of size bytes has, -1 if
// that is not known beforehand, where no SHA-256 was promised.
func OwnAlgorithm(size int64) string {
	if size > fastSize {
		return Fast
	}
	return "sha256"
}

// A Digest is "algorithm:lower-case hex" of some content, as OCI spells it;
// "" is none. Beside the algorithms that New knows there may be a protocol's
// own, which prove content in a way of that protocol; whoever checks content is
// told how to compute them (cache.Options.Hashes).
type Digest string

// ParseDigest checks the spelling of s. Algorithms are sha512, sha384, sha256,
// sha1 and md5; what is parsed is somebody's promise, so [Fast] is not among them.
func ParseDigest(s string) (Digest, error) {
	algorithm, sum, _ := strings.Cut(s, ":")
	h := Digest(s).New()
	if h == nil || algorithm == Fast {
		return "", fmt.Errorf("digest %q: unknown algorithm %q", s, algorithm)
	}
	if b, err := hex.DecodeString(sum); err != nil || len(b) != h.Size() || strings.ToLower(sum) != sum {
		return "", fmt.Errorf("digest %q: want %d lower-case hex digits", s, 2*h.Size())
	}
	return Digest(s), nil
}

// NewDigest is the digest whose raw sum is given.
func NewDigest(algorithm string, sum []byte) Digest {
	return Digest(algorithm + ":" + hex.EncodeToString(sum))
}

// Algorithm is the part before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Hex is the part behind the colon.
func (d Digest) Hex() string {
	_, sum, _ := strings.Cut(string(d), ":")
	return sum
}

// New is a fresh hash of the digest's algorithm; nil if that is unknown or d is "".
func (d Digest) New() hash.Hash {
	switch d.Algorithm() {
	case "sha512":
		return sha512.New()
	case "sha384":
		return sha512.New384()
	case "sha256":
		return sha256.New()
	case "sha1":
		return sha1.New()
	case "md5":
		return md5.New()
	case Fast:
		return xxhash.New()
	}
	return nil
}
