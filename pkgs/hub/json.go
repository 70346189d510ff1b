package hub

import (
	"bytes"
	"io"
	"strings"
)

// maxDepth is how deep objects and arrays of an index may nest.
const maxDepth = 1000

// JSONRules say what becomes of values in a JSON text, by path: names of members
// joined by "/", where "*" is any member of an object or any element of an
// array. A name goes before a "*" in its place.
//
// The function of a path gets a scalar as it stands in the text, a string in its
// quotes, and returns what is written in its place, the argument itself to leave
// it. The argument is valid until it returns. The function of a path that ends in
// "/" is called with nil at the end of each object or array there, and what it
// returns is not written; "/" alone is the end of the text's own.
type JSONRules map[string]func(value []byte) ([]byte, error)

// CopyJSON copies one JSON text from src to dst, with values changed by the
// rules and every other byte as it is: order, blanks, numbers, duplicates. It
// streams; only scalars with a rule, and names where rules differ by name, are
// held in memory, and may have 1 MiB.
//
// Structure is checked, so that nothing a client would see is passed over. What
// is inside scalars without a rule is not, nor is what stands between the
// scalars and brackets of an object or array that no rule reaches into.
func CopyJSON(dst io.Writer, src io.Reader, rules JSONRules) error {
	c := &jsonCopier{window: newWindow(dst, src)}
	for path, f := range rules {
		node, isEnd := &c.root, strings.HasSuffix(path, "/")
		if path != "/" {
			for name := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
				node = node.child(name)
			}
		}
		if isEnd {
			node.end = f
		} else {
			node.value = f
		}
	}
	if err := c.text(); err != nil {
		return err
	}
	return c.finish()
}

// A jsonNode is what the rules say of a value and of what is in it. Nil: nothing.
type jsonNode struct {
	value, end func([]byte) ([]byte, error)
	names      []jsonName // a handful at most
	any        *jsonNode
}

type jsonName struct {
	name string
	node *jsonNode
}

func (n *jsonNode) child(name string) *jsonNode {
	if name == "*" {
		if n.any == nil {
			n.any = &jsonNode{}
		}
		return n.any
	}
	for _, known := range n.names {
		if known.name == name {
			return known.node
		}
	}
	n.names = append(n.names, jsonName{name, &jsonNode{}})
	return n.names[len(n.names)-1].node
}

// member is the node of an object's member of that name.
func (n *jsonNode) member(name []byte) *jsonNode {
	if n == nil {
		return nil
	}
	for i := range n.names {
		if known := &n.names[i]; string(name) == known.name {
			return known.node
		}
	}
	return n.any
}

// element is the node of an array's elements.
func (n *jsonNode) element() *jsonNode {
	if n == nil {
		return nil
	}
	return n.any
}

type jsonCopier struct {
	*window
	root  jsonNode
	stack []jsonFrame // of the objects and arrays around pos
}

type jsonFrame struct {
	node   *jsonNode
	closer byte
}

// text reads the one value that the text is, and what may be around it.
func (c *jsonCopier) text() error {
	for c.end-c.pos < 3 && c.more() {
	}
	if bytes.HasPrefix(c.buf[c.pos:c.end], []byte("\ufeff")) {
		c.pos += 3 // clients skip it too
	}
	node := &c.root
	for {
		ch := c.peek()
		if ch == '{' || ch == '[' {
			if err := c.open(node, ch); err != nil {
				return err
			}
			if node == nil {
				if err := c.skip(); err != nil {
					return err
				}
			} else if c.peek() != ch+2 {
				var err error
				if node, err = c.inside(&c.stack[len(c.stack)-1]); err != nil {
					return err
				}
				continue
			}
		} else if err := c.scalar(node, ch); err != nil {
			return err
		}
		// Behind a value: what it is in ends, or goes on.
		more := false
		for !more {
			if len(c.stack) == 0 {
				if c.peek() != 0 || c.pos < c.end || c.err != io.EOF {
					return c.fail("more than one JSON value")
				}
				return nil
			}
			top := &c.stack[len(c.stack)-1]
			switch c.peek() {
			case ',':
				c.pos++
				var err error
				if node, err = c.inside(top); err != nil {
					return err
				}
				more = true
			case top.closer:
				c.pos++
				if top.node != nil && top.node.end != nil {
					if _, err := top.node.end(nil); err != nil {
						return err
					}
				}
				c.stack = c.stack[:len(c.stack)-1]
			default:
				return c.fail("bad JSON")
			}
		}
	}
}

// open enters the object or array that begins with ch.
func (c *jsonCopier) open(node *jsonNode, ch byte) error {
	if len(c.stack) == maxDepth {
		return c.fail("JSON nested too deep")
	}
	c.pos++
	c.stack = append(c.stack, jsonFrame{node, ch + 2}) // "{" and "}", "[" and "]" are two apart
	return nil
}

