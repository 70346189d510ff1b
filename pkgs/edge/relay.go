package edge

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// carry makes the request of a [hub.Carrier].
func (e *edge) carry(w *writer, r *http.Request, early *interim) (*exchange.Request, error) {
	wire := &exchange.Wire{Method: r.Method, Interim: early.send}
	if hasBody(r) {
		wire.Body, wire.Length = &upload{body: r.Body, control: &w.control, timeout: e.WriteTimeout}, r.ContentLength
		if len(r.TransferEncoding) > 0 {
			// Content-Length beside it cannot be seen here: what follows may be a request in disguise.
			w.Header().Set("Connection", "close")
		}
	}
	return e.Carrier.Carry(r, wire)
}

// An upload is the body of a request on its way. A client that sends nothing for
// the timeout ends it. An upstream that answers early, or is left, may read it from
// a goroutine of its own until long after the answer.
type upload struct {
	body    io.Reader
	timeout time.Duration // 0: none

	mu      sync.Mutex
	control *http.ResponseController // guarded by mu; nil: the request is over
}

func (u *upload) Read(p []byte) (int, error) {
	if u.timeout > 0 {
		u.deadline(time.Now().Add(u.timeout))
		defer u.deadline(time.Time{})
	}
	return u.body.Read(p)
}

// deadline sets the deadline of reading, while the connection is the request's.
// Behind it that of HTTP/1 is another's, and on HTTP/2 net/http panics.
func (u *upload) deadline(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.control != nil {
		_ = u.control.SetReadDeadline(t) // not every writer can
	}
}

func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.control = nil
}

// An interim passes responses 1xx on, until the final one is there. Nil does nothing.
type interim struct {
	mu sync.Mutex
	w  http.ResponseWriter // guarded by mu; nil: it is too late, or the client knows none
}

func newInterim(w http.ResponseWriter, r *http.Request) *interim {
	if !r.ProtoAtLeast(1, 1) {
		return &interim{} // RFC 9110 §15.2
	}
	return &interim{w: w}
}

func (i *interim) send(status int, header http.Header) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.w == nil || status < 102 || status > 199 { // 100 is net/http's, 101 nobody asked for
		return
	}
	h := i.w.Header()
	for name, values := range header {
		h[name] = values
	}
	i.w.WriteHeader(status)
	for name := range header {
		delete(h, name)
	}
}

func (i *interim) end() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.w = nil
}

// relay writes the response to a request that is passed through: the origin's
// fields as they are, and what a cache must say. One from the store is judged by
// the client's conditions and ranges here; one that answers this very request is
// sent as it is. An error means that it was begun and cannot be completed.
func (e *edge) relay(w *writer, r *http.Request, resp *exchange.Response) error {
	h, entry := w.Header(), resp.Entry
	e.relayHeader(h, resp)
	w.flush = !resp.Outcome.Hit
	if !resp.Verbatim && entry.Status == http.StatusOK {
		if (freshness.Stored{Header: entry.Header, Received: entry.Received}).NotModified(r.Header) {
			dropContent(h)
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		if done, err := e.relayRange(w, r, resp); done {
			return err
		}
	}
	if entry.Status == http.StatusNoContent || entry.Status == http.StatusNotModified {
		w.WriteHeader(entry.Status)
		return nil
	}
	if entry.Size >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(entry.Size, 10)}
	}
	return sendWhole(w, r, resp)
}

// relayRange answers with what the client's Range asks of stored content. It
// reports false, and has done nothing, where the whole is to be sent.
func (e *edge) relayRange(w *writer, r *http.Request, resp *exchange.Response) (done bool, err error) {
	h, size := w.Header(), resp.Entry.Size
	body, ok := resp.Body.(io.ReadSeeker)
	field := r.Header["Range"]
	if !ok || size < 0 || r.Method != http.MethodGet || len(field) != 1 || !ifRange(r.Header, h) || !strongDate(r.Header, h) {
		return false, nil
	}
	ranges, err := parseRange(field[0], size, e.Limits.Ranges)
	if err != nil {
		dropContent(h)
		for name := range h {
			if name == "Expires" || strings.HasSuffix(name, "-Cache-Control") { // they speak of the content, to caches before us
				delete(h, name)
			}
		}
		h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(size, 10)}
		e.writeError(w, r, http.StatusRequestedRangeNotSatisfiable, "")
		return true, nil
	}
	if ranges == nil {
		return false, nil
	}
	return true, sendRanges(w, body, ranges, size)
}

// strongDate says whether Last-Modified may stand for the content where If-Range is
// a date: it must be a second older than the response (RFC 9110 §13.1.5, §8.8.2.2).
func strongDate(request, response http.Header) bool {
	validator := request.Get("If-Range")
	if validator == "" || strings.Contains(validator, `"`) {
		return true
	}
	modified, err := http.ParseTime(response.Get("Last-Modified"))
	if err != nil {
		return false
	}
	made, err := http.ParseTime(response.Get("Date"))
	return err == nil && made.Sub(modified) >= time.Second
}

// relayHeader fills h: Via and Cache-Status grow by this cache, Age is said of
// what did not come from the origin just now (RFC 9111 §5.1).
func (e *edge) relayHeader(h http.Header, resp *exchange.Response) {
	entry, o := resp.Entry, resp.Outcome
	for name, values := range entry.Header {
		if len(values) > 0 && !strings.HasPrefix(name, "X-Accel-") && !strings.HasPrefix(name, "X-Sendfile") {
			h[name] = values[:len(values):len(values)]
		}
	}
	if o.Hit || o.Stale || o.Collapsed || o.FwdStatus == http.StatusNotModified {
		age := freshness.Stored{Header: entry.Header, Requested: entry.Requested, Received: entry.Received}.Age(e.Now())
		h["Age"] = []string{strconv.FormatInt(int64(age/time.Second), 10)}
	}
	h["Cache-Status"] = []string{join(h["Cache-Status"], o.CacheStatus(e.Name))}
	if e.Via != "" {
		h["Via"] = []string{join(h["Via"], e.via[0])}
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // net/http is not to guess it
	}
}
