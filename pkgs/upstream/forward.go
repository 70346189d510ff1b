package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// forward passes a request on to one mirror, and its answer back, whatever that
// says: redirects, errors and all end-to-end fields. There is no race and no
// hedge. Where the connection fails before any answer, an idempotent request
// without a body is sent to the next mirror (RFC 9110 §9.2.2); any other one may
// have been acted upon.
func (g *Group) forward(ctx context.Context, req *exchange.Request, tiers [][]candidate) (*exchange.Response, error) {
	order := healthyFirst(tiers)
	if !repeatable(req.Wire) {
		order = order[:1]
	}
	r := &race{group: g, req: req, mode: Ordered, candidates: 1}
	for _, c := range order {
		l := r.newLeg(ctx, c)
		l.carry()
		if l.outcome == good {
			return l.response(), nil
		}
		r.lost = append(r.lost, l)
		// The end of the time for a body is one of net/http's connection, and so of ctx, too.
		if l.spoiled != nil && (ctx.Err() == nil || l.spoiled.Status == http.StatusRequestTimeout) {
			return nil, l.spoiled
		}
		if ctx.Err() != nil {
			return nil, interrupted(ctx, req)
		}
	}
	e := &exchange.Error{Status: http.StatusBadGateway, Message: "the origin cannot be reached", Err: r.causes()}
	if !slices.ContainsFunc(r.lost, func(l *leg) bool { return l.outcome != timedOut }) {
		e.Status, e.Message = http.StatusGatewayTimeout, "the origin did not answer in time"
	}
	return nil, e
}

// healthyFirst are the candidates in their order, those that fail last.
func healthyFirst(tiers [][]candidate) []candidate {
	all := slices.Concat(tiers...)
	slices.SortStableFunc(all, func(a, b candidate) int { return rank(a) - rank(b) })
	return all
}

func rank(c candidate) int {
	if c.mirror.healthy() {
		return 0
	}
	return 1
}

// repeatable says whether w may be sent again after a failure without an answer.
func repeatable(w *exchange.Wire) bool {
	if w.Body != nil {
		return false
	}
	switch w.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// carry is run for a request that is passed through.
func (l *leg) carry() {
	limits := &l.options.Limits
	head := headTime{limit: limits.Dial + limits.TLS + limits.Header, spent: func() { l.cancel(errNoHead) }}
	defer head.end()
	r := l.wireRequest()
	var upload *awaited
	if r.Body == nil {
		head.begin()
	} else { // on its way up it takes what it takes
		upload = &awaited{ReadCloser: r.Body, ended: head.begin}
		r.Body = upload
	}
	requested := l.options.Now()
	interims := 0
	ctx := httptrace.WithClientTrace(l.ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if interims++; interims > maxInterim {
				return errors.New("too many responses before the final one")
			}
			if f := l.req.Wire.Interim; f != nil && code != http.StatusContinue {
				h, _ := passed(http.Header(header), listed(header["Connection"]))
				f(code, h)
			}
			return nil
		},
	})
	res, err := l.mirror.roundTrip(ctx, r, true, false)
	if err != nil {
		if l.spoiled = upload.failure(); l.spoiled != nil { // the mirror could not help it
			l.cancel(nil)
			return
		}
		l.fail(err)
		return
	}
	head.end()
	l.mirror.alive()
	now := time.Now()
	l.mirror.standing.note(func(r Record) Record { return r.answered(now) })
	header, size := passed(res.Header, res.named)
	l.outcome, l.noStore = good, size > maxStored || slices.ContainsFunc(res.named, judging)
	l.entry = &exchange.Entry{
		Key: l.req.Key, Status: res.StatusCode, Header: header, Size: res.ContentLength,
		Mirror: l.mirror.base, Requested: requested, Received: l.options.Now(),
	}
	if header["Date"] == nil { // RFC 9110 §6.6.1
		header["Date"] = []string{l.entry.Received.UTC().Format(http.TimeFormat)}
	}
	if bodiless(l.req.Wire.Method, res.StatusCode) {
		if res.StatusCode == http.StatusNoContent {
			l.entry.Size = 0
		}
		res.Body.Close()
		l.cancel(nil)
		l.body = http.NoBody
		return
	}
	l.body = newBody(l, res)
}

