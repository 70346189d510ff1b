// Package yaml changes scalars of a YAML text while it copies it, line by line: for
// documents that are too large to be held.
//
// It is no parser of YAML (https://yaml.org/spec/1.2.2/). It knows the block style in
// which programs write: the column in which a key or a dash stands says what it is of,
// and whatever a scalar has in further lines stands deeper. A text in flow style passes
// as it is, but for a sequence of one scalar behind its key. Lines in which nothing is
// changed stay byte for byte, so that what a parser makes of the text differs in
// nothing else, and what it cannot read is not made readable.
package yaml

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Rules say what becomes of scalars, by path: keys joined by "/", where "*" is any key
// of a mapping or any element of a sequence. A key goes before a "*" in its place.
//
// The function of a path gets the string that a scalar is which stands on one line,
// plain or in quotes, and is not empty. It returns what is written in its place, or
// the same to leave it. The function of a path that ends in "/" is called with "" at
// the end of each mapping or sequence there, also of one that is empty or null, and
// what it returns is not written.
type Rules map[string]func(s string) string

const (
	// MaxLine is how long a line may be whose scalar is looked at, in bytes.
	MaxLine = 64 << 10

	maxKey = 64 // bytes of a longer line that are looked at, to see where it stands
)

// Copy copies a text from src to dst. It holds a line at a time.
func Copy(dst io.Writer, src io.Reader, rules Rules) error {
	c := &copier{skip: none}
	for path, f := range rules {
		c.root.add(path, f)
	}
	in, out := bufio.NewReaderSize(src, MaxLine), bufio.NewWriter(dst)
	for long := false; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case long: // the rest of one
		case err == bufio.ErrBufferFull:
			c.line(bytes.Clone(line[:maxKey]), false)
		default:
			line = c.line(line, true)
		}
		out.Write(line) // its errors are sticky
		switch long = err == bufio.ErrBufferFull; {
		case err == io.EOF:
			c.leave(0)
			return out.Flush()
		case err != nil && !long:
			return err
		}
	}
}

// A node is what the rules say of a value and of what is in it. Nil: nothing.
type node struct {
	scalar, end func(s string) string
	keys        map[string]*node
}

// add adds the rule of a path below n.
func (n *node) add(path string, f func(s string) string) {
	inner, isEnd := strings.CutSuffix(path, "/")
	for key := range strings.SplitSeq(inner, "/") {
		n = n.child(key)
	}
	if isEnd {
		n.end = f
	} else {
		n.scalar = f
	}
}

func (n *node) child(key string) *node {
	if n.keys == nil {
		n.keys = map[string]*node{}
	}
	if n.keys[key] == nil {
		n.keys[key] = &node{}
	}
	return n.keys[key]
}

// value is the node of the value of a key, or of an element, whose key is "*".
func (n *node) value(key []byte) *node {
	if v := n.keys[string(key)]; v != nil {
		return v
	}
	return n.keys["*"]
}

// A level is a mapping or a sequence that the rules speak of, around a line.
type level struct {
	column   int
	sequence bool
	node     *node
	inner    *node // of the value of the last key, or of the last element
	open     bool  // that is a mapping or a sequence, or may be one
}

// holds says whether a line is of the level, or of what is in it.
func (l *level) holds(column int, dash bool) bool {
	return column > l.column || column == l.column && (dash || !l.sequence)
}

const none = -1

type copier struct {
	root   node
	levels []level // outermost first
	skip   int     // lines deeper than this column do not matter; none: all do
}

// leave leaves all levels but n.
func (c *copier) leave(n int) {
	for len(c.levels) > n {
		c.end(&c.levels[len(c.levels)-1])
		c.levels = c.levels[:len(c.levels)-1]
	}
}

// end is that of the last value in a level.
func (c *copier) end(l *level) {
	if l.open && l.inner != nil && l.inner.end != nil {
		l.inner.end("")
	}
	l.inner, l.open = nil, false
}

// line is what is written for one; whole says that its scalar is all there.
func (c *copier) line(line []byte, whole bool) []byte {
	text := bytes.TrimRight(line, " \t\r\n")
	column := len(text) - len(bytes.TrimLeft(text, " "))
	text = text[column:]
	if len(text) == 0 || text[0] == '#' || c.skip != none && column > c.skip {
		return line
	}
	c.skip = none
	n := len(c.levels)
	for n > 0 && !c.levels[n-1].holds(column, isDash(text)) {
		n--
	}
	c.leave(n)
	if column == 0 && bytes.HasPrefix(text, []byte("---")) { // another document
		c.leave(0)
		return line
	}
	return c.place(line, text, column, whole)
}

