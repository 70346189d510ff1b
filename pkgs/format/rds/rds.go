// Package rds reads what R has serialized with saveRDS, in its binary form (R
// Internals, section 1.8: https://cran.r-project.org/doc/manuals/r-release/R-ints.html).
//
// Of all that R can write it reads one thing: a matrix of strings, which is how
// tables are kept that are lists of packages elsewhere. What is packed around it is
// the caller's. What is short of the strings is held in memory, within bounds, since
// the names of columns come behind them; what is long is passed over.
package rds

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Magic begins an object in the binary form.
const Magic = "X\n"

// Bounds of what is read of one.
const (
	maxDepth   = 16       // of objects in objects
	maxStrings = 2 << 20  // elements of the matrix; the largest known has half a million
	maxKept    = 64       // bytes of a string that is kept: names, versions and sums are short
	maxText    = 16 << 20 // bytes of all strings that are kept
)

// Types of objects, as their flags have them.
const (
	typeSymbol   = 1
	typePairs    = 2
	typeChars    = 9
	typeLogicals = 10
	typeIntegers = 13
	typeStrings  = 16
	typeList     = 19
	typeNil      = 254
	typeRef      = 255

	hasAttributes = 1 << 9
	hasTag        = 1 << 10
)

// Matrix reads a matrix of strings whose columns have names, and calls row for each
// of its rows with what stands in the columns of these names, in their order: "" for
// a column that there is not, and for a string that is missing or has more than 64
// bytes. The slice is used again for the next row.
func Matrix(r io.Reader, columns []string, row func(values []string)) error {
	d := &decoder{in: bufio.NewReader(r)}
	cells, names, err := d.matrix()
	if err != nil {
		return fmt.Errorf("rds: %w", err)
	}
	rows := len(cells) / len(names)
	from := make([][]span, len(columns)) // the cells of each column; nil for one that there is not
	for c, name := range names {
		if i := slices.Index(columns, d.string(name)); i >= 0 {
			from[i] = cells[c*rows : (c+1)*rows]
		}
	}
	values := make([]string, len(columns))
	for n := range rows {
		for i, column := range from {
			if column != nil {
				values[i] = d.string(column[n])
			}
		}
		row(values)
	}
	return nil
}

// A decoder reads objects.
type decoder struct {
	in   *bufio.Reader
	text []byte   // of the strings that are kept
	refs []string // symbols, in the order in which they came
}

// matrix reads one: its cells, column by column, and the names of its columns, of
// which there is one at least.
func (d *decoder) matrix() (cells, names []span, err error) {
	if err := d.head(); err != nil {
		return nil, nil, err
	}
	flags, err := d.int()
	if err != nil || flags&0xff != typeStrings || flags&hasAttributes == 0 {
		return nil, nil, errors.Join(errors.New("no matrix of strings"), err)
	}
	if cells, err = d.strings(); err != nil {
		return nil, nil, fmt.Errorf("the matrix: %w", err)
	}
	attributes, err := d.pairs(0)
	if err != nil {
		return nil, nil, fmt.Errorf("the names of columns: %w", err)
	}
	both, _ := attributes["dimnames"].([]any) // of rows and of columns
	if len(both) == 2 {
		names, _ = both[1].([]span)
	}
	switch {
	case len(names) == 0:
		return nil, nil, errors.New("no names of columns")
	case len(cells)%len(names) != 0:
		return nil, nil, errors.New("the matrix has no whole columns")
	}
	return cells, names, nil
}

// head reads up to the first object.
func (d *decoder) head() error {
	var magic [len(Magic)]byte
	if _, err := io.ReadFull(d.in, magic[:]); err != nil || string(magic[:]) != Magic {
		return errors.Join(errors.New("not in the binary form"), err)
	}
	version, err := d.int()
	if err != nil || version != 2 && version != 3 {
		return errors.Join(fmt.Errorf("version %d", version), err)
	}
	if _, err = d.in.Discard(8); err != nil || version == 2 { // of R that wrote it, and that can read it
		return err
	}
	encoding, err := d.int()
	if err != nil || encoding < 0 || encoding > maxKept {
		return errors.Join(errors.New("its encoding"), err)
	}
	_, err = d.in.Discard(encoding)
	return err
}

