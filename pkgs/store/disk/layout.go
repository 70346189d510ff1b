package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Names that the layout uses for itself. A segment of a key that equals one of
// them is escaped.
const (
	indexName   = "__index"   // the content of a path that ends in "/", within its directory
	contentName = "__content" // the content of a path that is a directory as well
	tempDir     = ".temp"     // top level: drafts
	metaDir     = ".meta"     // top level: lock, state and sidecars

	defaultHub = "default" // lies at the top level itself
)

// Marks: "%" followed by what is no hexadecimal digit, so no escape looks like them.
const (
	emptyMark   = "%-" // an empty segment
	queryMark   = "%?" // the query follows
	variantMark = "%@" // the variant follows
	hashMark    = "%#" // the SHA-256 of what had no other place follows
)

const (
	maxName = 255  // bytes of a file name, of any usual file system
	maxPath = 3800 // bytes of a path: PATH_MAX with some room for the root
)

// place is where the content of key lies, relative to the root.
//
// Segments are stored decoded, so that the tree of a mirror is a tree of
// entries and a web server's alias finds them; what a file name cannot or must
// not hold stays escaped as %HH, "%" itself included. Keys of one hub never
// share a place. The default hub's /npm/x and the hub npm's /x do: the key in
// the metadata tells them apart.
func place(key exchange.Key) string {
	p, query, hasQuery := strings.Cut(key.Path, "?")
	var b strings.Builder
	b.Grow(len(key.Hub) + len(p) + 16)
	if key.Hub != defaultHub {
		b.WriteString(hubDir(key.Hub))
		b.WriteByte('/')
	}
	top := b.Len()

	rest, ok := strings.CutPrefix(p, "/")
	if !ok { // not canonical: must not meet the same path with a slash
		return b.String() + wholeName(key)
	}
	for {
		segment, after, more := strings.Cut(rest, "/")
		if !more {
			break
		}
		name := fit(pathName(segment))
		if b.Len() == 0 {
			name = topName(name)
		}
		b.WriteString(name)
		b.WriteByte('/')
		rest = after
	}
	last := indexName
	if rest != "" {
		last = pathName(rest)
	}
	if b.Len() == 0 {
		last = topName(last)
	}
	if hasQuery {
		last += queryMark + escape(query)
	}
	if key.Variant != "" {
		last += variantMark + escape(key.Variant)
	}
	b.WriteString(fit(last))
	if b.Len() > maxPath {
		return b.String()[:top] + wholeName(key)
	}
	return b.String()
}

// placeKey is the key whose place is name, for files without metadata. ok is
// false if the name alone does not tell.
func placeKey(hub, name string) (key exchange.Key, ok bool) {
	key.Hub = hub
	inHub := name
	if hub != defaultHub {
		if inHub, ok = strings.CutPrefix(name, hubDir(hub)+"/"); !ok {
			return key, false
		}
	}
	dir, last := path.Split(inHub)
	if last == contentName {
		dir, last = path.Split(strings.TrimSuffix(dir, "/"))
	}
	last, variant, hasVariant := strings.Cut(last, variantMark)
	last, query, hasQuery := strings.Cut(last, queryMark)
	var b strings.Builder
	for segment := range strings.SplitSeq(strings.TrimSuffix(dir, "/"), "/") {
		if dir == "" {
			break
		}
		if segment == emptyMark {
			segment = ""
		}
		b.WriteString("/" + canonical(unescape(segment)))
	}
	if last == indexName {
		last = ""
	}
	b.WriteString("/" + canonical(unescape(last)))
	if hasQuery {
		b.WriteString("?" + unescape(query))
	}
	key.Path = b.String()
	if hasVariant {
		key.Variant = unescape(variant)
	}
	return key, place(key) == placeOf(name)
}

// hubDir is the directory of a hub that is not the default one.
func hubDir(hub string) string { return topName(fit(segmentName(hub))) }

// wholeName is the place, below its hub's, of a key whose path has no segments
// or is too long.
func wholeName(key exchange.Key) string {
	return hashName("-", strconv.Quote(key.Path)+strconv.Quote(key.Variant))
}

// pathName is the file name of one segment of a canonical path; a segment that is
// spelled otherwise goes by its hash, lest two spellings meet in one file.
func pathName(segment string) string {
	raw := unescape(segment)
	if canonical(raw) != segment {
		return hashName("", segment)
	}
	return segmentName(raw)
}

// segmentName is the file name of a decoded segment.
func segmentName(raw string) string {
	switch raw {
	case "":
		return emptyMark
	case ".", "..", indexName, contentName:
		return escapeFirst(raw)
	}
	return escape(raw)
}

// topName keeps a top-level name off the store's own directories.
func topName(name string) string {
	if name == tempDir || name == metaDir {
		return escapeFirst(name)
	}
	return name
}

func escapeFirst(s string) string {
	return string(appendEscaped(nil, s[0])) + s[1:]
}

// fit is name, or its hash if it is too long for a file system.
func fit(name string) string {
	if len(name) <= maxName {
		return name
	}
	return hashName("+", name)
}

// hashName is the name of what has no readable one; kind keeps hashes of
// different things apart.
func hashName(kind, s string) string {
	sum := sha256.Sum256([]byte(s))
	return hashMark + kind + hex.EncodeToString(sum[:])
}

// escape keeps %HH of what a file name must not hold: "%", "/", control
// characters and bytes that are not UTF-8.
func escape(s string) string {
	clean := utf8.ValidString(s)
	for i := 0; clean && i < len(s); i++ {
		clean = !unsafe(s[i])
	}
	if clean {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || n == 1 && unsafe(s[i]) {
			b = appendEscaped(b, s[i])
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

func unsafe(c byte) bool { return c < ' ' || c == 0x7f || c == '%' || c == '/' }

// canonical is the one spelling of a decoded segment in a key's path: unreserved
// characters and !$&'()*+,;=:@ (RFC 3986 §3.3, pchar) literal, the rest %HH.
func canonical(raw string) string {
	for i := 0; i < len(raw); i++ {
		if !pchar(raw[i]) {
			b := make([]byte, i, len(raw)+16)
			copy(b, raw)
			for ; i < len(raw); i++ {
				if pchar(raw[i]) {
					b = append(b, raw[i])
				} else {
					b = appendEscaped(b, raw[i])
				}
			}
			return string(b)
		}
	}
	return raw
}

func pchar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0
}

func appendEscaped(b []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[c>>4], digits[c&15])
}

// unescape decodes %HH; anything else stays.
func unescape(s string) string {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s
	}
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b = append(b, c[0])
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
