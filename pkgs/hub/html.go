package hub

import (
	"bytes"
	"html"
	"io"
	"slices"
	"strings"
)

// A Tag is a start tag in a HTML text, whole and unchanged but for what its
// methods change. It is valid until the function that got it returns.
type Tag struct {
	raw   []byte // with its angle brackets
	name  string // one of those asked for
	attrs []htmlAttr
	edits []htmlEdit
	texts []byte // of edits
	drop  bool

	nameEnd int // in raw
}

// maxAttrs is how many attributes a tag may have.
const maxAttrs = 1000

// htmlAttr are places in Tag.raw.
type htmlAttr struct{ name, nameEnd, value, valueEnd int }

type htmlEdit struct {
	from, to         int // in Tag.raw
	textFrom, textTo int // in Tag.texts
}

// Name is the one of those asked for that the tag has.
func (t *Tag) Name() string { return t.name }

// Attr is the value of the last attribute of that name, which is lower case:
// the last is the one that pip takes.
func (t *Tag) Attr(name string) (value string, ok bool) {
	b, ok := t.AttrBytes(name)
	return string(b), ok
}

// AttrBytes is Attr without a copy: valid as long as the tag is.
func (t *Tag) AttrBytes(name string) (value []byte, ok bool) {
	for i := len(t.attrs) - 1; i >= 0; i-- {
		if a := &t.attrs[i]; t.is(a, name) {
			return unescape(t.raw[a.value:a.valueEnd]), true
		}
	}
	return nil, false
}

// Map puts f of its value into each attribute of that name: clients differ in
// which they take. A value that f returns as it is stays in its spelling.
func (t *Tag) Map(name string, f func(value string) string) {
	t.MapBytes(name, func(value []byte) []byte { return []byte(f(string(value))) })
}

// MapBytes is Map without copies: value is valid until f returns, what f returns
// until it is called again.
func (t *Tag) MapBytes(name string, f func(value []byte) []byte) {
	for i := range t.attrs {
		a := &t.attrs[i]
		if !t.is(a, name) || a.value == a.nameEnd {
			continue
		}
		old := unescape(t.raw[a.value:a.valueEnd])
		mapped := f(old)
		if bytes.Equal(mapped, old) {
			continue
		}
		e := htmlEdit{from: a.value, to: a.valueEnd, textFrom: len(t.texts)}
		if q := t.raw[a.value-1]; q == '"' || q == '\'' {
			t.texts = appendEscaped(t.texts, mapped)
		} else {
			t.texts = append(appendEscaped(append(t.texts, '"'), mapped), '"')
		}
		e.textTo = len(t.texts)
		t.edits = append(t.edits, e)
	}
}

// appendEscaped appends what stands for s in a quoted attribute.
func appendEscaped(b, s []byte) []byte {
	for _, ch := range [...]byte{'<', '>', '&', '\'', '"'} {
		if bytes.IndexByte(s, ch) >= 0 {
			return append(b, html.EscapeString(string(s))...)
		}
	}
	return append(b, s...)
}

// Drop takes the tag out of the text.
func (t *Tag) Drop() { t.drop = true }

func (t *Tag) is(a *htmlAttr, name string) bool {
	raw := t.raw[a.name:a.nameEnd]
	return len(raw) == len(name) && (string(raw) == name || strings.EqualFold(string(raw), name))
}

// unescape replaces character references that end in a semicolon. One that does
// not is none in an attribute (HTML §13.2.5.73): a query may hold &copy=1.
func unescape(raw []byte) []byte {
	if bytes.IndexByte(raw, '&') < 0 {
		return raw
	}
	var text []byte
	for {
		before, rest, found := bytes.Cut(raw, []byte{'&'})
		text = append(text, before...)
		if !found {
			return text
		}
		name, after, ended := bytes.Cut(rest, []byte{';'})
		if ended && len(name) <= 32 && bytes.IndexByte(name, '&') < 0 {
			text = append(text, html.UnescapeString("&"+string(name)+";")...)
			raw = after
		} else {
			text = append(text, '&')
			raw = rest
		}
	}
}

// CopyHTML copies a HTML text from src to dst, with start tags of these names
// (lower case) edited on their way and every other byte as it is. Comments,
// scripts and styles have no tags. It streams: a tag is held whole, and may have
// 1 MiB. A text that ends in a tag or comment is an error.
func CopyHTML(dst io.Writer, src io.Reader, edit func(t *Tag) error, names ...string) error {
	c := &htmlCopier{window: newWindow(dst, src), names: names, edit: edit}
	for c.until("<") {
		if err := c.markup(); err != nil {
			return err
		}
	}
	return c.finish()
}

type htmlCopier struct {
	*window
	names []string
	edit  func(*Tag) error
	tag   Tag
}

// until moves behind the next delim; false if there is none.
func (c *htmlCopier) until(delim string) bool {
	for {
		if i := bytes.Index(c.buf[c.pos:c.end], []byte(delim)); i >= 0 {
			c.pos += i + len(delim)
			return true
		}
		c.pos = max(c.pos, c.end-len(delim)+1)
		if !c.more() {
			c.pos = c.end
			return false
		}
	}
}

