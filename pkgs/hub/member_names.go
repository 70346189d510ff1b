package hub

import (
	"net/url"
	"strings"
)

// Suspect is the private name that a canonical path, or a part of one, may be about;
// "" if it is about none. It is for paths that say no name for certain: any segment
// may be a name, the last one with an extension too, and a name may be before a
// version, which begins with a digit, or with v and one, behind one of the bytes of
// seps.
//
// Where a name ends and a version begins is not certain in a-1.0-2.gem: all that it
// may be counts. A path that is only thought to be about a private name is asked of
// one member too few; the other way round the name would be told.
func (m *Members) Suspect(path, seps string) string {
	if !m.Private() {
		return ""
	}
	for rest, more := Name(path), true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		for i := range len(segment) + 1 {
			ends := i == len(segment) || i <= maxName && strings.IndexByte(seps, segment[i]) >= 0 && beginsVersion(segment[i+1:]) ||
				!more && isExtension(segment[i:])
			if name := segment[:i]; ends && name != "" && m.Owned(name) {
				return name
			}
		}
	}
	return ""
}

// maxName is the length, in bytes, up to which the beginning of a segment may be a
// name: one of many thousand bytes is not looked through again for each of them.
const maxName = 256

func beginsVersion(s string) bool {
	s = strings.TrimPrefix(s, "v")
	return s != "" && '0' <= s[0] && s[0] <= '9'
}

// isExtension says whether s is the end of a file's name, such as .json or .tar.gz.
func isExtension(s string) bool {
	rest, dot := strings.CutPrefix(s, ".")
	return dot && (!strings.Contains(rest, ".") || strings.HasPrefix(rest, "tar."))
}

// Sought is the private name that stands in a raw query, or in the body of a form,
// as a word of a value, alone or behind a colon, or as the folder of such names, with
// a slash at its end; "" if there is none.
func (m *Members) Sought(query string) string {
	if !m.Private() {
		return ""
	}
	for field := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		_, value, found := strings.Cut(field, "=")
		if !found {
			value = field
		}
		if plain, err := url.QueryUnescape(value); err == nil {
			value = plain
		}
		for word := range strings.FieldsFuncSeq(value, betweenWords) {
			_, term, _ := strings.Cut(word, ":")
			for _, name := range [...]string{word, term} {
				name = strings.Trim(name, "/")
				for _, name := range [...]string{name, name + "/"} {
					if name != "/" && m.Owned(name) {
						return name
					}
				}
			}
		}
	}
	return ""
}

func betweenWords(r rune) bool { return r <= ' ' || strings.ContainsRune(`,;"'()[]{}+`, r) }
