package hub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// JSONString is the string that a scalar of a JSON text is; false for another one.
func JSONString(value []byte) (string, bool) {
	s, ok := JSONBytes(value)
	return string(s), ok
}

// JSONBytes is JSONString without a copy: valid as long as value is.
func JSONBytes(value []byte) ([]byte, bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], true
	}
	var s string
	err := json.Unmarshal(value, &s)
	return []byte(s), err == nil
}

// AppendJSONString appends s to b as a JSON text has it.
func AppendJSONString[S string | []byte](b []byte, s S) []byte {
	for i := range len(s) {
		if !inString[s[i]] {
			quoted, _ := json.Marshal(string(s)) // of a string there is no error
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// inString are the bytes that stand for themselves in a string.
var inString = func() (t [256]bool) {
	for ch := ' '; ch <= '~'; ch++ {
		t[ch] = ch != '"' && ch != '\\'
	}
	return t
}()

// ending is the index behind the closing quote of the string that b is in at i.
// False: it is not in b, and the index is where to look on.
func ending(b []byte, i int) (int, bool) {
	for {
		i = special(b, i)
		switch {
		case i == len(b):
			return i, false
		case b[i] == '"':
			return i + 1, true
		case i+1 == len(b):
			return i, false
		}
		i += 2
	}
}

// special is the index of the first quote or backslash in b from i on; the
// length of b if there is none. Most strings of an index are short.
func special(b []byte, i int) int {
	const (
		ones        = 0x0101010101010101
		highs       = 0x80 * ones
		quotes      = '"' * ones
		backslashes = '\\' * ones
	)
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, s := x^quotes, x^backslashes // what is looked for is a zero byte now
		// Of the bits the lowest one is right, higher ones may not be.
		if zero := ((q-ones)&^q | (s-ones)&^s) & highs; zero != 0 {
			return i + bits.TrailingZeros64(zero)/8
		}
	}
	for ; i < len(b); i++ {
		if b[i] == '"' || b[i] == '\\' {
			return i
		}
	}
	return len(b)
}

// inWord are the bytes of numbers, true, false and null.
var inWord = func() (t [256]bool) {
	for _, ch := range "abcdefghijklmnopqrstuvwxyz0123456789-+.E" {
		t[ch] = true
	}
	return t
}()
