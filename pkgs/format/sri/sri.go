// Package sri reads integrity metadata as Subresource Integrity spells it: items such
// as sha512-BASE64?OPTIONS, with blanks between (https://www.w3.org/TR/SRI/, §3.5).
package sri

import (
	"bytes"
	"encoding/base64"
)

// maxSum is the length of the longest sum, in bytes.
const maxSum = 64

// Strongest is the sum of the strongest digest in list, appended to dst, and its
// algorithm: sha512, sha384, sha256, and also sha1 and md5. The longest is the
// strongest; what is no digest is passed over. algorithm is "" if there is none.
func Strongest(dst, list []byte) (algorithm string, sum []byte) {
	size := 0 // of the best one
	for len(list) > 0 {
		var item []byte
		item, list = word(list)
		item, _, _ = bytes.Cut(item, []byte("?"))
		name, text, _ := bytes.Cut(item, []byte("-"))
		candidate, n := known(name)
		var buf [maxSum + 3]byte
		if n <= size || base64.StdEncoding.DecodedLen(len(text)) > len(buf) {
			continue
		}
		if m, err := base64.StdEncoding.Decode(buf[:], text); err == nil && m == n {
			algorithm, size = candidate, n
			sum = append(dst, buf[:n]...)
		}
	}
	return algorithm, sum
}

// word is s up to the first blank, and what is behind that.
func word(s []byte) (first, rest []byte) {
	for i, ch := range s {
		if ch <= ' ' {
			return s[:i], s[i+1:]
		}
	}
	return s, nil
}

// known is an algorithm that an item may name, and the length of its sums in bytes; 0
// of another one.
func known(name []byte) (algorithm string, size int) {
	switch string(name) {
	case "sha512":
		return "sha512", 64
	case "sha384":
		return "sha384", 48
	case "sha256":
		return "sha256", 32
	case "sha1":
		return "sha1", 20
	case "md5":
		return "md5", 16
	}
	return "", 0
}