func isDash(text []byte) bool {
	return text[0] == '-' && (len(text) == 1 || text[1] == ' ')
}

// place is line for a key or a dash, text at column, and what stands behind it.
func (c *copier) place(line, text []byte, column int, whole bool) []byte {
	for {
		l := c.level(column, isDash(text))
		if l == nil {
			c.skip = column
			return line
		}
		key, value := []byte("*"), text[1:]
		if !l.sequence {
			key, value, _ = bytes.Cut(text[1:], []byte(":")) // a key may begin with one: Ruby's symbols do
			key = bytes.Trim(text[:1+len(key)], `"'`)
		}
		value = bytes.TrimLeft(value, " ")
		at := column + len(text) - len(value)
		l.inner = l.node.value(key)
		switch {
		case l.inner == nil:
			c.skip = column
			return line
		case isOpen(value):
			l.open = true
			return line
		case l.inner.scalar != nil:
			c.skip = column
			if !whole {
				return line
			}
			return scalar(line, value, at, l.inner.scalar)
		case value[0] == '[', value[0] == '{':
			l.open, c.skip = true, column
			return c.flow(line, value, at, whole)
		case !l.sequence:
			c.skip = column
			return line
		}
		l.open, text, column = true, value, at // it begins behind its dash
	}
}

// level is the one that a key or a dash is of, whose last value has ended; nil if the
// rules do not speak of it. It may be one that begins.
func (c *copier) level(column int, dash bool) *level {
	node := &c.root
	if len(c.levels) > 0 {
		top := &c.levels[len(c.levels)-1]
		if column == top.column && dash == top.sequence {
			c.end(top)
			return top
		}
		node = top.inner
	}
	if node == nil {
		return nil
	}
	c.levels = append(c.levels, level{column: column, sequence: dash, node: node})
	return &c.levels[len(c.levels)-1]
}

// isOpen says that behind a key or a dash there is nothing on the line but what may be
// before the value on the lines below: a tag, an anchor, a comment.
func isOpen(value []byte) bool {
	if len(value) == 0 || value[0] == '#' {
		return true
	}
	switch string(value) {
	case "null", "~":
		return true
	}
	return (value[0] == '&' || value[0] == '!') && bytes.IndexByte(value, ' ') < 0
}

// flow is the line with a sequence of one scalar changed, text at column.
func (c *copier) flow(line, text []byte, column int, whole bool) []byte {
	element := c.levels[len(c.levels)-1].inner.keys["*"]
	inner, begins := bytes.CutPrefix(text, []byte("["))
	inner, ends := bytes.CutSuffix(inner, []byte("]"))
	if element == nil || element.scalar == nil || !whole || !begins || !ends || bytes.IndexByte(inner, ',') >= 0 {
		return line
	}
	value := bytes.TrimSpace(inner)
	return scalar(line, value, column+bytes.Index(text, value), element.scalar)
}

// scalar is the line with its scalar, text at column, as f has it.
func scalar(line, text []byte, column int, f func(s string) string) []byte {
	s, ok := unquote(text)
	if !ok || s == "" || !utf8.ValidString(s) {
		return line
	}
	changed := f(s)
	if changed == s {
		return line
	}
	return append(strconv.AppendQuote(bytes.Clone(line[:column]), changed), line[column+len(text):]...)
}

// unquote is the string of a scalar on one line, plain or in quotes; false for
// what is another thing.
func unquote(text []byte) (string, bool) {
	if len(text) == 0 {
		return "", true
	}
	switch last := text[len(text)-1]; text[0] {
	case '"':
		var s string
		err := json.Unmarshal(text, &s) // YAML has escapes that JSON has not; such a scalar stays
		return s, err == nil
	case '\'':
		if len(text) == 1 || last != '\'' {
			return "", false
		}
		return strings.ReplaceAll(string(text[1:len(text)-1]), "''", "'"), true
	case '&', '*', '!', '|', '>', '[', ']', '{', '}', ',', '@', '`', '%':
		return "", false
	}
	other := isDash(text) || bytes.Contains(text, []byte(" #")) || bytes.Contains(text, []byte(": ")) || text[len(text)-1] == ':'
	return string(text), !other
}
