package cran

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// rdsMagic begins an object that R has serialized in its binary form (R Internals,
// section 1.8).
const rdsMagic = "X\n"

// Bounds of what is read of one.
const (
	maxDepth   = 16       // of objects in objects
	maxStrings = 2 << 20  // elements of the table; CRAN's has half a million
	maxKept    = 64       // bytes of a string that is kept: names, versions and sums are short
	maxText    = 16 << 20 // bytes of all strings that are kept
)

// Types of objects, as their flags have them.
const (
	rdsSymbol   = 1
	rdsPairs    = 2
	rdsChars    = 9
	rdsLogicals = 10
	rdsIntegers = 13
	rdsStrings  = 16
	rdsList     = 19
	rdsNil      = 254
	rdsRef      = 255

	rdsHasAttributes = 1 << 9
	rdsHasTag        = 1 << 10
)

// An rds reads a matrix of strings, column by column, whose names come behind it.
type rds struct {
	in   *bufio.Reader
	text []byte   // of the strings that are kept
	refs []string // symbols, in the order in which they came
}

// readRDS calls each for every row of an index.
func readRDS(in *bufio.Reader, each func(*row)) error {
	d := &rds{in: in}
	if err := d.head(); err != nil {
		return fmt.Errorf("rds: %w", err)
	}
	flags, err := d.int()
	if err != nil || flags&0xff != rdsStrings || flags&rdsHasAttributes == 0 {
		return errors.Join(errors.New("rds: no matrix of strings"), err)
	}
	cells, err := d.strings()
	if err != nil {
		return fmt.Errorf("rds: the table: %w", err)
	}
	attributes, err := d.pairs(0)
	if err != nil {
		return fmt.Errorf("rds: the names of columns: %w", err)
	}
	names, _ := attributes["dimnames"].([]any)
	if len(names) != 2 {
		return errors.New("rds: no names of columns")
	}
	columns, _ := names[1].([]span)
	if len(columns) == 0 || len(cells)%len(columns) != 0 {
		return errors.New("rds: the table has no whole columns")
	}
	at := [len(fields)]int{}
	for i := range fields {
		at[i] = -1
		for c := range columns {
			if d.string(columns[c]) == fields[i] {
				at[i] = c
			}
		}
	}
	rows := len(cells) / len(columns)
	for n := range rows {
		var r row
		for i, c := range at {
			if c >= 0 {
				*r.field(i) = d.string(cells[c*rows+n])
			}
		}
		each(&r)
	}
	return nil
}

// head reads up to the first object.
func (d *rds) head() error {
	if _, err := d.in.Discard(len(rdsMagic)); err != nil {
		return err
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

func (d *rds) int() (int, error) {
	var b [4]byte
	_, err := io.ReadFull(d.in, b[:])
	return int(int32(binary.BigEndian.Uint32(b[:]))), err
}

// length is an int that counts at most max of what follows.
func (d *rds) length(max int) (int, error) {
	n, err := d.int()
	if err == nil && (n < 0 || n > max) {
		err = fmt.Errorf("a length of %d", n)
	}
	return n, err
}

// A span is a string in rds.text: where it begins and how long it is. An empty
// one is missing, or too long to matter.
type span struct{ at, len uint32 }

func (d *rds) string(s span) string { return string(d.text[s.at : s.at+s.len]) }

// chars reads a string; its flags were not.
func (d *rds) chars() (s span, err error) {
	flags, err := d.int()
	if err != nil || flags&0xff != rdsChars {
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
func (d *rds) strings() ([]span, error) {
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
func (d *rds) pairs(depth int) (map[string]any, error) {
	all := map[string]any{}
	for {
		flags, err := d.int()
		if err != nil {
			return nil, err
		}
		if flags&0xff == rdsNil {
			return all, nil
		}
		if flags&0xff != rdsPairs || flags&rdsHasTag == 0 || flags&rdsHasAttributes != 0 || len(all) > maxDepth {
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
func (d *rds) object(depth int) (value any, err error) {
	flags, err := d.int()
	if err != nil || depth > maxDepth {
		return nil, errors.Join(errors.New("cut, or too deep"), err)
	}
	switch flags & 0xff {
	case rdsNil:
		return nil, nil
	case rdsSymbol:
		s, err := d.chars()
		d.refs = append(d.refs, d.string(s))
		return d.string(s), err
	case rdsRef:
		n := flags >> 8
		if n == 0 {
			n, err = d.int()
		}
		if err != nil || n < 1 || n > len(d.refs) {
			return nil, errors.Join(errors.New("a reference to nothing"), err)
		}
		return d.refs[n-1], nil
	case rdsIntegers, rdsLogicals:
		n, err := d.length(maxStrings)
		if err == nil {
			_, err = d.in.Discard(4 * n)
		}
		if err != nil {
			return nil, err
		}
	case rdsStrings:
		if value, err = d.strings(); err != nil {
			return nil, err
		}
	case rdsList:
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
	if flags&rdsHasAttributes != 0 {
		_, err = d.pairs(depth + 1)
	}
	return value, err
}
