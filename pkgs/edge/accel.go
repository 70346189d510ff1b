package edge

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
)

// Accel lets a web server in front send stored files itself: nginx by
// X-Accel-Redirect, others by X-Sendfile.
type Accel struct {
	// Header is the request field that carries the front's internal prefix, such
	// as "X-Accel-Path"; "" turns all of this off.
	Header  string
	Respond []string       // response fields that name the file: prefix, "/", path in the store, URL-escaped
	Trusted []netip.Prefix // of the fronts; a unix socket is always trusted. From anyone else the field is nothing
}

// accelerate answers with the path of the stored file that body is, for the
// front to send: with status 200 whatever the Range, which is the front's to
// serve. It reports false, and has done nothing, where that cannot be.
func (e *edge) accelerate(w http.ResponseWriter, r *http.Request, body io.Reader) bool {
	if e.Accel.Header == "" || len(e.Accel.Respond) == 0 {
		return false
	}
	prefix := r.Header.Get(e.Accel.Header)
	file, ok := body.(interface{ Path() string }) // a store.Plain
	if !ok || !strings.HasPrefix(prefix, "/") || !trusts(e.Accel.Trusted, r) {
		return false
	}
	value := strings.TrimRight(prefix, "/") + "/" + escape(file.Path())
	h := w.Header()
	for _, name := range e.Accel.Respond {
		h.Set(name, value)
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return true
}

// escape escapes every byte of a slash-separated path that is not unreserved
// (RFC 3986 §2.3): the front decodes it once.
func escape(path string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(path)+16)
	for i := range len(path) {
		switch ch := path[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			ch == '/', ch == '-', ch == '.', ch == '_', ch == '~':
			b = append(b, ch)
		default:
			b = append(b, '%', hex[ch>>4], hex[ch&15])
		}
	}
	return string(b)
}
