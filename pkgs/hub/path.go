package hub

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Path is the path of u in the two spellings an exchange needs.
//
// canonical is for keys: the path is decoded once and encoded again in the one
// way there is (unreserved characters and !$&'()*+,;=:@ stand for themselves,
// every other byte is %HH in upper case), with "//" and "/./" collapsed. A
// trailing slash and the letter case are kept, and a slash that came encoded
// stays %2F. Path of a canonical path is that path.
//
// target is for upstream: the client's own spelling, since some servers know
// but one, with "//" and "/./" collapsed and nothing else changed but bytes
// that no URI may hold.
//
// Both begin with "/"; neither has the query. Every error is an
// [*exchange.Error] of status 400: for "..", a backslash, a control character
// or invalid UTF-8 after one decoding; for a dot segment beside an encoded
// slash; for what a second decoding would make ".", "/" or "\"; and for a
// segment that begins with "..;", which some servers read as "..".
func Path(u *url.URL) (canonical, target string, err error) {
	raw := u.RawPath // "" if the client's spelling is the one that net/url prefers
	if raw == "" {
		raw = u.EscapedPath()
	}
	if raw == "" {
		return "/", "/", nil
	}
	if raw[0] != '/' {
		return "", "", badPath("path does not begin with a slash")
	}

	if Plain(raw) {
		return raw, raw, nil
	}

	// Paths of the usual length are built on the stack, and cost no allocation
	// where they turn out to be what came in.
	var canonicalBuf, targetBuf, decodedBuf [256]byte
	c, t, decoded := append(canonicalBuf[:0], '/'), append(targetBuf[:0], '/'), decodedBuf[:0]
	for rest, more := raw[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if decoded, err = decode(decoded[:0], segment); err != nil {
			return "", "", err
		}
		if err := check(decoded); err != nil {
			return "", "", err
		}
		if len(decoded) == 0 || string(decoded) == "." {
			continue // the slash before it stands for both
		}
		for _, ch := range decoded {
			c = appendByte(c, ch, literal[ch]&inPath != 0)
		}
		for i := range len(segment) {
			t = appendByte(t, segment[i], literal[segment[i]]&inTarget != 0)
		}
		if more {
			c, t = append(c, '/'), append(t, '/')
		}
	}
	return reuse(raw, c), reuse(raw, t), nil
}

// Plain says that raw is canonical for sure, and has no query: most paths are like that,
// and need no second look.
func Plain(raw string) bool {
	last := byte(0)
	for i := range len(raw) {
		ch := raw[i]
		if literal[ch]&inPath == 0 && ch != '/' || last == '/' && (ch == '/' || ch == '.') {
			return false
		}
		last = ch
	}
	return true
}

// Canonical is the canonical path of a file whose name stands in an index, not
// encoded. ok is false if no client could ask for it.
func Canonical(name string) (path string, ok bool) {
	path, _, err := Path(&url.URL{Path: name})
	return path, err == nil
}

// Name is a segment of a canonical path as people read it, not encoded.
func Name(segment string) string {
	name, err := url.PathUnescape(segment)
	if err != nil {
		return segment
	}
	return name
}

