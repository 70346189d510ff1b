package front

import (
	"bytes"
	"math"
)

// limits are those of a head, in bytes and lines.
type limits struct{ target, header, fields int }

// maxMethod and lineSlack bound what a request line has beside its target.
const (
	maxMethod = 32
	lineSlack = maxMethod + len("  HTTP/1.1")
)

// A span is the bytes from..to of a head.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// A head is a request's head as far as it is read. What it says of bytes is
// relative to the first that parse was given; these may have moved in memory.
type head struct {
	start int // where the request line begins: behind an empty line, if there is one
	line  int // where the line begins that is read next
	scan  int // where no LF was found before
	lines int // read, the request line first

	method, target, host span
	hosts                int
	minor                byte // of the version: '0' or '1'
	isHEAD               bool
	get                  bool // GET or HEAD
	connect              bool // CONNECT
	mayConnect           bool // CONNECT is no bad method; set before parse

	length  int64 // Content-Length; -1: there is none
	chunked bool

	accept, ranged span // of Accept and Range; to is 0 if there is none
	plain          bool // only Host, Accept and Range, of all its fields, can matter to the answer of a GET
}

func (h *head) reset() { *h = head{length: -1, plain: true} }

// parse reads on in b, which begins where it did before and has more behind. It
// returns how many bytes the head has: 0 as long as its end is missing. A head is
// good if its every byte is as RFC 9112 has it, and its body, if any, ends in one
// place only.
func (h *head) parse(b []byte, lim *limits) (int, reason) {
	for {
		i := bytes.IndexByte(b[h.scan:], '\n')
		if i < 0 {
			h.scan = len(b)
			return 0, h.incomplete(b, lim)
		}
		end := h.scan + i // of the line, with its CR
		if end == h.line || b[end-1] != '\r' {
			return 0, bareLF
		}
		line := span{h.line, end - 1}
		h.line, h.scan = end+1, end+1
		why := none
		switch {
		case h.lines == 0 && line.from == line.to && h.start == 0:
			// RFC 9112 §2.2: one empty line before a request is forgiven.
			h.start = h.line
			continue
		case h.lines == 0:
			why = h.requestLine(b, line, lim)
		case line.from == line.to:
			return h.line, h.complete(b)
		case h.lines > lim.fields:
			why = manyFields
		case h.line-h.target.to > lim.header:
			why = largeHeader
		default:
			why = h.field(b, line)
		}
		if why != none {
			return 0, why
		}
		h.lines++
	}
}

// incomplete judges the beginning of a line, so that what can become no request
// is not waited for.
func (h *head) incomplete(b []byte, lim *limits) reason {
	part := b[h.line:]
	if h.lines > 0 {
		if len(b)-h.target.to > lim.header {
			return largeHeader
		}
		return none
	}
	if len(part) > 0 && !tchar(part[0]) && (part[0] != '\r' || len(part) > 1) {
		return badRequestLine // a TLS handshake, for one
	}
	if sp := bytes.IndexByte(part, ' '); sp >= 0 && sp <= maxMethod {
		if len(part)-sp-1 > lim.target+len(" HTTP/1.1\r") {
			return longTarget
		}
	} else if len(part) > maxMethod {
		return badRequestLine
	}
	return none
}

// requestLine reads "GET /path HTTP/1.1" (RFC 9112 §3).
func (h *head) requestLine(b []byte, line span, lim *limits) reason {
	l := line.of(b)
	sp := bytes.IndexByte(l, ' ')
	if sp <= 0 || sp > maxMethod {
		return badRequestLine
	}
	lower := false
	for _, c := range l[:sp] {
		if !tchar(c) {
			return badRequestLine
		}
		lower = lower || 'a' <= c && c <= 'z'
	}
	h.method = span{line.from, line.from + sp}
	h.isHEAD = string(l[:sp]) == "HEAD"
	h.get = h.isHEAD || string(l[:sp]) == "GET"
	rest := l[sp+1:]
	sp2 := bytes.IndexByte(rest, ' ')
	if sp2 <= 0 {
		return badRequestLine
	}
	h.target = span{h.method.to + 1, h.method.to + 1 + sp2}
	version := rest[sp2+1:]
	if len(version) != len("HTTP/1.1") || string(version[:5]) != "HTTP/" || !digit(version[5]) || version[6] != '.' || !digit(version[7]) {
		return badRequestLine
	}
	switch method := l[:sp]; {
	case lower, string(method) == "CONNECT" && !h.mayConnect, string(method) == "TRACE", string(method) == "PRI":
		return badMethod
	case version[5] != '1' || version[7] > '1':
		return badVersion
	case sp2 > lim.target:
		return longTarget
	}
	h.minor = version[7]
	if h.connect = string(l[:sp]) == "CONNECT"; h.connect {
		return checkAuthority(rest[:sp2])
	}
	return checkTarget(rest[:sp2], l[:sp])
}