// has says whether the text goes on with s, whatever the letters' case.
func (c *htmlCopier) has(s string) bool {
	for c.end-c.pos < len(s) {
		if !c.more() {
			return false
		}
	}
	return strings.EqualFold(string(c.buf[c.pos:c.pos+len(s)]), s)
}

// markup reads what begins with the "<" before pos.
func (c *htmlCopier) markup() error {
	c.hold = c.pos - 1
	more := c.pos < c.end || c.more()
	if more && isLetter(c.buf[c.pos]) {
		return c.startTag()
	}
	c.hold = -1
	switch {
	case !more: // a last "<" is text
	case c.has("!--"):
		c.pos += len("!") // the dashes of "<!-->" are its beginning and its end
		if !c.until("-->") {
			return c.fail("HTML comment without end")
		}
	case c.buf[c.pos] == '!', c.buf[c.pos] == '?', c.buf[c.pos] == '/':
		if !c.until(">") {
			return c.fail("HTML tag without end")
		}
	}
	return nil
}

// startTag reads one, edits it, and passes over content that is no HTML.
func (c *htmlCopier) startTag() error {
	t := &c.tag
	t.attrs, t.edits, t.texts, t.drop = t.attrs[:0], t.edits[:0], t.texts[:0], false
	if !c.scan() {
		c.hold = -1
		return c.fail("HTML tag without end, or too long")
	}
	from := c.hold
	c.hold = -1
	t.raw = c.buf[from:c.pos]
	tag := t.raw[1:t.nameEnd]
	for _, name := range c.names {
		if !strings.EqualFold(string(tag), name) {
			continue
		}
		t.name = name
		if err := c.edit(t); err != nil {
			return err
		}
		if t.drop {
			c.replace(from, c.pos, nil)
		} else {
			slices.SortFunc(t.edits, func(a, b htmlEdit) int { return a.from - b.from })
			for _, e := range t.edits {
				c.replace(from+e.from, from+e.to, t.texts[e.textFrom:e.textTo])
			}
		}
		return nil
	}
	for _, name := range [...]string{"script", "style"} {
		if !strings.EqualFold(string(tag), name) {
			continue
		}
		for c.until("</") {
			if c.has(name) {
				break // the rest of the end tag is text to us
			}
		}
		break
	}
	return nil
}

// scan reads a start tag from its name on to behind its ">", and notes where its
// attributes are (HTML §13.2.5.8 and what follows there). False: the text ends before.
func (c *htmlCopier) scan() bool {
	t := &c.tag
	ok := c.while(isTagName)
	t.nameEnd = c.pos - c.hold
	for ok {
		if ok = c.while(isBetween); !ok {
			break
		}
		if c.buf[c.pos] == '>' {
			c.pos++
			return true
		}
		if len(t.attrs) == maxAttrs {
			return false
		}
		a := htmlAttr{name: c.pos - c.hold}
		c.pos++ // an "=" may begin a name
		ok = c.while(isAttrName)
		a.nameEnd = c.pos - c.hold
		a.value, a.valueEnd = a.nameEnd, a.nameEnd
		if ok = ok && c.while(isBlank); ok && c.buf[c.pos] == '=' {
			c.pos++
			ok = c.while(isBlank) && c.value(&a)
		}
		t.attrs = append(t.attrs, a)
	}
	return false
}

// value reads that of an attribute.
func (c *htmlCopier) value(a *htmlAttr) bool {
	quote := c.buf[c.pos]
	if quote != '"' && quote != '\'' {
		a.value = c.pos - c.hold
		ok := c.while(isUnquoted)
		a.valueEnd = c.pos - c.hold
		return ok
	}
	c.pos++
	a.value = c.pos - c.hold
	for {
		if i := bytes.IndexByte(c.buf[c.pos:c.end], quote); i >= 0 {
			a.valueEnd = c.pos + i - c.hold
			c.pos += i + 1
			return true
		}
		c.pos = c.end
		if !c.more() {
			return false
		}
	}
}

// while moves on to a byte that is not of the kind; false if there is none.
func (c *htmlCopier) while(kind uint8) bool {
	for {
		for c.pos < c.end {
			if htmlBytes[c.buf[c.pos]]&kind == 0 {
				return true
			}
			c.pos++
		}
		if !c.more() {
			return false
		}
	}
}

// Kinds of bytes in a tag.
const (
	isBlank uint8 = 1 << iota
	isBetween
	isTagName
	isAttrName
	isUnquoted
)

var htmlBytes = func() (t [256]uint8) {
	for ch := range t {
		blank := strings.IndexByte(" \t\n\r\f", byte(ch)) >= 0
		switch {
		case blank:
			t[ch] = isBlank | isBetween
		case ch == '>':
		case ch == '/':
			t[ch] = isBetween | isUnquoted
		case ch == '=':
			t[ch] = isTagName | isUnquoted
		default:
			t[ch] = isTagName | isAttrName | isUnquoted
		}
	}
	return t
}()

func isLetter(ch byte) bool { return 'a' <= ch|0x20 && ch|0x20 <= 'z' }