func (d *decoder) int() (int, error) {
	var b [4]byte
	_, err := io.ReadFull(d.in, b[:])
	return int(int32(binary.BigEndian.Uint32(b[:]))), err
}

// length is an int that counts at most max of what follows.
func (d *decoder) length(max int) (int, error) {
	n, err := d.int()
	if err == nil && (n < 0 || n > max) {
		err = fmt.Errorf("a length of %d", n)
	}
	return n, err
}

// A span is a string in decoder.text: where it begins and how long it is. An empty
// one is missing, or too long to matter.
type span struct{ at, len uint32 }

func (d *decoder) string(s span) string { return string(d.text[s.at : s.at+s.len]) }

// chars reads a string; its flags were not.
func (d *decoder) chars() (s span, err error) {
	flags, err := d.int()
	if err != nil || flags&0xff != typeChars {
		return s, errors.Join(errors.New("no string"), err)
	}
	n, err := d.int()
	switch {
	case err != nil:
		return s, err
	case n < 0:
		return s, nil // it is missing
	case n > maxKept:
		_, err = d.in.Discard(n)
		return s, err
	case len(d.text)+n > maxText:
		return s, errors.New("too much text")
	}
	s = span{uint32(len(d.text)), uint32(n)}
	d.text = append(d.text, make([]byte, n)...)
	_, err = io.ReadFull(d.in, d.text[s.at:])
	return s, err
}

// strings reads the elements of a vector of strings.
func (d *decoder) strings() ([]span, error) {
	n, err := d.length(maxStrings)
	if err != nil {
		return nil, err
	}
	all := make([]span, 0, min(n, 1<<16)) // the length is a promise only
	for range n {
		s, err := d.chars()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// pairs reads attributes: a list of tagged objects, up to its end.
func (d *decoder) pairs(depth int) (map[string]any, error) {
	all := map[string]any{}
	for {
		flags, err := d.int()
		if err != nil {
			return nil, err
		}
		if flags&0xff == typeNil {
			return all, nil
		}
		if flags&0xff != typePairs || flags&hasTag == 0 || flags&hasAttributes != 0 || len(all) > maxDepth {
			return nil, errors.New("attributes of another form")
		}
		tag, err := d.object(depth)
		if err != nil {
			return nil, err
		}
		value, err := d.object(depth)
		if err != nil {
			return nil, err
		}
		name, _ := tag.(string)
		all[name] = value
	}
}

// object reads an object: a string for a symbol, spans for strings, a slice for a
// list, nil for one whose content does not matter.
func (d *decoder) object(depth int) (value any, err error) {
	flags, err := d.int()
	if err != nil || depth > maxDepth {
		return nil, errors.Join(errors.New("cut, or too deep"), err)
	}
	switch flags & 0xff {
	case typeNil:
		return nil, nil
	case typeSymbol:
		s, err := d.chars()
		d.refs = append(d.refs, d.string(s))
		return d.string(s), err
	case typeRef:
		n := flags >> 8
		if n == 0 {
			n, err = d.int()
		}
		if err != nil || n < 1 || n > len(d.refs) {
			return nil, errors.Join(errors.New("a reference to nothing"), err)
		}
		return d.refs[n-1], nil
	case typeIntegers, typeLogicals:
		n, err := d.length(maxStrings)
		if err == nil {
			_, err = d.in.Discard(4 * n)
		}
		if err != nil {
			return nil, err
		}
	case typeStrings:
		if value, err = d.strings(); err != nil {
			return nil, err
		}
	case typeList:
		n, err := d.length(maxDepth)
		if err != nil {
			return nil, err
		}
		list := make([]any, n)
		for i := range list {
			if list[i], err = d.object(depth + 1); err != nil {
				return nil, err
			}
		}
		value = list
	default:
		return nil, fmt.Errorf("an object of type %d", flags&0xff)
	}
	if flags&hasAttributes != 0 {
		_, err = d.pairs(depth + 1)
	}
	return value, err
}
