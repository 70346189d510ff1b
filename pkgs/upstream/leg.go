package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// errNoHead is why a leg is cancelled whose mirror keeps its head to itself.
var errNoHead = &timeoutError{"no response head in time"}

// A timeoutError is a limit of ours that ran out.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string { return e.text }
func (e *timeoutError) Timeout() bool { return true }

// An outcome is what a leg brought back.
type outcome uint8

const (
	failed      outcome = iota // of the transport, or an answer that cannot be used
	timedOut                   // of the transport, by time
	other                      // not the rest of the content that was asked for
	refused                    // 401 and what else the mirror will not do for us
	busy                       // 429, 503
	absent                     // 404, 410
	forbidden                  // 403
	doubtful                   // a 304 that may not speak of our entry
	notModified                // a 304 that does
	good                       // content
)

// maxLinger is how long the body of a loser may be to be read nevertheless.
const maxLinger = 32 << 10

// maxErrorBody is how much of the body of a 403, 404 or 410 is kept.
const maxErrorBody = 64 << 10

// A leg asks one candidate. Its context lives until it has lost, or until the
// body is closed.
type leg struct {
	candidate
	options    *Options
	req        *exchange.Request
	firstChunk int64 // to be had before it reports; 0: the head is enough
	rest       *continuation
	from       int64 // where the body begins, which is asked for only if the request has From; owned by run, and by the race after the report
	ranged     bool  // the mirror has sent the whole where a range was asked for; likewise
	reported   bool  // owned by the race

	ctx    context.Context // of this leg alone; bound to one request
	cancel context.CancelCauseFunc
	detach func() bool // from the caller's context, which may end before a loser does; nil: it is bound to it
	forget func()      // drops what lets a loser end in time; nil: there is nothing

	received atomic.Int64 // bytes of a good body before the report, and 1 for its head

	waiting atomic.Bool  // for a bucket, so that no byte of the body comes
	waited  atomic.Int64 // nanoseconds in all

	// What it brought back; owned by run, and by the race after the report.
	outcome    outcome
	ending     outcome   // outrun or misled; else outcome says it
	transport  bool      // err is of the connection, not of an answer
	answered   time.Time // its head came; zero: none has
	ended      time.Time
	err        error
	spoiled    *exchange.Error // the client's request did not come whole
	entry      *exchange.Entry
	body       io.ReadCloser
	unproven   bool
	noStore    bool
	retryAfter time.Duration // of a busy mirror; 0: it did not say
}

// run asks, and returns when the outcome is known. It never blocks beyond the limits.
func (l *leg) run() {
	defer func() {
		l.ended = time.Now()
		l.mirror.endings[max(l.outcome, l.ending)].Add(1)
	}()
	limits := &l.options.Limits
	timer := time.AfterFunc(limits.Dial+limits.TLS+limits.Header, func() { l.cancel(errNoHead) })
	defer timer.Stop()
	requested := l.options.Now()
	res, start, err := l.ask()
	took := time.Since(start)
	if err != nil {
		if cause := context.Cause(l.ctx); cause != nil && cause != errNoHead {
			l.mirror.standing.note(func(r Record) Record { return r.outrun(time.Now(), took) })
		}
		l.fail(err)
		return
	}
	l.answered = time.Now()
	l.mirror.alive()
	l.take(res, requested)
	if l.outcome == good {
		if err := l.inspect(res); err != nil {
			res.Body.Close()
			l.fail(err)
			return
		}
	}
	l.judge(took - res.connecting) // who is seldom asked always needs a new connection
	l.dated()
	switch l.outcome {
	case good:
		timer.Stop()
		l.body = newBody(l, res)
		if l.firstChunk > 0 {
			l.collect()
		}
	case absent, forbidden: // worth a response, if the others agree
		l.body = smallBody(l.entry, l.req.Head, res.Body)
		l.cancel(nil)
	default:
		l.cancel(nil) // a converted 304 still has a body on its way
		res.Body.Close()
		l.body = http.NoBody
	}
}

