package proxytest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An Origin is an HTTP/1.1 server on loopback that answers as it is told. What
// it is not told is 404. It may be told anew at any time, by any goroutine; it
// ends with the test.
type Origin struct {
	// Now dates the replies; nil: they have no Date field. Set it before the first request.
	Now func() time.Time

	t    testing.TB
	addr string
	wg   sync.WaitGroup // the accept loop and every connection

	mu       sync.Mutex
	listener net.Listener // guarded by mu; nil while down
	silent   bool         // guarded by mu
	replies  map[string][]Reply
	conns    map[net.Conn]struct{}
	peak     int                      // most connections at one time
	requests []*Request               // in order of arrival
	release  map[string]chan struct{} // by path; closed and replaced by Release
}

// A Request is what an Origin was asked, and what became of it.
type Request struct {
	Method string
	Target string // as it was spelled, query included
	Host   string
	Header http.Header

	Status int   // 0 while there is no answer
	Sent   int64 // bytes of content that were handed to the socket
	Done   bool  // the answer was sent to its end
	Gone   bool  // the client hung up before
}

// NewOrigin starts an Origin.
func NewOrigin(t testing.TB) *Origin {
	t.Helper()
	o := &Origin{
		t:       t,
		replies: map[string][]Reply{},
		conns:   map[net.Conn]struct{}{},
		release: map[string]chan struct{}{},
	}
	o.listen("127.0.0.1:0")
	t.Cleanup(func() {
		o.Down()
		o.wg.Wait()
	})
	return o
}

// URL is the base URL, without a trailing slash. It outlives Down and Up.
func (o *Origin) URL() string { return "http://" + o.addr }

// Reply sets the replies to a method and a path: each for as many requests as
// its Times says, then the next; the last one for ever. A path with a query
// answers that query only, the path "*" all paths that have no reply of their
// own. GET answers HEAD too.
func (o *Origin) Reply(method, path string, replies ...Reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replies[method+" "+path] = replies
}

// then adds a reply behind those of limited Times, or replaces the last one.
func (o *Origin) then(method, path string, r Reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := method + " " + path
	if rs := o.replies[key]; len(rs) > 0 && rs[len(rs)-1].Times > 0 {
		o.replies[key] = append(rs, r)
		return
	}
	o.replies[key] = []Reply{r}
}

// Down closes the port and every connection, in mid-transfer too.
func (o *Origin) Down() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listener != nil {
		_ = o.listener.Close()
		o.listener = nil
	}
	for conn := range o.conns {
		_ = conn.Close()
	}
}

// Up opens the port again, or ends the silence.
func (o *Origin) Up() {
	o.t.Helper()
	o.mu.Lock()
	up := o.listener != nil
	o.silent = false
	o.mu.Unlock()
	if !up {
		o.listen(o.addr)
	}
}

// Silent makes it accept connections and read requests, and never answer.
func (o *Origin) Silent() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.silent = true
}

// Release lets the transfers of path that stall now go on, and reports whether
// there were any: one may still be on its way to where it stalls.
func (o *Origin) Release(path string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.release[path]
	if c == nil {
		return false
	}
	close(c)
	delete(o.release, path)
	return true
}

// Requests are copies of the requests for path so far, in order of arrival;
// path "" is all of them. A path without a query has those of every query.
func (o *Origin) Requests(path string) []Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	var rs []Request
	for _, r := range o.requests {
		if path == "" || r.Target == path || pathOf(r.Target) == path {
			rs = append(rs, *r)
		}
	}
	return rs
}

// Hits is the number of requests for path.
func (o *Origin) Hits(path string) int { return len(o.Requests(path)) }

// Bodies is the number of requests for path that got content, whole or not.
func (o *Origin) Bodies(path string) int {
	var n int
	for _, r := range o.Requests(path) {
		if r.Sent > 0 {
			n++
		}
	}
	return n
}

// Sent is the number of bytes of content sent for path.
func (o *Origin) Sent(path string) int64 {
	var n int64
	for _, r := range o.Requests(path) {
		n += r.Sent
	}
	return n
}

// Connections is how many connections are open, and how many were at most.
func (o *Origin) Connections() (now, peak int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns), o.peak
}

func (o *Origin) listen(addr string) {
	o.t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(o.t, err)
	o.addr = l.Addr().String()
	o.mu.Lock()
	o.listener = l
	o.mu.Unlock()
	o.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed by Down
			}
			if !o.add(conn, l) {
				_ = conn.Close()
				continue
			}
			o.wg.Go(func() {
				o.serve(conn.(*net.TCPConn))
				_ = conn.Close()
				o.mu.Lock()
				delete(o.conns, conn)
				o.mu.Unlock()
			})
		}
	})
}

// add notes a connection that l accepted, unless Down was faster.
func (o *Origin) add(conn net.Conn, l net.Listener) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listener != l {
		return false
	}
	o.conns[conn] = struct{}{}
	o.peak = max(o.peak, len(o.conns))
	return true
}

// serve answers the requests of a connection until one of them ends it.
func (o *Origin) serve(conn *net.TCPConn) {
	br := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		record, reply, silent := o.arrive(req)
		x := &exchange{origin: o, conn: conn, br: br, req: req, record: record, reply: reply}
		if silent {
			x.stall()
			return
		}
		keep := x.answer()
		o.note(func() { record.Done = keep || x.ended; record.Gone = x.gone })
		if !keep || req.Close {
			return
		}
	}
}

// note changes a record.
func (o *Origin) note(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

// arrive records a request and finds its reply.
func (o *Origin) arrive(req *http.Request) (record *Request, reply Reply, silent bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	record = &Request{Method: req.Method, Target: req.RequestURI, Host: req.Host, Header: req.Header}
	o.requests = append(o.requests, record)
	return record, o.find(req.Method, req.RequestURI), o.silent
}

// find is called with mu held.
func (o *Origin) find(method, target string) Reply {
	methods := []string{method}
	if method == http.MethodHead {
		methods = append(methods, http.MethodGet)
	}
	for _, path := range []string{target, pathOf(target), "*"} {
		for _, m := range methods {
			key := m + " " + path
			rs := o.replies[key]
			if len(rs) == 0 {
				continue
			}
			r := rs[0]
			switch {
			case r.Times == 1 && len(rs) > 1:
				o.replies[key] = rs[1:]
			case r.Times > 1:
				rest := append([]Reply(nil), rs...)
				rest[0].Times--
				o.replies[key] = rest
			}
			return r
		}
	}
	return Reply{Status: http.StatusNotFound, Body: Text("no such path\n")}
}

// released is the channel that the next Release of path closes.
func (o *Origin) released(path string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.release[path]
	if c == nil {
		c = make(chan struct{})
		o.release[path] = c
	}
	return c
}

func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}
