// Package deb822 reads texts of stanzas of fields: a line "Field: value" begins a
// field, a line that begins with a blank goes on with it, and an empty line is between
// stanzas. Debian's control files are such texts (deb822(5); Debian Policy, section
// 5.1), and so are R's (read.dcf).
//
// It streams: a line is held at a time, as far as it is looked at. Comments and
// signatures around a text are the caller's.
package deb822

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// MaxLine is how much of a line is looked at, in bytes; the rest is passed over.
// Only fields for people are longer.
const MaxLine = 16 << 10

// ErrSyntax says that a line is neither a field nor goes on with one.
var ErrSyntax = errors.New("not a text of fields")

// Lines calls f with each line of r, the empty ones too, without its end. It is valid
// until f returns; an error of f's is returned.
func Lines(r io.Reader, f func(line []byte) error) error {
	b := bufio.NewReaderSize(r, 4*MaxLine)
	for {
		line, err := b.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			line = bytes.Clone(line[:MaxLine]) // it is in the buffer that the rest is read to
			for err == bufio.ErrBufferFull {
				_, err = b.ReadSlice('\n')
			}
		case len(line) > 0 && line[len(line)-1] == '\n':
			line = line[:len(line)-1]
		}
		if err != nil && err != io.EOF {
			return err
		}
		if len(line) > 0 && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
		if len(line) > 0 || err == nil {
			if e := f(line); e != nil {
				return e
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// Field is a line's name and value, without blanks around; the line is not empty. name
// is nil for a line that goes on with the field before. The error is [ErrSyntax].
func Field(line []byte) (name, value []byte, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, bytes.TrimSpace(line), nil
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || bytes.IndexByte(line[:colon], ' ') >= 0 {
		return nil, nil, ErrSyntax
	}
	return line[:colon], bytes.TrimSpace(line[colon+1:]), nil
}

// Rows calls row for each stanza with the values of the fields of these names, in
// their order: "" for a field that is not there. Of a value of several lines it is the
// first. The slice is used again for the next stanza.
func Rows(r io.Reader, fields []string, row func(values []string)) error {
	values, some := make([]string, len(fields)), false
	end := func() {
		if some {
			row(values)
		}
		clear(values)
		some = false
	}
	err := Lines(r, func(line []byte) error {
		if len(bytes.TrimSpace(line)) == 0 {
			end()
			return nil
		}
		name, value, err := Field(line)
		if err != nil || name == nil {
			return err
		}
		some = true
		for i := range fields {
			if string(name) == fields[i] {
				values[i] = string(value)
			}
		}
		return nil
	})
	if err == nil {
		end()
	}
	return err
}
