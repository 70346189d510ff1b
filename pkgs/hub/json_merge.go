package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A JSONMember is a member of an index, an object or an array, whose elements are
// versions, tags or the like, and are merged.
type JSONMember struct {
	Name string

	// By is the field of an array's elements, a string, that tells two of them apart.
	// "": it is an object, whose elements have names.
	By string

	Needed bool // one of the parts has an element at least, or they are no indexes
}

// MergeJSON is a Merge of [Merger] for indexes that are JSON objects: it writes the
// first part, and in those members what the others have and no part before, in the
// order of the parts. Elements stay as they are, members are sorted by name.
func MergeJSON(dst io.Writer, parts []Part, members ...JSONMember) error {
	all := make([]merging, len(members))
	edits := map[string]func(string, []byte) []byte{}
	for i, m := range members {
		all[i] = merging{JSONMember: m, known: map[string]bool{}}
		edits[m.Name] = all[i].add
	}
	var first map[string]json.RawMessage
	for i, p := range parts {
		var rest bytes.Buffer
		err := SiftJSON(&rest, p.Body, edits)
		for j := range all {
			err = errors.Join(err, all[j].err)
		}
		if err == nil && i == 0 {
			err = json.Unmarshal(rest.Bytes(), &first)
		}
		if err != nil {
			return fmt.Errorf("the index of %s: %w", p.Entry.Mirror, err)
		}
	}
	for i := range all {
		switch m := &all[i]; {
		case len(m.known) > 0:
			first[m.Name] = m.end()
		case m.Needed:
			return fmt.Errorf("indexes without %s", m.Name)
		}
	}
	return json.NewEncoder(dst).Encode(first)
}

// A merging is a member that is being merged.
type merging struct {
	JSONMember
	known map[string]bool
	text  []byte // of the elements, with a comma before each
	err   error
}

// add takes the element of a part that no part before had, and leaves nothing of it
// in the part.
func (m *merging) add(name string, element []byte) []byte {
	if m.By != "" {
		var said map[string]json.RawMessage
		if err := json.Unmarshal(element, &said); err != nil {
			m.err = fmt.Errorf("in %s: %w", m.Name, err)
			return nil
		}
		if name, _ = JSONString(said[m.By]); name == "" {
			m.err = fmt.Errorf("in %s one without %s", m.Name, m.By)
			return nil
		}
	}
	if m.known[name] {
		return nil
	}
	m.known[name] = true
	m.text = append(m.text, ',')
	if m.By == "" {
		m.text = append(AppendJSONString(m.text, name), ':')
	}
	m.text = append(m.text, element...)
	return nil
}

// end is the member as a whole.
func (m *merging) end() json.RawMessage {
	if m.By != "" {
		return append(append([]byte{'['}, m.text[1:]...), ']')
	}
	return append(append([]byte{'{'}, m.text[1:]...), '}')
}
