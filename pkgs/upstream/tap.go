package upstream

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// maxHead is how much of a response head a tap looks through. Longer ones are
// refused by the transport.
const maxHead = 256 << 10

// A tap is a connection that reads along the head of each HTTP/1 response, for
// its Connection field: net/http deletes the whole field where it says "close",
// and with it the names of fields that must not be passed on (RFC 9110 §7.6.1).
//
// BUG: behind a proxy the TLS of an https mirror lies above the tap, which then
// sees nothing.
type tap struct {
	net.Conn
	asked atomic.Bool // something was written: what comes next begins a head

	in   bool   // the head is not over yet; owned by Read
	head []byte // what came of it, if it came in pieces; owned by Read
	seen int    // of head; owned by Read

	mu     sync.Mutex
	fields []string // of the latest head; guarded by mu
}

func newTap(c net.Conn) *tap { return &tap{Conn: c} }

// tapOf is the tap that c is, or is above; nil if there is none.
func tapOf(c net.Conn) *tap {
	for {
		if t, ok := c.(*tap); ok {
			return t
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = outer.NetConn()
	}
}

// NetConn is the connection below.
func (t *tap) NetConn() net.Conn { return t.Conn }

func (t *tap) Write(p []byte) (int, error) {
	t.asked.Store(true)
	return t.Conn.Write(p)
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if t.asked.Load() && t.asked.Swap(false) {
		t.in, t.head, t.seen = true, nil, 0
		t.set(nil)
	}
	if t.in && n > 0 {
		t.watch(p[:n])
	}
	return n, err
}

// watch takes the next bytes of a head.
func (t *tap) watch(b []byte) {
	pieces := len(t.head) > 0
	if pieces {
		t.head = append(t.head, b...)
		b = t.head
	}
	for {
		end := headEnd(b, t.seen)
		if end < 0 {
			break
		}
		if !interim(b) {
			t.set(connectionFields(b[:end]))
			t.in, t.head = false, nil
			return
		}
		b, t.seen = b[end:], 0
	}
	if len(b) > maxHead {
		t.in, t.head = false, nil
		return
	}
	t.seen = max(len(b)-2, 0)
	if t.head = b; !pieces {
		t.head = bytes.Clone(b)
	}
}

// headEnd is where a head ends, behind its empty line, looked for from an
// offset; -1 if it does not end yet.
func headEnd(b []byte, from int) int {
	for at := from; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
		if rest := b[at:]; len(rest) > 0 && rest[0] == '\n' {
			return at + 1
		} else if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return at + 2
		}
	}
}

// interim reports whether a head is that of a 1xx response, which another follows.
func interim(b []byte) bool {
	_, status, _ := bytes.Cut(b[:min(len(b), 32)], []byte(" "))
	return len(status) > 2 && status[0] == '1' && !bytes.HasPrefix(status, []byte("101"))
}

// connectionFields are the names that the Connection fields of a head list.
func connectionFields(head []byte) []string {
	var values []string
	current := false // the line before belongs to a Connection field
	for line := range bytes.Lines(head) {
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') { // RFC 9112 §5.2: obsolete, but read
			if current {
				values = append(values, string(line))
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if current = bytes.EqualFold(bytes.TrimSpace(name), []byte("connection")); current {
			values = append(values, string(value))
		}
	}
	return listed(values)
}

// listed are the names that values of a Connection field list, but for the options of the
// connection itself.
func listed(values []string) (names []string) {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = strings.TrimSpace(name)
			if name != "" && !strings.EqualFold(name, "close") && !strings.EqualFold(name, "keep-alive") {
				names = append(names, name)
			}
		}
	}
	return names
}

func (t *tap) set(fields []string) {
	t.mu.Lock()
	t.fields = fields
	t.mu.Unlock()
}

// named are the fields that the Connection field of the latest response listed.
func (t *tap) named() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fields
}
