package freshness

import (
	"errors"
	"strings"
	"time"
)

// errStructured says that a field is no dictionary of RFC 9651.
var errStructured = errors.New("not a structured dictionary")

// ParseTargeted reads the lines of a targeted cache control field such as
// CDN-Cache-Control (RFC 9213 §2.1): a dictionary of structured fields. ok is
// false where the field is to be ignored: it is empty, no dictionary, or gives a
// directive of ours an argument of another type.
func ParseTargeted(lines []string) (d Directives, ok bool) {
	if len(lines) == 0 {
		return Directives{}, false
	}
	members, err := parseDictionary(strings.Join(lines, ", "))
	if err != nil || len(members) == 0 {
		return Directives{}, false
	}
	for name, m := range members {
		if !d.target(name, m) {
			return Directives{}, false
		}
	}
	return d, true
}

// target takes one member. It reports false where its type is not that of the directive.
func (d *Directives) target(name string, m item) bool {
	flags := map[string]*bool{
		"no-store": &d.NoStore, "no-transform": &d.NoTransform, "must-understand": &d.MustUnderstand,
		"public": &d.Public, "must-revalidate": &d.MustRevalidate, "proxy-revalidate": &d.ProxyRevalidate,
		"immutable": &d.Immutable,
	}
	deltas := map[string]*Delta{
		"max-age": &d.MaxAge, "s-maxage": &d.SMaxAge,
		"stale-if-error": &d.StaleIfError, "stale-while-revalidate": &d.StaleWhileRevalidate,
	}
	switch {
	case flags[name] != nil:
		*flags[name] = m.flag
		return m.kind == kindBool
	case deltas[name] != nil:
		*deltas[name] = Delta{true, min(time.Duration(min(m.number, 1<<31))*time.Second, maxDelta)}
		return m.kind == kindInteger && m.number >= 0
	case name == "no-cache" || name == "private":
		whole, fields := &d.NoCache, &d.NoCacheFields
		if name == "private" {
			whole, fields = &d.Private, &d.PrivateFields
		}
		switch m.kind {
		case kindBool:
			*whole = m.flag
		case kindString:
			fieldNames(whole, fields, m.text, true)
		default:
			return false
		}
	}
	return true // an extension
}

// The types of items (RFC 9651 §3.3), as far as they make a difference here.
type kind uint8

const (
	kindOther kind = iota // decimals, tokens, byte sequences, dates, display strings, inner lists
	kindInteger
	kindString
	kindBool
)

// An item is a member of a dictionary, without its parameters.
type item struct {
	kind   kind
	number int64
	text   string
	flag   bool
}

// parseDictionary reads a dictionary (RFC 9651 §4.2.2). Of equal keys the last counts.
func parseDictionary(s string) (map[string]item, error) {
	p := sfParser{s: strings.Trim(s, " ")}
	members := map[string]item{}
	for p.s != "" {
		key, err := p.key()
		if err != nil {
			return nil, err
		}
		m := item{kind: kindBool, flag: true}
		if p.take('=') {
			if m, err = p.member(); err != nil {
				return nil, err
			}
		}
		if err := p.parameters(); err != nil {
			return nil, err
		}
		members[key] = m
		p.s = strings.TrimLeft(p.s, " \t")
		if p.s == "" {
			return members, nil
		}
		if !p.take(',') {
			return nil, errStructured
		}
		if p.s = strings.TrimLeft(p.s, " \t"); p.s == "" {
			return nil, errStructured // a comma at the end
		}
	}
	return members, nil
}

// An sfParser holds what is left of a structured field.
type sfParser struct{ s string }