// take judges the head.
func (l *leg) take(res *response, requested time.Time) {
	v := l.req.Validate
	l.noStore = neverStore(res.Header)
	header, err := receive(res.Header, res.named)
	l.entry = &exchange.Entry{
		Key: l.req.Key, Status: res.StatusCode, Header: header, Size: res.ContentLength,
		Mirror: l.mirror.base, Requested: requested, Received: l.options.Now(),
	}
	if r := res.Request; r != nil && (r.URL.Scheme != l.url.Scheme || r.URL.Host != l.url.Host || r.URL.Path != l.url.Path) {
		l.entry.URL = (&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}).String()
	}
	status, bad := res.StatusCode, l.mirror.check(res.StatusCode, res.Header)
	switch {
	case err != nil:
		l.err = err
	case l.rest != nil && status < http.StatusBadRequest:
		l.continues(res)
	case status == http.StatusNotModified && v != nil:
		l.outcome = l.trust(res.Header.Get("Etag"))
	case l.from > 0:
		l.begins(res)
	case status == http.StatusPartialContent:
		l.err = errors.New("partial content that nobody asked for") // RFC 9110 §15.3.7
	case res.Header.Get("Content-Range") != "":
		l.err = fmt.Errorf("status %d with Content-Range", status)
	case bad == nil && l.req.Size > 0 && res.ContentLength >= 0 && res.ContentLength != l.req.Size:
		l.err = fmt.Errorf("%d bytes where an index promised %d", res.ContentLength, l.req.Size)
	case bad == nil:
		l.outcome = good
		if l.unchanged(res) {
			l.outcome = notModified
		}
	default:
		l.outcome, l.err = l.refusal(status), bad
		if l.outcome == absent && status != http.StatusGone {
			l.entry.Status = http.StatusNotFound // whatever the operator says means that
		}
		if l.outcome == busy {
			l.retryAfter = retryAfter(res.Header.Get("Retry-After"), l.options.Now())
		} else if l.outcome == refused {
			l.log(l.ctx, l.mirror.concern(), "mirror wants other credentials", bad)
		}
	}
	if l.outcome == notModified || l.outcome == doubtful {
		l.entry.Status, l.entry.Size = http.StatusNotModified, v.Size
		if v.Mirror != l.mirror.base { // what is stored keeps its own origin's validators
			delete(header, "Etag")
			delete(header, "Last-Modified")
		}
	}
}

// continues judges the head of what should be the rest of a body.
func (l *leg) continues(res *response) {
	l.outcome = other
	if res.StatusCode != http.StatusPartialContent {
		l.err = fmt.Errorf("%w: status %d", errOther, res.StatusCode)
	} else if l.err = l.mirror.checkFields(res.Header); l.err == nil {
		l.err = l.rest.check(l.mirror.base, res.Response)
	}
	if l.err == nil {
		l.outcome = good
	}
}

// judge tells the mirror's record what came of the question.
func (l *leg) judge(took time.Duration) {
	now := time.Now()
	switch l.outcome {
	case good, notModified, doubtful:
		if l.req.Post != nil { // says nothing of other requests
			l.mirror.standing.note(func(r Record) Record { return r.answered(now) })
			break
		}
		l.mirror.standing.note(func(r Record) Record { return r.headed(now, took) })
	case busy:
		if d := l.retryAfter; d > 0 {
			l.mirror.lapsed(l.err, func(r Record, now time.Time, _ bool) Record { return r.spoke(now).told(now, d) })
			break
		}
		fallthrough
	case failed:
		l.mirror.standing.note(func(r Record) Record { return r.spoke(now) })
		l.mirror.lapsed(l.err, Record.failed)
	default:
		l.mirror.standing.note(func(r Record) Record { return r.answered(now) })
	}
}