// maxInterim is how many responses 1xx an origin may send before the final one; who
// hears of them is to limit them (net/http/httptrace).
const maxInterim = 100

// judging says whether a field says who may store a response, or for which requests
// it is: where Connection has it dropped (RFC 9110 §7.6.1), nobody knows that any more.
func judging(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Cache-Control", "Cdn-Cache-Control", "Vary", "Age", "Date", "Expires", "Set-Cookie", "Content-Range":
		return true
	}
	return false
}

// headTime is the time in which a head must come, from when it can. It is safe for
// concurrent use.
type headTime struct {
	limit time.Duration
	spent func()

	mu    sync.Mutex
	timer *time.Timer // guarded by mu; nil: it has not begun
	over  bool        // guarded by mu
}

func (p *headTime) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over && p.timer == nil {
		p.timer = time.AfterFunc(p.limit, p.spent)
	}
}

func (p *headTime) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over = true; p.timer != nil {
		p.timer.Stop()
	}
}

// awaited tells when a body has been read to its end, or why it could not be.
type awaited struct {
	io.ReadCloser
	ended func()
	err   atomic.Pointer[error] // of reading
}

func (a *awaited) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err == io.EOF {
		a.ended()
	} else if err != nil {
		a.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

// failure is what the client is told if its body did not come; nil if it did.
func (a *awaited) failure() *exchange.Error {
	if a == nil || a.err.Load() == nil {
		return nil
	}
	err := *a.err.Load()
	e := &exchange.Error{Status: http.StatusBadRequest, Message: "the body is incomplete", Reason: "body", Err: err}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.Status = http.StatusRequestTimeout
	}
	return e
}

// bodiless says whether a response has no content whatever its fields say (RFC 9112 §6.3).
func bodiless(method string, status int) bool {
	return method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}

// wireRequest is the request as it goes to the mirror.
func (l *leg) wireRequest() *http.Request {
	m, w := l.mirror, l.req.Wire
	h := make(http.Header, len(l.req.Header)+4)
	for name, values := range l.req.Header {
		if !hopByHop(name) && !internal(name) {
			h[name] = values
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // net/http is not to send its own
	}
	if via := m.options.Via; via != "" {
		h["Via"] = append(slices.Clip(h["Via"]), "1.1 "+via)
	}
	for name, values := range m.header {
		h[name] = values
	}
	r := &http.Request{
		Method: w.Method, URL: l.url, Host: m.header.Get("Host"), Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if w.Body != nil {
		r.Body, r.ContentLength = io.NopCloser(w.Body), w.Length
	}
	return r
}

// passed are the fields of a response that are passed on: all but those of the
// connection, and those that speak to a web server in front of us. size is what
// they take.
func passed(header http.Header, named []string) (kept http.Header, size int) {
	kept = make(http.Header, len(header)+1)
	for name, values := range header {
		if hopByHop(name) || internal(name) || name == "Content-Length" ||
			slices.ContainsFunc(named, func(n string) bool { return strings.EqualFold(n, name) }) {
			continue
		}
		kept[name] = values
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	return kept, size
}

// internal reports whether a field is between a web server and what is behind
// it, or is no name at all (see dropped), and so passes in no direction.
// Underscores count as hyphens.
func internal(name string) bool {
	if strings.Contains(name, " ") {
		return true
	}
	if strings.Contains(name, "_") {
		name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	switch name {
	case "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override":
		return true
	}
	return strings.HasPrefix(name, "X-Accel-") || strings.HasPrefix(name, "X-Sendfile")
}
