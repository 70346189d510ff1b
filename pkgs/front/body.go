package front

// Bounds of a chunked body's framing (RFC 9112 §7.1).
const (
	maxChunkLine = 256     // of a size with its extensions
	maxChunkRoom = 8 << 10 // of the extensions of a body
	maxTrailer   = 2 << 10 // less than net/http's own
)

// A body is the framing of a request's body, as far as it has come. The zero
// value is one that is over, or never was.
type body struct {
	left  int64 // of the content, or of the chunk with its CR LF
	stage stage
	line  []byte // of the size line or trailer line that is under way
	room  int    // taken by extensions so far, or by the trailer
}

type stage uint8

const (
	over    stage = iota
	content       // left bytes
	sizeLine
	chunk // left bytes, the last two of them CR LF
	trailer
)

// begin is the framing that h announces. line's array is kept.
func (f *body) begin(h *head) {
	*f = body{line: f.line[:0]}
	switch {
	case h.chunked:
		f.stage = sizeLine
	case h.length > 0:
		f.stage, f.left = content, h.length
	}
}

// take reads on in b, and returns how many of its bytes belong to the body and
// are good. Less than all is the end of the body, or a reason.
func (f *body) take(b []byte) (n int, why reason) {
	for n < len(b) && f.stage != over {
		switch f.stage {
		case content:
			m := min(f.left, int64(len(b)-n))
			n += int(m)
			if f.left -= m; f.left == 0 {
				f.stage = over
			}
		case chunk:
			if f.left > 2 {
				m := min(f.left-2, int64(len(b)-n))
				n, f.left = n+int(m), f.left-m
				continue
			}
			if b[n] != "\n\r"[f.left-1] {
				return n, badChunk
			}
			n++
			if f.left--; f.left == 0 {
				f.stage = sizeLine
			}
		default:
			if why := f.lineByte(b[n]); why != none {
				return n, why
			}
			n++
		}
	}
	return n, none
}

// lineByte takes one byte of a size line or of the trailer.
func (f *body) lineByte(c byte) reason {
	why, most := badChunk, maxChunkLine
	if f.stage == trailer {
		why, most = badTrailer, maxTrailer
		f.room++
	}
	if f.line = append(f.line, c); len(f.line) > most || f.stage == trailer && f.room > maxTrailer {
		return why
	}
	if c != '\n' {
		return none
	}
	line := f.line
	f.line = f.line[:0]
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return why
	}
	line = line[:len(line)-2]
	if f.stage == trailer {
		return f.trailerLine(line)
	}
	return f.size(line)
}

// size reads "1a" or "1a;name=value", without a blank.
func (f *body) size(line []byte) reason {
	n, i := int64(0), 0
	for ; i < len(line) && hex(line[i]); i++ {
		if i == 15 {
			return badChunk
		}
		c := line[i] | 0x20
		if c >= 'a' {
			c -= 'a' - 10
		} else {
			c = line[i] - '0'
		}
		n = n<<4 | int64(c)
	}
	if i == 0 || i < len(line) && line[i] != ';' {
		return badChunk
	}
	for _, c := range line[i:] {
		if class[c]&isValue == 0 {
			return badChunk
		}
	}
	if f.room += len(line) - i; f.room > maxChunkRoom {
		return badChunk
	}
	if n == 0 {
		f.stage, f.room = trailer, 0
	} else {
		f.stage, f.left = chunk, n+2
	}
	return none
}

// trailerLine reads a field of the trailer, which must not say anything about
// the message's own framing or routing (RFC 9110 §6.5.1).
func (f *body) trailerLine(line []byte) reason {
	if len(line) == 0 {
		f.stage = over
		return none
	}
	h := head{length: -1}
	if h.field(line, span{0, len(line)}) != none || h.hosts > 0 || h.length >= 0 || h.chunked {
		return badTrailer
	}
	return none
}
