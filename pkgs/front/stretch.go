package front

import (
	"bytes"
	"net/http"
	"strconv"
)

// A stretch is n bytes of content, from one on.
type stretch struct{ from, n int64 }

// parseRange reads a Range field (RFC 9110 §14.2) that asks for one stretch of content
// of size bytes. What else such a field may say is not answered here: ok is false
// for several ranges, for those outside the content, and for bad ones.
func parseRange(field []byte, size int64) (s stretch, ok bool) {
	spec, ok := bytes.CutPrefix(field, []byte("bytes="))
	dash := bytes.IndexByte(spec, '-')
	if !ok || dash < 0 {
		return s, false
	}
	first, last := spec[:dash], spec[dash+1:]
	from, to := decimal(first), decimal(last) // -1: no number
	switch {
	case len(first) == 0:
		n := min(to, size)
		return stretch{size - n, n}, n > 0
	case from < 0 || from >= size || len(last) > 0 && to < from:
		return s, false
	case len(last) == 0:
		to = size - 1
	}
	return stretch{from, min(to, size-1) - from + 1}, true
}

// appendContentRange appends the Content-Range of s (RFC 9110 §14.4).
func (s stretch) appendContentRange(b []byte, size int64) []byte {
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, s.from, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, s.from+s.n-1, 10)
	b = append(b, '/')
	return strconv.AppendInt(b, size, 10)
}

// whole is the header of the whole response, of which h was sent with a stretch that
// field asked for; nil if h is of something else.
func whole(h http.Header, field string, size int64) http.Header {
	s, ok := parseRange([]byte(field), size)
	if sent := h["Content-Range"]; !ok || len(sent) != 1 || sent[0] != string(s.appendContentRange(nil, size)) {
		return nil
	}
	h = h.Clone()
	delete(h, "Content-Range")
	h["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	return h
}
