// Package openpgp reads what of an OpenPGP signature (RFC 9580) can be known without a
// key. It verifies nothing.
package openpgp

import "encoding/binary"

// Made is when a signature was made, in Unix time, as its hashed subpackets say: of a
// packet of version 4 with its header, of either format (sections 4.2 and 5.2.3).
func Made(signature []byte) (at int64, ok bool) {
	const (
		tagOld, tagNew = 0x80 | 2<<2, 0xc0 | 2
		creation       = 2
	)
	b, skip := signature, 0 // of tag and length
	switch {
	case len(b) < 3:
	case b[0]&^3 == tagOld && b[0]&3 < 3:
		skip = 1 + 1<<(b[0]&3)
	case b[0] == tagNew && b[1] < 192:
		skip = 2
	case b[0] == tagNew && b[1] < 224:
		skip = 3
	case b[0] == tagNew && b[1] == 255:
		skip = 6
	}
	if skip == 0 || len(b) < skip+6 || b[skip] != 4 {
		return 0, false
	}
	b = b[skip+4:] // behind version, type and algorithms
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return 0, false
	}
	for b = b[:n]; len(b) > 0; {
		size, head := int(b[0]), 1
		if size >= 192 {
			if size == 255 || len(b) < 2 {
				return 0, false // longer than any that matters
			}
			size, head = (size-192)<<8+int(b[1])+192, 2
		}
		if b = b[head:]; size == 0 || size > len(b) {
			return 0, false
		}
		if b[0]&0x7f == creation && size == 5 {
			return int64(binary.BigEndian.Uint32(b[1:])), true
		}
		b = b[size:]
	}
	return 0, false
}
