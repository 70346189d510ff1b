// Package gvariant reads GVariant, the serialisation of GLib (GVariant Specification
// 1.0, section 2.3; https://docs.gtk.org/glib/gvariant-specification-1.0.html), from
// memory and without copies.
//
// Its words: a container whose elements are of variable size has, behind them, their
// ends as offsets, each in as many bytes as the container's own size needs. Types are
// the caller's to know: an a{sv} has its values' in it, nothing else has.
package gvariant

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// ErrForm says that bytes are not of the type that they are read as.
var ErrForm = errors.New("bad variant")

// Dict calls f with each entry of an a{sv}: the key, and the value with its type. An
// error of f's is returned.
func Dict(b []byte, f func(key, kind string, value []byte) error) error {
	return Array(b, 8, func(e []byte) error {
		name, value, err := Pair(e, 8)
		if err != nil || len(name) == 0 || name[len(name)-1] != 0 {
			return ErrForm
		}
		i := bytes.LastIndexByte(value, 0) // the type is behind the value
		if i < 0 {
			return ErrForm
		}
		return f(string(name[:len(name)-1]), string(value[i+1:]), value[:i])
	})
}

// Array calls f with each element of an array whose elements are of variable size and
// aligned to n bytes. An error of f's is returned.
func Array(b []byte, n int, f func(e []byte) error) error {
	if len(b) == 0 {
		return nil
	}
	size := offsetSize(len(b))
	table, err := offset(b, len(b)-size, size)
	if err != nil || (len(b)-table)%size != 0 {
		return ErrForm
	}
	from := 0
	for at := table; at < len(b); at += size {
		to, err := offset(b, at, size)
		if from = Align(from, n); err != nil || from > to || to > table {
			return ErrForm
		}
		if err := f(b[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// Pair is a pair whose first member is of variable size, and the second aligned to n
// bytes.
func Pair(b []byte, n int) (first, second []byte, err error) {
	size := offsetSize(len(b))
	end, err := offset(b, len(b)-size, size)
	if err != nil || Align(end, n) > len(b)-size {
		return nil, nil, ErrForm
	}
	return b[:end], b[Align(end, n) : len(b)-size], nil
}

// End is where a member of a tuple ends: the nth, from 0, of those that are of variable
// size and not the tuple's last.
func End(b []byte, n int) (end int, err error) {
	size := offsetSize(len(b))
	return offset(b, len(b)-(n+1)*size, size)
}

// AppendEnd appends the one end of a tuple, whose other bytes b is.
func AppendEnd(b []byte, end int) []byte {
	size := 1
	for len(b)+size > 1<<(8*size)-1 {
		size *= 2
	}
	return append(b, binary.LittleEndian.AppendUint64(nil, uint64(end))[:size]...)
}

// Align is i, or the next multiple of n.
func Align(i, n int) int { return (i + n - 1) / n * n }

// offset is the one of size bytes that stands in b at a place; it leads into b.
func offset(b []byte, at, size int) (int, error) {
	if at < 0 || at+size > len(b) {
		return 0, ErrForm
	}
	var word [8]byte
	copy(word[:], b[at:at+size])
	if n := binary.LittleEndian.Uint64(word[:]); n <= uint64(len(b)) {
		return int(n), nil
	}
	return 0, ErrForm
}

// offsetSize is how many bytes an offset has in a container of n bytes.
func offsetSize(n int) int {
	switch {
	case n <= 0xff:
		return 1
	case n <= 0xffff:
		return 2
	case n <= 0xffffffff:
		return 4
	}
	return 8
}
