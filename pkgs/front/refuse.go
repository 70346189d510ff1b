package front

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A reason is why a request is refused.
type reason uint8

const (
	none reason = iota
	badRequestLine
	badMethod
	badTarget
	badEscape
	foreignTarget
	longTarget
	badVersion
	bareLF
	badField
	foldedField
	badHost
	badLength
	badCoding
	twoLengths
	unwantedBody
	badExpect
	manyFields
	largeHeader
	headTimeout
	badChunk
	badTrailer
	reasons
)

// refusals are the reasons in words: for counters, and for the client.
var refusals = [reasons]struct {
	name   string
	status int
	text   string
}{
	badRequestLine: {"request-line", 400, "malformed request line"},
	badMethod:      {"method", 405, "method not allowed"}, // CONNECT, TRACE, PRI and lower case: RFC 9110 §9.1
	badTarget:      {"target", 400, "malformed request target"},
	badEscape:      {"target-escape", 400, "malformed or control character in the request target"},
	foreignTarget:  {"target-foreign", 400, "the request target names another host"},
	longTarget:     {"target-long", 414, "request target too long"},
	badVersion:     {"version", 505, "HTTP/1.0, HTTP/1.1 or HTTP/2, please"},
	bareLF:         {"bare-lf", 400, "line without CR LF"},
	badField:       {"field", 400, "malformed field"},
	foldedField:    {"field-folded", 400, "folded field"},
	badHost:        {"host", 400, "no Host, two, or a malformed one"},
	badLength:      {"content-length", 400, "malformed Content-Length, or two"},
	badCoding:      {"transfer-encoding", 400, "only one Transfer-Encoding: chunked, in HTTP/1.1"},
	twoLengths:     {"smuggling", 400, "Content-Length beside Transfer-Encoding"},
	unwantedBody:   {"body", 400, "request with a body"},
	badExpect:      {"expect", 417, "only Expect: 100-continue"}, // RFC 9110 §10.1.1
	manyFields:     {"fields-many", 431, "too many fields"},
	largeHeader:    {"fields-large", 431, "fields too large"},
	headTimeout:    {"head-timeout", 408, "the request took too long"},
	badChunk:       {"chunk", 400, "malformed chunk"},
	badTrailer:     {"trailer", 400, "malformed trailer"},
}

const (
	refusalTime = 5 * time.Second // for a client to take a refusal
	lingerTime  = time.Second     // and to stop sending, before a reset could overtake it
	lingerBytes = 1 << 20
)

// refuse answers the request that is begun and is refused, and ends the
// connection: what it returns is for net/http, which says nothing more. Nothing
// that the client sends behind is looked at. It must not be called while net/http
// may write.
func (c *conn) refuse(why reason) error {
	c.front.count(why)
	c.front.options.Log.Debug("request refused", "client", remote(c.Conn), "reason", refusals[why].name)
	c.err = io.EOF // net/http takes that for a client that has left
	c.buf, c.pos, c.checked = nil, 0, 0

	_ = c.Conn.SetWriteDeadline(time.Now().Add(refusalTime))
	if _, err := c.Conn.Write(refusal(why, c.head.isHEAD)); err != nil {
		return c.err
	}
	c.drain()
	return c.err
}

// drain ends the sending and reads what the client still sends, for a while: a
// close with data unread resets the connection, and the client may never see the
// answer (RFC 9112 §9.6).
func (c *conn) drain() {
	if c.CloseWrite() != nil {
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(c.Conn, lingerBytes), make([]byte, 4<<10))
}

func (f *Front) count(why reason) { f.refused[why].Add(1) }

// refusal is the whole response; head leaves its content away.
func refusal(why reason, head bool) []byte {
	r := &refusals[why]
	b := make([]byte, 0, 512)
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(r.status)...)
	b = append(b, "\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	if r.status == http.StatusMethodNotAllowed {
		b = append(b, "\r\nAllow: GET, HEAD"...)
	}
	b = append(b, "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.text)+1), 10)
	b = append(b, "\r\n\r\n"...)
	if head {
		return b
	}
	b = append(b, r.text...)
	return append(b, '\n')
}

func remote(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// counters are numbers by name, for names that come seldom and are few.
type counters struct {
	mu sync.Mutex
	n  map[string]uint64 // guarded by mu
}

func (c *counters) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]uint64{}
	}
	c.n[name]++
}

func (c *counters) each(f func(name string, n uint64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, n := range c.n {
		f(name, n)
	}
}
