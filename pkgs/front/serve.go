package front

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Requests for something hot come to net/http all the same: over HTTP/2, or with fields
// that the guard does not know. They are answered from the same table, before handlers
// see them.

// unread are fields that nothing between net/http and a mirror reads where a hit is
// asked for.
var unread = map[string]bool{
	"User-Agent": true, "Accept-Encoding": true, "Accept-Language": true, "Cookie": true, "Dnt": true, "Priority": true,
	"Referer": true, "Save-Data": true, "Upgrade-Insecure-Requests": true,
}

// inert says whether a field, by its canonical name, changes nothing in the answer to a
// GET that is ready.
func inert(name string) bool {
	return unread[name] || strings.HasPrefix(name, "Npm-") || strings.HasPrefix(name, "Pacote-")
}

// simple says whether r is a request that only Host, Accept and Range, of all its
// fields, can matter to. Whatever is plain to the guard is simple.
func simple(r *http.Request) bool {
	if r.ContentLength != 0 || r.RequestURI == "" || r.RequestURI[0] != '/' {
		return false
	}
	for name, values := range r.Header {
		switch name {
		case "Accept", "Range":
			if len(values) > 1 {
				return false
			}
		case "Connection":
			for _, v := range values {
				if !fold(v, "keep-alive") {
					return false
				}
			}
		default:
			if !inert(name) {
				return false
			}
		}
	}
	return true
}

// first is a field's value; "" if there is none.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// Serve answers r, if there is a ready answer to it whose content is in memory, as the
// handlers would, and reports whether it did; else it has done nothing. If the client is
// lost it panics with [http.ErrAbortHandler]. It belongs before everything else that
// net/http calls.
func (t *Table) Serve(w http.ResponseWriter, r *http.Request) bool {
	head := r.Method == http.MethodHead
	if !head && r.Method != http.MethodGet || !simple(r) || local(r) {
		return false
	}
	ready := lookup(t, maphash.String(t.seed, r.RequestURI), r.RequestURI, r.Host, first(r.Header["Accept"]))
	if ready == nil || ready.file != nil || !ready.token.holds() {
		return false
	}
	wall, now := time.Now(), t.options.Now()
	if ready.due(now) {
		return false
	}
	d := drafts.Get().(*draft)
	defer drafts.Put(d)
	a := &d.answer
	*a = Answer{Ready: ready, Client: r.RemoteAddr, Head: head, Status: http.StatusOK, Started: wall, part: stretch{0, ready.Entry.Size}}
	if field := r.Header["Range"]; len(field) > 0 && !a.narrow([]byte(field[0])) {
		return false
	}
	if !ready.judge(now, a) {
		return false
	}
	if !ready.used.Load() {
		ready.used.Store(true)
	}
	id := strconv.FormatUint(rand.Uint64(), 36)
	d.head = append(d.head[:0], id...)
	a.RequestID = d.head
	ready.header(w.Header(), now, id, a)
	err := t.deliver(w, r, a)
	if ready.sent != nil {
		if a.Complete = err == nil; a.Complete && !head {
			a.Bytes = a.part.n
		}
		ready.sent(a)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return true
}

// local says whether r came from this machine by a unix socket: whoever is there may be
// trusted.
func local(r *http.Request) bool { return r.RemoteAddr == "" || r.RemoteAddr[0] == '@' }

// A spoken is what a header says of times, as its values. It does not change.
type spoken struct {
	age, ttl    int64
	ages, cache []string
}

// speak is the spoken of now; few answers in a row have another one.
func (r *Ready) speak(now time.Time, a *Answer) *spoken {
	old, left := r.age(now), int64(a.Outcome.TTL/time.Second)
	s := r.spoken.Load()
	if s == nil || s.age != old || s.ttl != left {
		s = &spoken{age: old, ttl: left, ages: []string{strconv.FormatInt(old, 10)}, cache: []string{""}}
		for i := range r.fields {
			if f := &r.fields[i]; f.then == ttl {
				s.cache[0] = f.before + strconv.FormatInt(left, 10) + f.rest
			}
		}
		r.spoken.Store(s)
	}
	return s
}

// header fills h with the header of a as it is now. Date is net/http's.
func (r *Ready) header(h http.Header, now time.Time, id string, a *Answer) {
	s := r.speak(now, a)
	for i := range r.fields {
		f := &r.fields[i]
		switch f.then {
		case age:
			h[f.name] = s.ages
		case ttl:
			h[f.name] = s.cache
		case requestID:
			h[f.name] = []string{id}
		default:
			h[f.name] = f.values
		}
	}
	if a.Status == http.StatusPartialContent {
		h["Content-Length"] = []string{strconv.FormatInt(a.part.n, 10)}
		h["Content-Range"] = []string{string(a.part.appendContentRange(nil, r.Entry.Size))}
	}
}

// roomy is up to where content surely leaves with its head, from net/http's own buffer.
const roomy = 2 << 10

// deliver writes a, whose header is set. A client has the write timeout for each piece
// that one of the minimum rate would take in that time.
func (t *Table) deliver(w http.ResponseWriter, r *http.Request, a *Answer) error {
	body := a.Ready.body[a.part.from:][:a.part.n]
	if a.Head {
		body = nil
	}
	control := http.NewResponseController(w)
	var c *conn
	if len(body) > roomy && r.ProtoMajor == 1 {
		if c, _ = r.Context().Value(connKey{}).(*conn); c != nil {
			c.Cork()
		}
	}
	t.options.grant(control)
	w.WriteHeader(a.Status)
	for piece := t.options.piece(len(body)); len(body) > 0; {
		n := min(piece, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return err
		}
		if body = body[n:]; len(body) > 0 {
			t.options.grant(control)
		}
	}
	if c == nil {
		return nil
	}
	err := control.Flush()
	if uncorked := c.Uncork(); err == nil {
		err = uncorked
	}
	return err
}

// grant gives the client the write timeout anew.
func (o *TableOptions) grant(control *http.ResponseController) {
	if o.WriteTimeout > 0 {
		_ = control.SetWriteDeadline(time.Now().Add(o.WriteTimeout))
	}
}

// piece is how much of n bytes a client of the minimum rate takes within the write timeout.
func (o *TableOptions) piece(n int) int {
	if o.WriteTimeout <= 0 {
		return n
	}
	return int(min(max(float64(o.MinRate)*o.WriteTimeout.Seconds(), 4<<10), 64<<10))
}

type connKey struct{}

// connContext has the guard's conn in the context of its requests.
func connContext(next func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		if next != nil {
			ctx = next(ctx, c)
		}
		if g, ok := c.(guarded); ok {
			ctx = context.WithValue(ctx, connKey{}, g.guard())
		}
		return ctx
	}
}
