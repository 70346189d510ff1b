package disk

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// stored is the JSON of an entry. JSON text is UTF-8, but field values and keys
// are any bytes (RFC 9110 §5.5, obs-text): where one is not UTF-8, all are
// written as if every byte were a Latin-1 character.
type stored struct {
	*exchange.Entry
	Latin1 bool `json:"latin1,omitempty"`
}

func marshalEntry(e *exchange.Entry) ([]byte, error) {
	if allUTF8(e) {
		return stored{Entry: e}.encode()
	}
	return stored{Entry: mapStrings(e, latin1), Latin1: true}.encode()
}

func unmarshalEntry(b []byte) (*exchange.Entry, error) {
	t := stored{Entry: new(exchange.Entry)}
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, err
	}
	if t.Latin1 {
		return mapStrings(t.Entry, unlatin1), nil
	}
	return t.Entry, nil
}

func allUTF8(e *exchange.Entry) bool {
	for name, values := range e.Header {
		if !utf8.ValidString(name) {
			return false
		}
		for _, v := range values {
			if !utf8.ValidString(v) {
				return false
			}
		}
	}
	return utf8.ValidString(e.Key.Hub) && utf8.ValidString(e.Key.Path) && utf8.ValidString(e.Key.Variant) && utf8.ValidString(e.Mirror)
}

// mapStrings is a copy of e with f applied to all that came from elsewhere.
func mapStrings(e *exchange.Entry, f func(string) string) *exchange.Entry {
	m := *e
	m.Key = exchange.Key{Hub: f(e.Key.Hub), Path: f(e.Key.Path), Variant: f(e.Key.Variant)}
	m.Mirror = f(e.Mirror)
	m.Header = make(http.Header, len(e.Header))
	for name, values := range e.Header {
		mapped := make([]string, len(values))
		for i, v := range values {
			mapped[i] = f(v)
		}
		m.Header[f(name)] = mapped
	}
	return &m
}

func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func unlatin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}
