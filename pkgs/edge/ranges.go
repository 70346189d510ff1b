package edge

import (
	"crypto/rand"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// A byteRange is n bytes from start, all of them within the content.
type byteRange struct{ start, n int64 }

// contentRange is the Content-Range of r (RFC 9110 §14.4).
func (r byteRange) contentRange(size int64) string {
	b := append(make([]byte, 0, 70), "bytes "...)
	b = strconv.AppendInt(b, r.start, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, r.start+r.n-1, 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, size, 10)
	return string(b)
}

var errUnsatisfiable = errors.New("no range within the content")

// parseRange reads a Range field (RFC 9110 §14.2) for content of size bytes. It
// returns no range where the whole is to be sent: another unit than bytes, bad
// syntax, more than limit ranges, or more bytes in all than there are, which is
// no use but a flood.
func parseRange(field string, size int64, limit int) ([]byteRange, error) {
	const unit = "bytes="
	if len(field) < len(unit) || !strings.EqualFold(field[:len(unit)], unit) {
		return nil, nil
	}
	var ranges []byteRange
	var sum int64
	asked := 0
	for spec := range strings.SplitSeq(field[len(unit):], ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue // §5.6.1.2: empty elements do not count
		}
		if asked++; asked > limit {
			return nil, nil
		}
		r, ok := parseSpec(spec, size)
		if !ok {
			return nil, nil
		}
		if r.n == 0 {
			continue
		}
		if sum += r.n; sum > size {
			return nil, nil
		}
		ranges = append(ranges, r)
	}
	switch {
	case asked == 0:
		return nil, nil
	case len(ranges) == 0:
		return nil, errUnsatisfiable
	}
	return ranges, nil
}

// parseSpec reads one "first-last", "first-" or "-suffix". A range outside the
// content has no bytes.
func parseSpec(spec string, size int64) (r byteRange, ok bool) {
	first, last, ok := strings.Cut(spec, "-")
	if !ok || first == "" && last == "" {
		return r, false
	}
	if first == "" {
		n, ok := parsePos(last)
		n = min(n, size)
		return byteRange{size - n, n}, ok
	}
	start, ok := parsePos(first)
	if !ok {
		return r, false
	}
	end := int64(math.MaxInt64)
	if last != "" {
		if end, ok = parsePos(last); !ok || end < start {
			return r, false
		}
	}
	if start >= size {
		return r, true
	}
	return byteRange{start, min(end, size-1) - start + 1}, true
}

// parsePos reads digits; a number too large for an int64 is the largest.
func parsePos(s string) (int64, bool) {
	if s == "" || !consists(s, "0123456789") {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64) // its value at overflow is MaxInt64
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// sendRanges sends a 206 of one range, or of several as multipart/byteranges
// (RFC 9110 §14.6).
func sendRanges(w *writer, body io.ReadSeeker, ranges []byteRange, size int64) error {
	h := w.Header()
	if len(ranges) == 1 {
		h["Content-Range"] = []string{ranges[0].contentRange(size)}
		h["Content-Length"] = []string{strconv.FormatInt(ranges[0].n, 10)}
		w.WriteHeader(http.StatusPartialContent)
		return copyRange(w, body, ranges[0])
	}

	boundary := rand.Text()
	heads := make([]string, len(ranges))
	length := int64(0)
	for i, r := range ranges {
		head := "\r\n--" + boundary + "\r\n"
		if i == 0 {
			head = head[2:]
		}
		if t := h.Get("Content-Type"); t != "" {
			head += "Content-Type: " + t + "\r\n"
		}
		heads[i] = head + "Content-Range: " + r.contentRange(size) + "\r\n\r\n"
		length += int64(len(heads[i])) + r.n
	}
	tail := "\r\n--" + boundary + "--\r\n"
	h["Content-Type"] = []string{"multipart/byteranges; boundary=" + boundary}
	h["Content-Length"] = []string{strconv.FormatInt(length+int64(len(tail)), 10)}
	w.WriteHeader(http.StatusPartialContent)
	for i, r := range ranges {
		if _, err := io.WriteString(w, heads[i]); err != nil {
			return &lostError{err}
		}
		if err := copyRange(w, body, r); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(w, tail); err != nil {
		return &lostError{err}
	}
	return nil
}

func copyRange(w *writer, body io.ReadSeeker, r byteRange) error {
	if _, err := body.Seek(r.start, io.SeekStart); err != nil {
		return err
	}
	return copyBody(w, body, r.n)
}
