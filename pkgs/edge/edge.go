// Package edge is HTTP toward clients: it refuses what no hub should see, asks
// the hub what a request means, asks the source for it, and writes the response
// as RFC 9110 has it: preconditions, ranges, HEAD, or a path for the web server
// in front.
//
//	guard → hub.Parse → Source.Get → respond → body
//
// Its one promise: what a client can take for complete is complete. A body that
// fails after its head was sent ends in a reset of the connection (RST on
// HTTP/1, RST_STREAM on HTTP/2), never in a clean end; for HTTP/1 that needs
// [ConnContext] in the server.
//
// It stores nothing, judges no freshness and knows no upstream.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Options of a handler. Hub and Source are required.
type Options struct {
	Hub    hub.Hub
	Source exchange.Source // the whole chain behind the edge

	// What else the hub is; nil: what Hub itself is of it.
	Poster  hub.Poster
	Refuser hub.Refuser
	Carrier hub.Carrier

	// Base is what clients reach the mount by, without a trailing slash. "" is what
	// each request says: its scheme and Host, and Mount, the path that was taken off
	// before ("/npm", or "").
	Base, Mount string

	// TrustedProxies are peers whose Forwarded (RFC 7239) and X-Forwarded-For, -Host
	// and -Proto are believed; if there are any, a unix socket is one too.
	TrustedProxies []netip.Prefix

	// Note is called with every response of Source, before it is written. The
	// context is the request's.
	Note func(context.Context, *exchange.Response)

	// Hot is offered what was answered from the store; nil: nobody is.
	Hot Hot

	// Counter hears what requests come to; nil: nobody does.
	Counter Counter

	Name string // of this cache in Cache-Status (RFC 9211 §2), a token; "" is "cache-proxy"

	// Via is this instance's own name in Via (RFC 9110 §7.6.3), a token: responses
	// carry it, and a request that does has come round in a circle. "" is none.
	Via string

	Accel  Accel
	Limits Limits

	// WriteTimeout is how long a client may take nothing, and the time over which
	// MinRate, in bytes a second, is measured. No WriteTimeout is no limit at all;
	// no MinRate is 1 KiB. Time in which there is nothing to send does not count.
	WriteTimeout time.Duration
	MinRate      int64

	Log *slog.Logger     // nil: nothing is logged
	Now func() time.Time // for Age; nil is time.Now
}

// Hot may keep answers, to give them again to requests that say the same, without
// the edge (package front). It is an interface since packages of one layer do not
// see each other.
type Hot interface {
	// Begin is called before a key is looked up. What it returns goes to Publish.
	Begin(exchange.Key) (epoch uint64)

	// Publish is called behind an answer from the store, whatever r asked for, with
	// the header that was sent. The Body of resp is still open, and may be read by
	// offset (io.ReaderAt) until Publish returns.
	Publish(epoch uint64, r *http.Request, req *exchange.Request, resp *exchange.Response, sent http.Header)
}

// Limits of a request; 0 is the default.
type Limits struct {
	Target int // bytes of the request target: 8 KiB
	Fields int // header field lines: 100
	Ranges int // ranges of a request, above which the whole is sent: 16
}

// What an answer of the edge's own says beside Cache-Status: nothing of it was stored.
var failedWord, failedAge = []string{"MISS"}, []string{"0"}

// New makes the handler of one mounted hub. The path of its requests is relative
// to the mount, in URL.Path and URL.RawPath alike, as [http.StripPrefix] does it.
func New(opts Options) http.Handler {
	if opts.Hub == nil || opts.Source == nil {
		panic("edge: Options need a Hub and a Source")
	}
	if opts.Name == "" {
		opts.Name = "cache-proxy"
	}
	if opts.Limits.Target == 0 {
		opts.Limits.Target = 8 << 10
	}
	if opts.Limits.Fields == 0 {
		opts.Limits.Fields = 100
	}
	if opts.Limits.Ranges == 0 {
		opts.Limits.Ranges = 16
	}
	if opts.MinRate == 0 {
		opts.MinRate = 1 << 10
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Poster == nil {
		opts.Poster, _ = opts.Hub.(hub.Poster)
	}
	if opts.Refuser == nil {
		opts.Refuser, _ = opts.Hub.(hub.Refuser)
	}
	if opts.Carrier == nil {
		opts.Carrier, _ = opts.Hub.(hub.Carrier)
	}
	e := &edge{Options: opts, maxPosts: maxPosts}
	if opts.Via != "" {
		e.via = []string{"1.1 " + opts.Via}
	}
	e.failed = []string{opts.Name + "; detail=failed"}
	return e
}

// An edge is immutable but for what it remembers.
type edge struct {
	Options
	last        atomic.Pointer[baseURL]
	via, failed []string // constant values of Via and Cache-Status; nil is none

	maxPosts int64
	posted   atomic.Int64 // bytes of bodies in memory
}

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := newWriter(w, r, e.WriteTimeout, e.MinRate)
	if r.Method == http.MethodPost {
		defer func() { e.posted.Add(-out.posted) }()
	}
	e.serve(out, r)
	out.begin() // for what net/http still has to send: a head alone, or the end of a body
}

