package filter

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// HeaderEdit changes header fields: those of Del go first, then those of Set take
// the place of others of their name, then those of Add come beside.
type HeaderEdit struct {
	Set map[string]string `yaml:"set,omitzero"`
	Add map[string]string `yaml:"add,omitzero"`
	Del []string          `yaml:"del,single,omitzero"`
}

// empty reports whether it changes nothing.
func (e *HeaderEdit) empty() bool { return len(e.Set)+len(e.Add)+len(e.Del) == 0 }

// apply changes h.
func (e *HeaderEdit) apply(h http.Header) {
	for _, name := range e.Del {
		h.Del(name)
	}
	for name, value := range e.Set {
		h.Set(name, value)
	}
	for name, value := range e.Add {
		h.Add(name, value)
	}
}

// check rejects names and values that are none, and the names of others' business.
func (e *HeaderEdit) check(at string, reserved []string, reject func(path, format string, args ...any)) {
	for _, part := range []struct {
		key    string
		fields map[string]string
	}{{"set", e.Set}, {"add", e.Add}} {
		for _, name := range slices.Sorted(maps.Keys(part.fields)) {
			path := at + "." + part.key
			checkNames([]string{name}, path, reject)
			if slices.Contains(reserved, http.CanonicalHeaderKey(name)) {
				reject(path, "%s is set by the proxy itself", name)
			}
			if !isFieldValue(part.fields[name]) {
				reject(path, "the value of %s has control characters in it", name)
			}
		}
	}
	checkNames(e.Del, at+".del", reject)
	for _, name := range e.Del {
		if slices.Contains(reserved, http.CanonicalHeaderKey(name)) {
			reject(at+".del", "%s is set by the proxy itself", name)
		}
	}
}

// framing are fields of connections and of the messages on them (RFC 9110 §7.6.1,
// RFC 9112 §6).
var framing = []string{
	"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// checkNames rejects what cannot be the name of a field (RFC 9110 §5.6.2).
func checkNames(names []string, at string, reject func(path, format string, args ...any)) {
	for i, name := range names {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
		}) {
			path := at
			if len(names) > 1 {
				path = fmt.Sprintf("%s[%d]", at, i)
			}
			reject(path, "%q is no field name", name)
		}
	}
}

// isFieldValue reports whether s may be sent as the value of a field (RFC 9110 §5.5).
func isFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
