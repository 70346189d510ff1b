// Package front stands between the accepted connection and net/http. It reads
// every HTTP/1 request head itself, as strictly as RFC 9112 allows, and gives
// net/http only bytes that it has checked: one request at a time, and never one
// behind a request whose end two readers could see differently.
//
//	listener → conn: head → framing of the body → net/http
//	                   └ refused: status, Connection: close, end
//
// The words: a head is a request line with its fields; a refusal is an answer of
// the guard's own, after which nothing that the client sent is looked at.
//
// A connection is guarded in its Read, in net/http's own goroutine: where a
// request may begin, Read returns only when a whole head has come and has been
// found good. So there is no goroutine more, no copy in the usual case, and a
// connection that waits holds no buffer but net/http's.
//
// HTTP/2 comes to net/http as it is: its framing cannot be read in two ways, and
// net/http bounds its floods as [Front.Prepare] asks. What a good head means (its
// method, its path) is the edge's to judge, on both protocols.
//
// A plain GET or HEAD of something hot, or a GET of one range of it, is answered here
// (answer.go, stretch.go): from a [Table] of ready answers, which the edge publishes
// behind hits and the store's [Epochs] withdraw. What comes to net/http all the same, by
// HTTP/2 or with fields that the guard does not know, is answered from the same table
// before handlers see it ([Table.Serve], serve.go). Small responses of net/http's leave in
// one piece where the edge asks for that (cork.go).
//
// What it does not do: it routes nothing, limits no number of connections, and
// knows no hub.
package front

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Options of a Front. Zero values are the defaults of the fields' comments.
type Options struct {
	Target int // bytes of a request target, above which it is 414: 8 KiB
	Header int // bytes of all fields, above which it is 431: 64 KiB
	Fields int // field lines, above which it is 431: 100

	// HeaderTimeout is how long a head may take from its first byte (408), and a TLS
	// handshake: 10 s. The first head of a connection has it from its beginning, as
	// net/http's ReadHeaderTimeout says.
	HeaderTimeout time.Duration

	// Connect lets CONNECT pass to net/http, whose handler says what it may reach.
	// Else it is 405.
	Connect bool

	// Watched says that handlers call [Watch]. Else whether the client of an HTTP/1 request
	// leaves is watched from its beginning, as by net/http.
	Watched bool

	Streams int // of an HTTP/2 connection at a time: 100

	// Ready is the table that requests are answered from; nil, there and then or
	// always: net/http answers everything. It may be replaced at any time.
	Ready *atomic.Pointer[Table]

	// IdleTimeout is net/http's, for connections whose last answer was the front's own.
	// 0 is no limit.
	IdleTimeout time.Duration

	Log *slog.Logger // of refusals, at debug; nil: nothing is logged
}

// A Front guards the connections of its listeners. It is safe for concurrent use.
type Front struct {
	options  Options
	limits   limits
	refused  [reasons]atomic.Uint64
	protocol counters // of HTTP/2 and TLS, by name

	date     atomic.Pointer[stamp] // of the last answer
	answered tally
	working  tally // answers under way
}

// New makes a Front. It holds nothing that needs an end.
func New(o Options) *Front {
	if o.Target <= 0 {
		o.Target = 8 << 10
	}
	if o.Header <= 0 {
		o.Header = 64 << 10
	}
	if o.Fields <= 0 {
		o.Fields = 100
	}
	if o.HeaderTimeout <= 0 {
		o.HeaderTimeout = 10 * time.Second
	}
	if o.Streams <= 0 {
		o.Streams = 100
	}
	if o.Ready == nil {
		o.Ready = new(atomic.Pointer[Table])
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Front{options: o, limits: limits{o.Target, o.Header, o.Fields}}
}

// Prepare makes s a server for the listeners of f. It belongs before s serves,
// and behind everything else that sets ConnState and ConnContext, which go on to be called: it is
// how the guard learns that a response has ended. A conn of f that s is not told
// of stays silent behind its first request.
//
// HTTP/2 is bounded: streams at a time, and behind them five times as many that
// wait or were reset at once (RST_STREAM in a row); frames that want an answer
// (PING, SETTINGS); header blocks (CONTINUATION) as MaxHeaderBytes has it; and
// a connection that takes no byte for a minute ends. These limits are
// net/http's; here they are set, and counted.
func (f *Front) Prepare(s *http.Server) {
	next := s.ConnState
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if g, ok := c.(guarded); ok {
			g.guard().state(state)
		}
		if next != nil {
			next(c, state)
		}
	}
	s.ConnContext = connContext(s.ConnContext)
	h2 := http.HTTP2Config{}
	if s.HTTP2 != nil {
		h2 = *s.HTTP2
	}
	h2.MaxConcurrentStreams = f.options.Streams
	if h2.WriteByteTimeout == 0 {
		h2.WriteByteTimeout = time.Minute
	}
	count := h2.CountError
	h2.CountError = func(name string) {
		f.protocol.add("h2-" + name)
		if count != nil {
			count(name)
		}
	}
	s.HTTP2 = &h2
}

// Answered is how many requests the front has answered itself.
func (f *Front) Answered() uint64 { return uint64(f.answered.sum()) }

// Drain waits until no answer of the front's own is under way, or ctx is done. It
// belongs behind [http.Server.Shutdown], which takes such connections for idle.
// Once its listener is closed a conn begins no new one.
func (f *Front) Drain(ctx context.Context) error {
	for f.working.sum() != 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// Stats are the numbers of refusals so far, by reason: those of [Reasons] for
// HTTP/1; "h2-" and net/http's name (conn_CODE_name, stream_CODE_name) for errors of HTTP/2;
// and "tls-handshake", of those that failed.
func (f *Front) Stats() map[string]uint64 {
	all := map[string]uint64{}
	for why := none + 1; why < reasons; why++ {
		all[refusals[why].name] = f.refused[why].Load()
	}
	f.protocol.each(func(name string, n uint64) { all[name] = n })
	return all
}

// Reasons are the names of what HTTP/1 requests are refused for.
func Reasons() []string {
	names := make([]string, 0, reasons-1)
	for why := none + 1; why < reasons; why++ {
		names = append(names, refusals[why].name)
	}
	return names
}
