package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// rateWindow is over how much time spent waiting the minimum rate is measured.
const rateWindow = time.Minute

var (
	errIdle   = &timeoutError{"no byte of the body in time"}
	errRate   = &timeoutError{"the body comes too slowly"}
	errClosed = errors.New("the body was closed")
)

// A body is the content of a winner on its way. It ends its leg when it is read
// to the end, fails, is closed, or is too slow for the limits. Only time spent in
// Read counts, so that a slow reader is not taken for a slow mirror. Reads pass
// through to the connection in the size that they come in.
//
// A limit that ran out is an [*exchange.Error] of status 504; a body that ends
// too early is [io.ErrUnexpectedEOF].
type body struct {
	leg  *leg
	rc   io.ReadCloser
	left int64       // by Content-Length; -1 unknown
	idle *time.Timer // cancels the leg; runs during Read only
	err  error       // sticky

	spent time.Duration // in Read, in this window
	got   int64         // in this window

	pace pace
	owed int // bytes that the buckets want paid
}

// paceBytes is what a body must bring to say something of the mirror's rate.
const paceBytes = 256 << 10

// newBody takes over the content of a good response.
func newBody(l *leg, res *response) io.ReadCloser {
	if l.req.Head || res.ContentLength == 0 {
		res.Body.Close()
		l.cancel(nil)
		return http.NoBody
	}
	chunked := slices.Contains(res.TransferEncoding, "chunked")
	l.unproven = res.ContentLength < 0 && res.ProtoMajor == 1 && !chunked // RFC 9112 §6.3, rule 8
	b := &body{leg: l, rc: res.Body, left: res.ContentLength}
	b.idle = time.AfterFunc(l.options.Limits.Idle, func() { l.cancel(errIdle) })
	b.idle.Stop()
	return b
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	limits := &b.leg.options.Limits
	b.leg.pay(b.owed)
	b.idle.Reset(limits.Idle)
	line := &b.leg.mirror.league.bytes
	b.pace.begin(line)
	start := b.pace.asked
	n, err := b.rc.Read(p)
	b.idle.Stop()
	b.owed = n
	b.leg.mirror.bytes.Add(int64(n))
	line.Add(int64(n))
	if b.left >= 0 {
		if b.left -= int64(n); b.left > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}
	b.spent += time.Since(start)
	b.got += int64(n)
	if b.spent >= rateWindow {
		if err == nil && float64(b.got) < float64(limits.MinRate)*b.spent.Seconds() {
			b.leg.cancel(errRate)
			err = errRate
		}
		b.spent, b.got = 0, 0
	}
	b.measure(n, err == io.EOF)
	if err != nil {
		b.end(err)
	}
	return n, b.err
}

// measure tells the mirror's record how fast the body comes.
func (b *body) measure(n int, last bool) {
	rate, _, ok := b.pace.end(n, 0, time.Second)
	if !ok && last && b.pace.bytes >= paceBytes {
		rate, _, ok = b.pace.cut(time.Now())
	}
	if ok {
		b.leg.mirror.standing.note(func(r Record) Record { return r.moved(time.Now(), rate) })
	}
}

// end makes err the last word and lets the connection go.
func (b *body) end(err error) {
	l := b.leg
	cause := context.Cause(l.ctx)
	timeout, ours := cause.(*timeoutError)
	switch {
	case err == io.EOF:
	case ours:
		l.mirror.dead(timeout)
		err = &exchange.Error{Status: http.StatusGatewayTimeout, Message: "the mirror stalled",
			Err: fmt.Errorf("%s: %w", l.mirror.base, timeout)}
	case cause != nil:
		err = cause
	default:
		l.mirror.dead(err)
		err = fmt.Errorf("%s: %w", l.mirror.base, err)
	}
	b.err = err
	b.rc.Close()
	l.cancel(nil)
}

// Close may be called at any time, during Read too, which it interrupts.
func (b *body) Close() error {
	b.leg.cancel(errClosed)
	return b.rc.Close()
}

// smallBody reads the body of an answer that is not content. If it cannot be had
// whole, or is large, a line stands in for it.
func smallBody(e *exchange.Entry, head bool, rc io.ReadCloser) io.ReadCloser {
	defer rc.Close()
	if head {
		return http.NoBody
	}
	text, err := io.ReadAll(io.LimitReader(rc, maxErrorBody+1))
	if err != nil || len(text) == 0 || len(text) > maxErrorBody {
		text = []byte(strconv.Itoa(e.Status) + " " + http.StatusText(e.Status) + "\n")
		e.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	}
	e.Size = int64(len(text))
	return io.NopCloser(bytes.NewReader(text))
}
