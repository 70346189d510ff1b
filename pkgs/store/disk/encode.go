package disk

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// encode is what [json.Marshal] makes of s, byte for byte. Each small miss writes
// one, and reflection took as long for it as two system calls.
func (s stored) encode() ([]byte, error) {
	e := s.Entry
	b := make([]byte, 0, 1<<10)
	b = append(b, `{"key":{"Hub":`...)
	b = appendString(b, e.Key.Hub)
	b = append(b, `,"Path":`...)
	b = appendString(b, e.Key.Path)
	b = append(b, `,"Variant":`...)
	b = appendString(b, e.Key.Variant)
	b = append(b, `},"status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	if len(e.Header) > 0 {
		b = append(b, `,"header":`...)
		b = appendHeader(b, e.Header)
	}
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, e.Size, 10)
	b = appendText(b, `,"digest":`, string(e.Digest))
	b = appendText(b, `,"mirror":`, e.Mirror)
	b = appendText(b, `,"url":`, e.URL)
	var err error
	for _, t := range [...]struct {
		name string
		time time.Time
		zero bool // it is written even so
	}{{`,"requested":"`, e.Requested, false}, {`,"received":"`, e.Received, true}, {`,"stored":"`, e.Stored, false}} {
		if t.time.IsZero() && !t.zero {
			continue
		}
		b = append(b, t.name...)
		if b, err = t.time.AppendText(b); err != nil {
			return nil, err
		}
		b = append(b, '"')
	}
	b = appendText(b, `,"proved":`, string(e.Proved))
	if s.Latin1 {
		b = append(b, `,"latin1":true`...)
	}
	return append(b, '}'), nil
}

// appendText appends a field, unless it is empty.
func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, name...), s)
}

func appendHeader(b []byte, h map[string][]string) []byte {
	var few [16]string
	names := slices.AppendSeq(few[:0], maps.Keys(h))
	slices.Sort(names)
	for i, name := range names {
		b = append(b, "{,"[min(i, 1)])
		b = appendString(b, name)
		values := h[name]
		if values == nil {
			b = append(b, ":null"...)
			continue
		}
		b = append(b, ":["...)
		for j, v := range values {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendString(b, v)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendString appends s in quotes. What needs more than that, package json does.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // of a string
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