// serve answers r. Where it cannot keep the promise of a response begun, it
// panics with [http.ErrAbortHandler].
func (e *edge) serve(out *writer, r *http.Request) {
	if err := e.guard(r); err != nil {
		e.refuse(out, r, "", err)
		return
	}
	var early *interim
	if e.Carrier != nil {
		early = newInterim(out, r)
	}
	req, err := e.parse(out, r, early)
	if err != nil {
		e.refuse(out, r, "", err)
		return
	}
	if req.Wire != nil {
		if u, ok := req.Wire.Body.(*upload); ok {
			defer u.end()
		}
	}
	f := e.forwarded(r)
	req.Head = r.Method == http.MethodHead
	req.Client = exchange.Client{Addr: f.addr, Base: e.base(r, f), Method: r.Method, Header: r.Header}
	if !f.addr.IsValid() {
		req.Client.Addr = peer(r)
	}

	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	epoch := uint64(0)
	if e.Hot != nil {
		epoch = e.Hot.Begin(req.Key)
	}
	resp, err := e.Source.Get(ctx, req)
	early.end()
	if err != nil {
		e.refuse(out, r, req.Key.String(), err)
		return
	}
	if e.Note != nil {
		e.Note(r.Context(), resp)
	}
	if e.Counter != nil {
		e.Counter.Answered(resp.Outcome)
	}
	err = e.respond(out, r, req, resp)
	if e.Counter != nil {
		e.Counter.Sent(resp.Outcome, out.sent)
	}
	if resp.Sent != nil {
		resp.Sent(out.sent, err)
	}
	if err == nil {
		if e.Hot != nil && resp.Outcome.Hit && req.Wire == nil { // what it selects by is for the cache to know
			e.Hot.Publish(epoch, r, req, resp, out.Header())
		}
		resp.Body.Close()
		return
	}
	gone := r.Context().Err() != nil
	// Whoever shares the transfer learns from the context, done before Close,
	// that this client did not get it all.
	cancel(err)
	resp.Body.Close()
	if lost := (*lostError)(nil); gone || errors.As(err, &lost) {
		e.refused(lostReason(err))
		e.Log.Debug("client lost", "key", req.Key.String(), "err", err)
	} else {
		e.refused(reasonCut)
		e.Log.Warn("response cut", "key", req.Key.String(), "mirror", resp.Entry.Mirror, "err", err)
	}
	reset(r)
	panic(http.ErrAbortHandler)
}

func (e *edge) parse(w *writer, r *http.Request, early *interim) (*exchange.Request, error) {
	if e.Carrier != nil {
		return e.carry(w, r, early)
	}
	if r.Method == http.MethodPost {
		return e.post(w, r)
	}
	return e.Hub.Parse(r)
}

// refuse answers with an error, and logs those that are not the client's.
func (e *edge) refuse(w http.ResponseWriter, r *http.Request, key string, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		e.refused(reasonGone)
		panic(http.ErrAbortHandler) // nobody is left to read it
	}
	h := w.Header()
	h["Cache-Status"], h["X-Cache"], h["Age"] = e.failed, failedWord, failedAge
	if e.via != nil {
		h["Via"] = e.via
	}
	status := e.refuseWith(w, r, err)
	e.refused(reason(status, err))
	if status >= 500 {
		e.Log.Warn("request failed", "key", key, "status", status, "err", err)
	} else {
		e.Log.Debug("request refused", "key", key, "status", status, "err", err)
	}
}

// peer is the address of the other end of the connection; zero on a unix socket.
func peer(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return addr.Addr().Unmap().WithZone("")
}
