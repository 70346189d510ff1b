// Package protobuf takes messages of Protocol Buffers apart that nobody needs all of,
// without a description of them
// (https://protobuf.dev/programming-guides/encoding/).
//
// A message is held as a whole: who reads it bounds it.
package protobuf

import "google.golang.org/protobuf/encoding/protowire"

// A Message is the values that have a length, by the number of their field: texts,
// bytes and messages, in their order. They are parts of what was parsed.
type Message map[int][][]byte

// Parse takes a message apart; fields of other types are passed over. An error says
// that it is none.
func Parse(text []byte) (Message, error) {
	m := Message{}
	for len(text) > 0 {
		number, kind, n := protowire.ConsumeField(text)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		if kind == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(text)
			value, _ := protowire.ConsumeBytes(text[tag:])
			m[int(number)] = append(m[int(number)], value)
		}
		text = text[n:]
	}
	return m, nil
}

// Last is the value of a field that a message has once: of several the last one
// counts, as the format has it. Nil: there is none.
func (m Message) Last(number int) []byte {
	if all := m[number]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}
