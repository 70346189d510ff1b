package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A request with From is asked as a range from there to the end, so that what its
// client reads first comes first. A 206 that is this range of content which may be
// joined (DESIGN decision 3) begins a body in the middle: a relay that is ahead.
// Whatever else a mirror answers counts as if it had been asked for the whole, and
// what counts for nothing then is asked for again, by the same leg, as the whole.

// begins reports whether content may be begun where the client begins.
func (g *Group) begins(req *exchange.Request) bool {
	return g.options.Race.Switch && req.Wire == nil && req.Post == nil && !req.Head && req.Validate == nil && len(req.Doubt) == 0
}

// ask asks the mirror, and says when it did so last.
func (l *leg) ask() (res *response, start time.Time, err error) {
	start = time.Now()
	if l.req.From > 0 {
		req := l.req.Clone()
		if req.Header == nil {
			req.Header = make(http.Header, 1)
		}
		req.Header.Set("Range", "bytes="+strconv.FormatInt(req.From, 10)+"-")
		res, err = l.mirror.ask(l.ctx, req, l.url)
		if err != nil || l.stands(res) {
			return res, start, err
		}
		res.Body.Close()
		start = time.Now()
	}
	res, err = l.mirror.ask(l.ctx, l.req, l.url)
	return res, start, err
}

// stands reports whether the answer to a request for a range will do: as the
// beginning of a body, then from is set, as the whole, or as what any request for
// this content is answered.
func (l *leg) stands(res *response) bool {
	switch status := res.StatusCode; {
	case status == http.StatusPartialContent:
		p, ok := freshness.ParseContentRange(res.Header["Content-Range"])
		ok = ok && p.First == l.req.From && p.Last+1 == p.Total && res.ContentLength == p.Len() &&
			continuable(l.req, &exchange.Entry{Status: http.StatusOK, Size: p.Total, Header: res.Header}) != nil
		if _, page := l.mayBePage(res); !ok || page {
			return false
		}
		l.from = p.First
	case status >= http.StatusBadRequest && status < http.StatusInternalServerError:
		return l.refusal(status) != failed // a 416, where there is less content than that
	default:
		l.ranged = slices.Contains(l.mirror.statuses, status)
	}
	return true
}

// begins judges the head of content from the middle on, which stands.
func (l *leg) begins(res *response) {
	e := l.entry
	e.Status, e.Size = http.StatusOK, l.from+res.ContentLength
	switch {
	case l.req.Size > 0 && e.Size != l.req.Size:
		l.err = fmt.Errorf("%d bytes where an index promised %d", e.Size, l.req.Size)
	case continuable(l.req, e) == nil: // a Connection field has named the validator
		l.err = errOther
	default:
		if l.err = l.mirror.checkFields(res.Header); l.err == nil {
			l.outcome = good
		}
	}
}

// looks is how often it is looked whether somebody waits for the beginning.
const looks = 10 * time.Millisecond

// copyBegun is CopyParts of a body that was begun in the middle, and comes from
// one mirror at a time: first what is open, to the end, then what is before it.
// Once a reader waits for that, it comes beside.
func (y *relay) copyBegun(ctx context.Context, w io.WriterAt, arrived func(off, n int64), wanted func() int64) error {
	from := y.ahead
	y.Rewind(from)
	front := y.front(from)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ended := make(chan struct{}) // closed when what was open has come
	done := make(chan struct{})
	go func() { // ends with the beginning, or when the body that is open fails
		defer close(done)
		defer front.Close()
		if await(ctx, ended, from, wanted) {
			if err := front.copySpan(ctx, w, 0, from, arrived); err != nil {
				fail(err)
			}
		}
	}()
	if err := y.copySpan(ctx, w, from, y.rest.size, arrived); err != nil {
		fail(err)
		front.Close()
	} else { // there may be no room for a second request to the mirror
		body, _ := y.current()
		body.Close()
	}
	close(ended)
	<-done
	return context.Cause(ctx)
}

// await waits until ended is closed, or a reader waits for something before an
// offset; false: until ctx is done.
func await(ctx context.Context, ended <-chan struct{}, before int64, wanted func() int64) bool {
	tick := time.NewTicker(looks)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		case <-tick.C:
			if at := wanted(); at >= 0 && at < before {
				return true
			}
		}
	}
}

// front is the content before an offset, as a body of its own; nobody is asked
// before it is read.
func (y *relay) front(to int64) *relay {
	y.mu.Lock()
	leg := y.leg
	y.mu.Unlock()
	f := y.group.newRelay(y.ctx, y.req, *y.rest.part(0, to), y.tiers, true, leg)
	f.body, f.whole = rewound{}, y
	return f
}

// copySpan writes what is read of y to w, from where it stands to end.
func (y *relay) copySpan(ctx context.Context, w io.WriterAt, off, end int64, arrived func(off, n int64)) error {
	buf := stripeBuffers.Get().(*[]byte)
	defer stripeBuffers.Put(buf)
	for off < end {
		n, err := y.Read((*buf)[:min(int64(len(*buf)), end-off)])
		if n > 0 {
			if _, err := w.WriteAt((*buf)[:n], off); err != nil {
				return err
			}
			arrived(off, int64(n))
			off += int64(n)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case off == end:
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}