// peek is the next byte that is not blank; 0 at the end of the text.
func (c *jsonCopier) peek() byte {
	for {
		for c.pos < c.end {
			switch ch := c.buf[c.pos]; ch {
			case ' ', '\t', '\n', '\r':
				c.pos++
			default:
				return ch
			}
		}
		if !c.more() {
			return 0
		}
	}
}

// inside reads up to the next value in f that matters, whose node it returns:
// over the member's name in an object.
func (c *jsonCopier) inside(f *jsonFrame) (*jsonNode, error) {
	if f.closer == ']' {
		return f.node.element(), nil
	}
	if node, ok := c.pass(f.node); ok {
		return node, nil
	}
	if c.peek() != '"' {
		return nil, c.fail("bad JSON")
	}
	if f.node != nil && f.node.names != nil {
		c.hold = c.pos
	}
	if err := c.string(); err != nil {
		return nil, err
	}
	node := f.node.element()
	if c.hold >= 0 {
		name, ok := JSONBytes(c.buf[c.hold:c.pos])
		if !ok {
			return nil, c.fail("bad JSON string")
		}
		node = f.node.member(name)
		c.hold = -1
	}
	if c.peek() != ':' {
		return nil, c.fail("bad JSON")
	}
	c.pos++
	return node, nil
}

// pass is inside for what most objects are: members without blanks and escapes
// in their names, that are whole in the buffer. It passes over those with a
// scalar that no rule speaks of. False: pos is at a member that is unlike that.
func (c *jsonCopier) pass(n *jsonNode) (*jsonNode, bool) {
	b := c.buf[:c.end]
	for c.pos < len(b) && b[c.pos] == '"' {
		i := special(b, c.pos+1)
		if i+2 >= len(b) || b[i] != '"' || b[i+1] != ':' {
			return nil, false
		}
		node := n.member(b[c.pos+1 : i])
		i += 2
		if node != nil || b[i] == '{' || b[i] == '[' {
			c.pos = i
			return node, true
		}
		if b[i] == '"' {
			var ok bool
			if i, ok = ending(b, i+1); !ok {
				return nil, false
			}
		} else {
			first := i
			for i < len(b) && inWord[b[i]] {
				i++
			}
			if i == first {
				return nil, false
			}
		}
		if i >= len(b) || b[i] != ',' {
			return nil, false
		}
		c.pos = i + 1
	}
	return nil, false
}

// scalar reads one that begins with ch, and edits it.
func (c *jsonCopier) scalar(node *jsonNode, ch byte) error {
	if node != nil && node.value != nil {
		c.hold = c.pos
	}
	if ch == '"' {
		if err := c.string(); err != nil {
			return err
		}
	} else if !c.word() {
		return c.fail("bad JSON")
	}
	if c.hold < 0 {
		return nil
	}
	old := c.buf[c.hold:c.pos:c.pos]
	c.hold = -1
	text, err := node.value(old)
	if err != nil {
		return err
	}
	if len(text) != len(old) || &text[0] != &old[0] {
		c.replace(c.pos-len(old), c.pos, text)
	}
	return nil
}

// string reads a string; pos is at its first quote.
func (c *jsonCopier) string() error {
	c.pos++
	for {
		var ok bool
		if c.pos, ok = ending(c.buf[:c.end], c.pos); ok {
			return nil
		}
		if !c.more() {
			c.pos = c.end
			return c.fail("bad JSON string")
		}
	}
}

// skip passes over what is in an object or array that no rule speaks of, and its end.
func (c *jsonCopier) skip() error {
	outer := len(c.stack) - 1
	for {
		b := c.buf[:c.end]
		for c.pos < len(b) {
			switch ch := b[c.pos]; ch {
			case '"':
				i, ok := ending(b, c.pos+1)
				if ok {
					c.pos = i
					continue
				}
				if err := c.string(); err != nil {
					return err
				}
				b = c.buf[:c.end]
				continue
			case '{', '[':
				if err := c.open(nil, ch); err != nil {
					return err
				}
				continue
			case '}', ']':
				if c.stack[len(c.stack)-1].closer != ch {
					return c.fail("bad JSON")
				}
				c.pos++
				if c.stack = c.stack[:len(c.stack)-1]; len(c.stack) == outer {
					return nil
				}
				continue
			}
			c.pos++
		}
		if !c.more() {
			return c.fail("JSON cut short")
		}
	}
}

// word reads a number, true, false or null: false if there is nothing like it.
func (c *jsonCopier) word() bool {
	n := 0
	for {
		for c.pos < c.end {
			if !inWord[c.buf[c.pos]] {
				return n > 0
			}
			c.pos++
			n++
		}
		if !c.more() {
			return n > 0
		}
	}
}