// refusal sorts statuses that are not good.
func (l *leg) refusal(status int) outcome {
	if slices.Contains(l.options.Absent, status) {
		return absent
	}
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return absent
	case http.StatusForbidden:
		return forbidden
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return busy
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return refused
	}
	return failed
}

// unchanged reports whether a good answer is provably what is stored: some
// mirrors ignore preconditions, and that spares us the body.
func (l *leg) unchanged(res *response) bool {
	v := l.req.Validate
	if v == nil || l.req.Head || v.Status != res.StatusCode || v.Size < 0 || v.Size != res.ContentLength {
		return false
	}
	etag := v.Header.Get("Etag")
	return strong(etag) && etag == res.Header.Get("Etag")
}

// trust says how far a 304 speaks of the entry: a date says nothing about what
// another mirror has under it, a strong validator does (RFC 9110 §8.8.1).
func (l *leg) trust(etag string) outcome {
	v := l.req.Validate
	if v.Mirror == l.mirror.base || strong(etag) && etag == v.Header.Get("Etag") {
		return notModified
	}
	return doubtful
}

// fail takes an error of asking, or of the body before the report.
func (l *leg) fail(err error) {
	cause := context.Cause(l.ctx)
	if cause != nil {
		err = cause
	}
	l.err, l.outcome = err, failed
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		l.outcome = timedOut
	}
	var policy *policyError
	switch _, ours := cause.(*timeoutError); {
	case errors.As(err, &policy):
		l.ending = misled
		l.mirror.lapsed(err, Record.failed)
		l.log(l.ctx, l.mirror.concern(), "mirror leads where it may not", err)
	case cause == nil || ours:
		l.transport = true
		l.mirror.dead(err)
	default: // cancelled from outside, which says nothing about the mirror
		l.ending = outrun
	}
	l.cancel(nil)
}

// response is what a winner hands to its caller.
func (l *leg) response() *exchange.Response {
	return &exchange.Response{Entry: l.entry, Body: l.body, Unproven: l.unproven, NoStore: l.noStore}
}

// release lets a leg that has lost go on until its head is there, for its
// mirror's record, but not for long, and not beyond its group.
func (l *leg) release(over context.Context) {
	if l.detach == nil || !l.detach() {
		l.cancel(errLost)
		return
	}
	lose := func() { l.cancel(errLost) }
	timer := time.AfterFunc(grace, lose)
	stop := context.AfterFunc(over, lose)
	l.forget = func() {
		timer.Stop()
		stop()
	}
}

// linger reads the little that a loser's body may still bring, so that its
// connection stays.
func (l *leg) linger() {
	if l.outcome == good && l.entry.Size > 0 && l.entry.Size <= maxLinger {
		io.Copy(io.Discard, l.body)
	}
}

// discard drops what a loser has.
func (l *leg) discard() {
	if l.forget != nil {
		l.forget()
	}
	l.cancel(errLost)
	if l.body != nil {
		l.body.Close()
	}
}

func (l *leg) log(ctx context.Context, level slog.Level, message string, err error) {
	if !l.options.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("hub", l.req.Key.Hub), slog.String("key", l.req.Key.String()),
		slog.String("mirror", l.mirror.base), slog.Int("index", l.mirror.index)}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	l.options.Log.LogAttrs(ctx, level, message, attrs...)
}

// strong reports whether an entity tag is one, and not weak.
func strong(etag string) bool { return len(etag) >= 2 && etag[0] == '"' }

// retryAfter reads a Retry-After field (RFC 9110 §10.2.3); 0 is none.
func retryAfter(s string, now time.Time) time.Duration {
	const most = longestPause
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31); err == nil {
		return min(max(time.Duration(n)*time.Second, time.Second), most)
	}
	if t, err := http.ParseTime(s); err == nil {
		return min(max(t.Sub(now).Truncate(time.Second), time.Second), most)
	}
	return 0
}