// field reads "Name: value" (RFC 9112 §5).
func (h *head) field(b []byte, line span) reason {
	l := line.of(b)
	if l[0] == ' ' || l[0] == '\t' {
		return foldedField // §5.2
	}
	colon := 0
	for colon < len(l) && tchar(l[colon]) {
		colon++
	}
	if colon == 0 || colon == len(l) || l[colon] != ':' {
		return badField // a blank before the colon too, §5.1
	}
	for _, c := range l[colon+1:] {
		if class[c]&isValue == 0 {
			return badField // NUL, CR alone, other controls
		}
	}
	from, to := colon+1, len(l)
	for from < to && blank(l[from]) {
		from++
	}
	for to > from && blank(l[to-1]) {
		to--
	}
	name, value := l[:colon], l[from:to]
	switch {
	case fold(name, "host"):
		if h.hosts++; h.hosts > 1 || !validHost(value) {
			return badHost
		}
		h.host = span{line.from + from, line.from + to}
	case fold(name, "content-length"):
		if h.length >= 0 {
			return badLength
		}
		if h.length = decimal(value); h.length < 0 {
			return badLength
		}
	case fold(name, "transfer-encoding"):
		if h.chunked || !fold(value, "chunked") {
			return badCoding
		}
		h.chunked = true
	case fold(name, "expect"):
		if len(value) > 0 && !fold(value, "100-continue") {
			return badExpect
		}
	default:
		h.plain = h.plain && h.unmoved(name, span{line.from + from, line.from + to}, value)
		return none
	}
	h.plain = h.plain && h.length < 0 && !h.chunked
	return none
}

// unmoved says whether a field changes nothing in the answer to a GET that is
// ready, and notes Accept and Range, which may.
func (h *head) unmoved(name []byte, at span, value []byte) bool {
	switch len(name) {
	case len("Range"):
		if fold(name, "range") && h.ranged.to == 0 {
			h.ranged = at
			return true
		}
	case len("Accept"):
		if fold(name, "accept") && h.accept.to == 0 {
			h.accept = at
			return true
		}
	case len("User-Agent"): // and Connection
		if fold(name, "user-agent") || fold(name, "connection") && fold(value, "keep-alive") {
			return true
		}
	case len("Accept-Encoding"): // and Accept-Language
		if fold(name, "accept-encoding") || fold(name, "accept-language") {
			return true
		}
	}
	// What npm says of itself; see inert.
	return len(name) > len("npm-") && fold(name[:len("npm-")], "npm-") || len(name) > len("pacote-") && fold(name[:len("pacote-")], "pacote-")
}

// complete judges what only the whole head shows.
func (h *head) complete(b []byte) reason {
	switch {
	case h.hosts == 0 && h.minor == '1':
		return badHost
	case h.chunked && h.length >= 0:
		return twoLengths // RFC 9112 §6.1, where it may be forgiven
	case h.chunked && h.minor == '0':
		return badCoding
	case (h.get || h.connect) && (h.chunked || h.length > 0):
		return unwantedBody // RFC 9110 §9.3.1: no meaning, but a place to hide a request
	}
	if h.connect {
		// RFC 9112 §3.2.3: the port is said there, and Host is the same.
		if !bytes.EqualFold(h.target.of(b), h.host.of(b)) {
			return foreignTarget
		}
		return none
	}
	if target := h.target.of(b); target[0] != '/' && target[0] != '*' && !sameHost(target, h.host.of(b)) {
		return foreignTarget
	}
	return none
}

// Classes of bytes.
const (
	isToken  = 1 << iota // tchar, RFC 9110 §5.6.2
	isValue              // of fields, §5.5: visible, blank, obs-text
	isTarget             // visible ASCII but "#", which begins what is never sent
	isHex
	isDigit
)

var class = func() (t [256]uint8) {
	for c := range t {
		switch {
		case '0' <= c && c <= '9':
			t[c] = isToken | isHex | isDigit
		case 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			t[c] = isToken | isHex
		case 'g' <= c && c <= 'z', 'G' <= c && c <= 'Z':
			t[c] = isToken
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= isValue
		}
		if c > ' ' && c < 0x7f && c != '#' {
			t[c] |= isTarget
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= isToken
	}
	return t
}()

func tchar(c byte) bool { return class[c]&isToken != 0 }
func digit(c byte) bool { return class[c]&isDigit != 0 }
func hex(c byte) bool   { return class[c]&isHex != 0 }
func blank(c byte) bool { return c == ' ' || c == '\t' }

// fold says whether b is s, which is in lower case, but for the case of letters.
func fold[T string | []byte](b T, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// decimal is the number that b is in digits and nothing else (RFC 9110 §8.6);
// -1 if it is none, or more than a file can have.
func decimal(b []byte) int64 {
	if len(b) == 0 || len(b) > 19 {
		return -1
	}
	n := uint64(0)
	for _, c := range b {
		if !digit(c) {
			return -1
		}
		n = n*10 + uint64(c-'0')
	}
	if n > math.MaxInt64 {
		return -1
	}
	return int64(n)
}
