package oci

import "strings"

// A challenge is one of WWW-Authenticate (RFC 9110 §11.6.1).
type challenge struct {
	scheme     string // lower case
	parameters map[string]string
}

// challenges reads WWW-Authenticate fields, each of which may have several. What
// it cannot read, and what comes after that in the same field, is left out.
func challenges(fields []string) []challenge {
	var all []challenge
	for _, s := range fields {
		first := len(all) // of this field
		for {
			s = strings.TrimLeft(s, " \t,")
			name, rest := token(s)
			if name == "" {
				break
			}
			if value, after, ok := parameter(rest); ok && len(all) > first {
				last := all[len(all)-1].parameters
				if name = strings.ToLower(name); last[name] == "" {
					last[name] = value
				}
				s = after
				continue
			}
			all = append(all, challenge{strings.ToLower(name), map[string]string{}})
			s = rest
		}
	}
	return all
}

// parameter is what comes after a name: "=" and a token or a quoted string.
func parameter(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !ok {
		return "", "", false
	}
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest = token(s)
		return value, rest, true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", true
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", true // no end: nothing of it can be trusted
}

// token is the first token of s (RFC 9110 §5.6.2).
func token(s string) (t, rest string) {
	i := 0
	for i < len(s) && (alphanumeric(s[i]) || 'A' <= s[i] && s[i] <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) >= 0) {
		i++
	}
	return s[:i], s[i:]
}
