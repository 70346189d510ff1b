// Package msgpack reads MessagePack
// (https://github.com/msgpack/msgpack/blob/master/spec.md) as a stream: documents of
// any length, of which little is wanted, in bounded memory. The format itself is
// read by github.com/tinylib/msgp.
package msgpack

import (
	"errors"
	"fmt"
	"io"

	"github.com/tinylib/msgp/msgp"
)

const (
	maxText  = 1 << 20 // bytes of a string
	maxDepth = 64      // maps and arrays that a value may be in
)

// A Visitor hears of what is in the maps of a document. What its functions are given
// is valid until they return.
type Visitor struct {
	// Scalar is called with each value that is neither a map nor an array and is in a
	// map: the keys that lead to it, and its text or bytes, or its number. Elements of
	// an array have the array's keys; what is neither text nor an integer is nil and 0.
	// An error of Scalar's is returned.
	Scalar func(keys []string, text []byte, number int64) error

	// End is called at the end of each map that is in another one, with the keys that
	// lead to it. It may be nil.
	End func(keys []string)
}

// Walk reads one value. What it holds is one string, of at most 1 MiB, and the keys
// on the way to it. A document that is cut is [io.ErrUnexpectedEOF].
func Walk(r io.Reader, v Visitor) error {
	// Where it can seek, msgp passes over what there is not, and sees no cut.
	plain := struct{ io.Reader }{r}
	w := &walker{Visitor: v, in: msgp.NewReaderSize(plain, 64<<10)}
	err := w.value(0)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

type walker struct {
	Visitor
	in   *msgp.Reader
	keys []string
	buf  []byte
}

func (w *walker) value(depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deep")
	}
	kind, err := w.in.NextType()
	if err != nil {
		return err
	}
	switch kind {
	case msgp.MapType:
		return w.object(depth)
	case msgp.ArrayType:
		n, err := w.in.ReadArrayHeader()
		for ; err == nil && n > 0; n-- {
			err = w.value(depth + 1)
		}
		return err
	case msgp.StrType:
		text, err := w.text(w.in.ReadStringHeader())
		return w.give(text, 0, err)
	case msgp.BinType:
		text, err := w.text(w.in.ReadBytesHeader())
		return w.give(text, 0, err)
	case msgp.IntType:
		n, err := w.in.ReadInt64()
		return w.give(nil, n, err)
	case msgp.UintType:
		n, err := w.in.ReadUint64()
		return w.give(nil, int64(n), err)
	}
	return w.give(nil, 0, w.in.Skip())
}

// object reads a map.
func (w *walker) object(depth int) error {
	n, err := w.in.ReadMapHeader()
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		key, err := w.text(w.in.ReadStringHeader())
		if err != nil {
			return err
		}
		w.keys = append(w.keys, string(key))
		if err := w.value(depth + 1); err != nil {
			return err
		}
		w.keys = w.keys[:len(w.keys)-1]
	}
	if w.End != nil && len(w.keys) > 0 {
		w.End(w.keys)
	}
	return nil
}

// text reads the n bytes whose header was read.
func (w *walker) text(n uint32, err error) ([]byte, error) {
	if err == nil && n > maxText {
		err = fmt.Errorf("a string of %d bytes", n)
	}
	if err != nil {
		return nil, err
	}
	if cap(w.buf) < int(n) {
		w.buf = make([]byte, n)
	}
	b := w.buf[:n]
	_, err = w.in.ReadFull(b)
	return b, err
}

// give hands a scalar on; one that is in no map is nobody's.
func (w *walker) give(text []byte, n int64, err error) error {
	if err != nil || len(w.keys) == 0 {
		return err
	}
	return w.Scalar(w.keys, text, n)
}
