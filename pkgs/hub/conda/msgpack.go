package conda

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	maxText  = 1 << 20 // bytes of a string
	maxDepth = 64      // maps and arrays that a value may be in
)

// readMsgpack reads one value (https://github.com/msgpack/msgpack/blob/master/spec.md)
// and calls scalar with each that is neither a map nor an array: the keys of the maps
// that it is in, and its text or its number. ended, if it is not nil, is called at the
// end of each map. What they are given is valid until they return. It streams: what
// it holds is one string, and the keys on the way to it.
func readMsgpack(r io.Reader, scalar func(path []string, text []byte, n int64) error, ended func(path []string)) error {
	m := &msgpack{in: bufio.NewReader(r), scalar: scalar, ended: ended}
	err := m.value(0)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type msgpack struct {
	in     *bufio.Reader
	scalar func(path []string, text []byte, n int64) error
	ended  func(path []string)
	path   []string
	buf    []byte
}

// number reads a big-endian one of n bytes.
func (m *msgpack) number(n int) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(m.in, b[8-n:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// text reads n bytes.
func (m *msgpack) text(n uint64) ([]byte, error) {
	if n > maxText {
		return nil, fmt.Errorf("a string of %d bytes", n)
	}
	if uint64(cap(m.buf)) < n {
		m.buf = make([]byte, n)
	}
	b := m.buf[:n]
	_, err := io.ReadFull(m.in, b)
	return b, err
}

// give hands a scalar on. One that is in nothing is none of anybody's.
func (m *msgpack) give(text []byte, n int64, err error) error {
	if err != nil || len(m.path) == 0 {
		return err
	}
	return m.scalar(m.path, text, n)
}

func (m *msgpack) value(depth int) error {
	b, err := m.in.ReadByte()
	if err != nil {
		return err
	}
	switch {
	case depth > maxDepth:
		return errors.New("nested too deep")
	case b <= 0x7f, b >= 0xe0:
		return m.give(nil, int64(int8(b)), nil)
	case b <= 0x8f:
		return m.object(uint64(b&0xf), depth)
	case b <= 0x9f:
		return m.array(uint64(b&0xf), depth)
	case b <= 0xbf:
		return m.string(uint64(b & 0x1f))
	case b == 0xc0, b == 0xc2, b == 0xc3: // nil, false, true
		return m.give(nil, int64(b&1), nil)
	case b == 0xc1:
		return errors.New("a byte that begins nothing")
	case b >= 0xd4 && b <= 0xd8: // of a type, 1 to 16 bytes
		return m.string(1 + 1<<(b-0xd4))
	case b >= 0xca && b <= 0xd3: // floats, integers without and with a sign
		size := map[byte]int{0xca: 4, 0xcb: 8}[b]
		if size == 0 {
			size = 1 << ((b - 0xcc) & 3)
		}
		n, err := m.number(size)
		return m.give(nil, int64(n), err)
	}
	// What is left has a length: of 1, 2 or 4 bytes.
	size := map[byte]int{0xc4: 1, 0xc5: 2, 0xc6: 4, 0xc7: 1, 0xc8: 2, 0xc9: 4, 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4}[b]
	n, err := m.number(size)
	switch {
	case err != nil:
		return err
	case b >= 0xde:
		return m.object(n, depth)
	case b >= 0xdc:
		return m.array(n, depth)
	case b >= 0xc7 && b <= 0xc9: // of a type, which is one byte more
		n++
	}
	return m.string(n)
}

func (m *msgpack) string(n uint64) error {
	text, err := m.text(n)
	return m.give(text, 0, err)
}

func (m *msgpack) array(n uint64, depth int) error {
	for ; n > 0; n-- {
		if err := m.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

func (m *msgpack) object(n uint64, depth int) error {
	for ; n > 0; n-- {
		key, err := m.key()
		if err != nil {
			return err
		}
		m.path = append(m.path, key)
		if err := m.value(depth + 1); err != nil {
			return err
		}
		m.path = m.path[:len(m.path)-1]
	}
	if m.ended != nil && len(m.path) > 0 {
		m.ended(m.path)
	}
	return nil
}

// key reads a key, which is a string.
func (m *msgpack) key() (string, error) {
	b, err := m.in.ReadByte()
	if err != nil {
		return "", err
	}
	n := uint64(b & 0x1f)
	switch {
	case b >= 0xa0 && b <= 0xbf:
	case b >= 0xd9 && b <= 0xdb:
		n, err = m.number(1 << (b - 0xd9))
	default:
		err = errors.New("a key that is no string")
	}
	if err != nil {
		return "", err
	}
	text, err := m.text(n)
	return string(text), err
}