func (p *sfParser) take(c byte) bool {
	if p.s == "" || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

// while cuts the longest prefix whose bytes are of a set.
func (p *sfParser) while(of func(byte) bool) string {
	n := 0
	for n < len(p.s) && of(p.s[n]) {
		n++
	}
	head := p.s[:n]
	p.s = p.s[n:]
	return head
}

func (p *sfParser) key() (string, error) {
	key := p.while(func(c byte) bool {
		return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("_-.*", c) >= 0
	})
	if key == "" || key[0] != '*' && (key[0] < 'a' || key[0] > 'z') {
		return "", errStructured
	}
	return key, nil
}

// member is an item or an inner list (§4.2.1.1), whose own items do not matter here.
func (p *sfParser) member() (item, error) {
	if !p.take('(') {
		return p.item()
	}
	for {
		p.s = strings.TrimLeft(p.s, " ")
		if p.take(')') {
			return item{}, nil
		}
		if _, err := p.item(); err != nil {
			return item{}, err
		}
		if err := p.parameters(); err != nil {
			return item{}, err
		}
		if p.s == "" || p.s[0] != ' ' && p.s[0] != ')' {
			return item{}, errStructured
		}
	}
}

// parameters skips those of an item (§4.2.3.2), which no directive has.
func (p *sfParser) parameters() error {
	for p.take(';') {
		p.s = strings.TrimLeft(p.s, " ")
		if _, err := p.key(); err != nil {
			return err
		}
		if p.take('=') {
			if _, err := p.item(); err != nil {
				return err
			}
		}
	}
	return nil
}

// item is a bare item (§4.2.3.1).
func (p *sfParser) item() (item, error) {
	if p.s == "" {
		return item{}, errStructured
	}
	switch c := p.s[0]; {
	case c == '-' || digit(c):
		return p.number()
	case c == '"':
		p.s = p.s[1:]
		text, err := p.quoted()
		return item{kind: kindString, text: text}, err
	case c == '?':
		if len(p.s) < 2 || p.s[1] != '0' && p.s[1] != '1' {
			return item{}, errStructured
		}
		flag := p.s[1] == '1'
		p.s = p.s[2:]
		return item{kind: kindBool, flag: flag}, nil
	case c == ':':
		return p.bytes()
	case c == '@':
		p.s = p.s[1:]
		n, err := p.number()
		if n.kind != kindInteger {
			err = errStructured
		}
		return item{}, err
	case c == '%':
		return p.display()
	case c == '*' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		p.while(func(c byte) bool { return tokenByte(c) || c == ':' || c == '/' })
		return item{}, nil
	}
	return item{}, errStructured
}

// number is an integer of at most 15 digits or a decimal of at most 12 and 3 (§4.2.4).
func (p *sfParser) number() (item, error) {
	negative := p.take('-')
	whole := p.while(digit)
	if whole == "" || len(whole) > 15 {
		return item{}, errStructured
	}
	if p.take('.') {
		fraction := p.while(digit)
		if len(whole) > 12 || fraction == "" || len(fraction) > 3 {
			return item{}, errStructured
		}
		return item{}, nil
	}
	n := int64(0)
	for i := range len(whole) {
		n = n*10 + int64(whole[i]-'0')
	}
	if negative {
		n = -n
	}
	return item{kind: kindInteger, number: n}, nil
}

// quoted is a string whose opening quote is taken (§4.2.5).
func (p *sfParser) quoted() (string, error) {
	var b strings.Builder
	for i := 0; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.s = p.s[i+1:]
			return b.String(), nil
		case c == '\\':
			if i++; i == len(p.s) || p.s[i] != '"' && p.s[i] != '\\' {
				return "", errStructured
			}
			b.WriteByte(p.s[i])
		case c < 0x20 || c > 0x7e:
			return "", errStructured
		default:
			b.WriteByte(c)
		}
	}
	return "", errStructured
}

// bytes is a byte sequence between colons (§4.2.7).
func (p *sfParser) bytes() (item, error) {
	p.s = p.s[1:]
	p.while(func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digit(c) || strings.IndexByte("+/=", c) >= 0
	})
	if !p.take(':') {
		return item{}, errStructured
	}
	return item{}, nil
}

// display is a display string, %"…" with escapes in lower case (§4.2.10).
func (p *sfParser) display() (item, error) {
	if !strings.HasPrefix(p.s, `%"`) {
		return item{}, errStructured
	}
	for i := 2; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.s = p.s[i+1:]
			return item{}, nil
		case c == '%':
			if i+2 >= len(p.s) || !lowerHex(p.s[i+1]) || !lowerHex(p.s[i+2]) {
				return item{}, errStructured
			}
			i += 2
		case c < 0x20 || c > 0x7e:
			return item{}, errStructured
		}
	}
	return item{}, errStructured
}

func digit(c byte) bool    { return '0' <= c && c <= '9' }
func lowerHex(c byte) bool { return digit(c) || 'a' <= c && c <= 'f' }
