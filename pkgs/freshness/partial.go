package freshness

import (
	"math"
	"strconv"
	"strings"
)

// A Part is a range of content: bytes First to Last of Total, which is -1 if unknown.
type Part struct{ First, Last, Total int64 }

// Len is how many bytes it has.
func (p Part) Len() int64 { return p.Last - p.First + 1 }

// String is p as a Content-Range has it (RFC 9110 §14.4).
func (p Part) String() string {
	total := "*"
	if p.Total >= 0 {
		total = strconv.FormatInt(p.Total, 10)
	}
	return "bytes " + strconv.FormatInt(p.First, 10) + "-" + strconv.FormatInt(p.Last, 10) + "/" + total
}

// ParseContentRange reads the Content-Range of a response with one part (RFC 9110
// §14.4). ok is false for other units, for none and for what contradicts itself.
func ParseContentRange(lines []string) (p Part, ok bool) {
	if len(lines) != 1 {
		return p, false
	}
	unit, rest, _ := strings.Cut(strings.Trim(lines[0], " \t"), " ")
	span, total, ok := strings.Cut(rest, "/")
	first, last, dash := strings.Cut(span, "-")
	if !ok || !dash || !strings.EqualFold(unit, "bytes") {
		return p, false
	}
	p = Part{position(first), position(last), position(total)}
	if total == "*" {
		p.Total = -1
	} else if p.Total < 0 {
		return Part{}, false
	}
	if p.First < 0 || p.Last < p.First || p.Total >= 0 && p.Last >= p.Total {
		return Part{}, false
	}
	return p, true
}

// Within is the one range that a Range field asks for (RFC 9110 §14.2), if p has
// all of it. Of content whose length is unknown nothing open-ended is.
func (p Part) Within(lines []string) (asked Part, ok bool) {
	first, last, ok := oneRange(lines)
	if !ok {
		return asked, false
	}
	asked = Part{position(first), position(last), p.Total}
	switch {
	case first == "" && asked.Last > 0 && p.Total >= 0: // the last bytes
		asked.First, asked.Last = max(p.Total-asked.Last, 0), p.Total-1
	case last == "" && asked.First >= 0 && p.Total >= 0: // from there on
		asked.Last = p.Total - 1
	case asked.First < 0 || asked.Last < asked.First:
		return Part{}, false
	case p.Total >= 0:
		asked.Last = min(asked.Last, p.Total-1)
	}
	return asked, asked.First >= p.First && asked.Last <= p.Last && asked.First <= asked.Last
}

// FirstByte is where the one range begins that a Range field asks for (RFC 9110
// §14.2). ok is false for none, for several, and for one that counts from the end.
func FirstByte(lines []string) (first int64, ok bool) {
	from, last, ok := oneRange(lines)
	if first = position(from); !ok || first < 0 || last != "" && position(last) < first {
		return 0, false
	}
	return first, true
}

// oneRange takes the one range of a Range field apart, as it is spelled.
func oneRange(lines []string) (first, last string, ok bool) {
	const unit = "bytes="
	if len(lines) != 1 || len(lines[0]) < len(unit) || !strings.EqualFold(lines[0][:len(unit)], unit) {
		return "", "", false
	}
	return strings.Cut(strings.Trim(lines[0][len(unit):], " \t"), "-")
}

// position is the number that digits say; -1 if they are none, or too many.
func position(s string) int64 {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n == math.MaxInt64 {
		return -1
	}
	return n
}