// CutLast is path without its last segment and the slash before that, and the
// segment; path itself is the segment if it has no slash.
func CutLast(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// CutRight takes s apart at the n-th sep from the right, as NAME-VERSION-rN at the
// second dash. ok is false if it has less of them, or nothing before that one.
func CutRight(s string, sep byte, n int) (before, after string, ok bool) {
	at := len(s)
	for range n {
		if at = strings.LastIndexByte(s[:at], sep); at <= 0 {
			return "", "", false
		}
	}
	return s[:at], s[at+1:], true
}

// Query is a raw query as keys and targets spell it: the client's way, since
// what its escapes mean is the server's affair, save bytes that no URI may hold.
func Query(raw string) string {
	b := []byte(nil)
	for i := range len(raw) {
		ok := literal[raw[i]]&inTarget != 0 || raw[i] == '/' || raw[i] == '?'
		if !ok && b == nil {
			b = append(make([]byte, 0, len(raw)+16), raw[:i]...)
		}
		if b != nil {
			b = appendByte(b, raw[i], ok)
		}
	}
	if b == nil {
		return raw
	}
	return string(b)
}

// decode appends segment to b, decoded once.
func decode(b []byte, segment string) ([]byte, error) {
	for i := 0; i < len(segment); i++ {
		ch := segment[i]
		if ch == '%' {
			if i+2 >= len(segment) || unhex(segment[i+1]) < 0 || unhex(segment[i+2]) < 0 {
				return b, badPath("bad escape in the path")
			}
			ch = byte(unhex(segment[i+1])<<4 | unhex(segment[i+2]))
			i += 2
		}
		b = append(b, ch)
	}
	return b, nil
}

// check refuses a decoded segment that could mean different paths to different readers.
func check(segment []byte) error {
	for i := 0; i < len(segment); {
		ch, size := rune(segment[i]), 1
		if ch >= utf8.RuneSelf {
			ch, size = utf8.DecodeRune(segment[i:])
		}
		switch {
		case ch == utf8.RuneError && size == 1:
			return badPath("path is not UTF-8")
		case ch == '\\':
			return badPath("backslash in the path")
		case unicode.IsControl(ch):
			return badPath("control character in the path")
		case ch == '%' && hidden(segment[i+1:]):
			return badPath("path is encoded twice")
		}
		i += size
	}
	if bytes.IndexByte(segment, '.') < 0 {
		return nil
	}
	for rest, encoded := segment, false; ; encoded = true {
		part, after, more := bytes.Cut(rest, []byte{'/'})
		switch {
		case string(part) == "..", bytes.HasPrefix(part, []byte("..;")),
			string(part) == "." && (encoded || more): // alone it is harmless, and common
			return badPath("dot segment in the path")
		}
		if !more {
			return nil
		}
		rest = after
	}
}

// hidden says whether what follows a decoded percent sign would decode to ".",
// "/" or "\", however many more times it is encoded.
func hidden(s []byte) bool {
	for bytes.HasPrefix(s, []byte("25")) {
		s = s[2:]
	}
	if len(s) < 2 || unhex(s[0]) < 0 || unhex(s[1]) < 0 {
		return false
	}
	switch unhex(s[0])<<4 | unhex(s[1]) {
	case '.', '/', '\\':
		return true
	}
	return false
}

// Where a byte stands for itself. A percent sign does in a target, whose escapes
// were found good before.
const (
	inPath = 1 << iota
	inTarget
)

var literal = func() (t [256]uint8) {
	for ch := range t {
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			strings.IndexByte("-._~!$&'()*+,;=:@", byte(ch)) >= 0:
			t[ch] = inPath | inTarget
		case ch == '%':
			t[ch] = inTarget
		}
	}
	return t
}()

func appendByte(b []byte, ch byte, literal bool) []byte {
	if literal {
		return append(b, ch)
	}
	const hex = "0123456789ABCDEF"
	return append(b, '%', hex[ch>>4], hex[ch&15])
}

// unhex is the value of a hex digit, -1 for another byte.
func unhex(ch byte) int {
	switch {
	case '0' <= ch && ch <= '9':
		return int(ch - '0')
	case 'a' <= ch && ch <= 'f':
		return int(ch-'a') + 10
	case 'A' <= ch && ch <= 'F':
		return int(ch-'A') + 10
	}
	return -1
}

// reuse is b as a string: s itself if they are equal.
func reuse(s string, b []byte) string {
	if string(b) == s {
		return s
	}
	return string(b)
}

func badPath(reason string) error {
	return &exchange.Error{Status: http.StatusBadRequest, Message: reason, Reason: "path"}
}
