package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	maxSwitches = 3                      // of one body
	maxSearches = 6                      // of one body, while it comes
	stalled     = 750 * time.Millisecond // without a byte, when there are others to ask
	recovered   = 64 << 10               // bytes meanwhile, and a mirror that stalled is kept
	paceWindow  = 400 * time.Millisecond // over which it is measured whether a body crawls
)

// A relay is a winner's body that heals itself: when its mirror dies, stalls or
// crawls, it goes on at the same offset from another one, and whoever reads it
// notices nothing. Without another one the same mirror is asked again.
type relay struct {
	ctx    context.Context // of this body; bound to one request
	cancel context.CancelFunc
	group  *Group
	req    *exchange.Request
	rest   continuation
	tiers  [][]candidate
	ranges bool            // the first mirror has said that it does them
	gaps   []exchange.Span // of a resumed body, what is missing; nil: all of it
	whole  *relay          // that this is the beginning of; nil: it is one by itself

	// Owned by Read, or by CopyParts.
	off   int64
	ahead int64 // where a body begins that is resumed, or was begun in the middle, until it is read or rewound; else 0
	err   error // sticky
	pace  pace
	peak  float64     // bytes a second, at best
	watch *time.Timer // runs during Read only; nil: there is nobody else to ask

	mu       sync.Mutex
	leg      *leg          // guarded by mu, like all below
	body     io.ReadCloser // of leg
	reading  bool          // of it
	skip     int64         // bytes of it that the reader has already
	reached  int64         // is off
	switches int
	searches int
	left     []*mirror     // those that died, stalled or crawled
	without  []*mirror     // those that do not have the rest
	unfit    []*mirror     // those that have no sections of it
	search   chan struct{} // closed when the search in progress ends; nil: there is none
	shares   map[*mirror]int64
	closed   bool
}

// newRelay takes over the body of a winner; nil if nothing would vouch for its rest.
func (r *race) newRelay(ctx context.Context, l *leg) *relay {
	rest := continuable(r.req, l.entry)
	if rest == nil || !r.group.options.Race.Switch {
		return nil
	}
	ranges := l.from > 0 || strings.EqualFold(strings.TrimSpace(l.entry.Header.Get("Accept-Ranges")), "bytes")
	y := r.group.newRelay(ctx, r.req, *rest, r.all, ranges, l)
	y.ahead = l.from
	if l.ranged {
		y.unfit = append(y.unfit, l.mirror)
	}
	return y
}

// newRelay makes a relay of l's body. tiers are who may be asked for the rest.
func (g *Group) newRelay(ctx context.Context, req *exchange.Request, rest continuation, tiers [][]candidate, ranges bool, l *leg) *relay {
	if len(req.Doubt) > 0 {
		tiers = [][]candidate{{l.candidate}}
	}
	y := &relay{group: g, req: req, rest: rest, tiers: tiers, ranges: ranges, leg: l, body: l.body, shares: map[*mirror]int64{}}
	y.ctx, y.cancel = context.WithCancel(ctx)
	y.peak = l.mirror.standing.record().Rate
	n := 0
	for _, tier := range tiers {
		n += len(tier)
	}
	if n > 1 && rest.anywhere() {
		y.watch = time.AfterFunc(stalled, y.stall)
		y.watch.Stop()
	}
	return y
}

var (
	errStalled = errors.New("the body stalls")
	errCrawls  = errors.New("the body crawls")
)

func (y *relay) Read(p []byte) (int, error) {
	if y.ahead > 0 { // whoever reads knows nothing of a part
		y.Rewind(0)
	}
	for y.err == nil {
		body, n, err := y.read(p)
		switch {
		case err == io.EOF:
			y.err = err
			return n, err
		case n > 0: // an error stays, and is met again
			return n, nil
		case err != nil && !y.heal(body, err):
			y.err = err
		}
	}
	return 0, y.err
}

// read reads some of the current body, which it returns too.
func (y *relay) read(p []byte) (body io.ReadCloser, n int, err error) {
	y.mu.Lock()
	leg, body, skip := y.leg, y.body, y.skip
	y.reading = skip == 0
	y.mu.Unlock()
	if skip > 0 { // at most what one Read brought while a search went on
		skipped, err := io.CopyN(io.Discard, body, skip)
		y.mu.Lock()
		if y.body == body {
			y.skip -= skipped
		}
		y.mu.Unlock()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return body, 0, err
	}
	if y.watch != nil {
		y.watch.Reset(stalled)
	}
	y.pace.begin(&y.group.league.bytes)
	waited := leg.waited.Load()
	n, err = body.Read(p)
	if y.watch != nil {
		y.watch.Stop()
	}
	y.off += int64(n)
	y.mu.Lock()
	y.reached, y.reading = y.off, false
	y.shares[leg.mirror] += int64(n)
	if y.body != body && n > 0 { // taken over meanwhile
		y.skip += int64(n)
	}
	y.mu.Unlock()
	if y.whole != nil {
		y.whole.brought(leg.mirror, n)
	}
	idle := time.Duration(leg.waited.Load() - waited)
	if rate, line, ok := y.pace.end(n, idle, paceWindow); ok && y.watch != nil && err == nil {
		y.compare(rate, line)
	}
	return body, n, err
}

// stall looks elsewhere when a Read has taken long. Called by watch.
func (y *relay) stall() {
	y.mu.Lock()
	reading, waiting := y.reading, y.leg.waiting.Load()
	if reading && waiting { // for us, not for the mirror
		y.watch.Reset(stalled)
	}
	y.mu.Unlock()
	if reading && !waiting {
		y.seek(errStalled)
	}
}

// compare looks elsewhere if the body crawls.
func (y *relay) compare(rate, line float64) {
	y.mu.Lock()
	left, own := y.left, y.leg.mirror
	y.mu.Unlock()
	var others []Record
	for _, tier := range y.tiers {
		for _, c := range tier {
			if c.mirror != own && !slices.Contains(left, c.mirror) {
				others = append(others, c.mirror.standing.record())
			}
		}
	}
	if crawls(others, time.Now(), rate, y.peak, line-rate, y.rest.end()-y.off) {
		y.group.legs.Go(func() { y.seek(errCrawls) })
	}
	y.peak = max(y.peak, rate)
}

// heal reports whether the reader may go on after failed has ended with err. It
// waits for a search that goes on already, or makes one.
func (y *relay) heal(failed io.ReadCloser, err error) bool {
	body, search := y.current()
	for search != nil {
		select {
		case <-search:
		case <-y.ctx.Done():
			return false
		}
		body, search = y.current()
	}
	if body == failed {
		y.seek(err)
		body, _ = y.current()
	}
	return body != failed
}

func (y *relay) current() (io.ReadCloser, chan struct{}) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.body, y.search
}

// seek finds who has the rest, and lets it take over. A mirror that only stalls
// or crawls is kept until then, and if there is nobody.
func (y *relay) seek(why error) {
	lives := why == errStalled || why == errCrawls
	y.mu.Lock()
	if y.closed || y.search != nil || y.switches == maxSwitches || lives && y.searches == maxSearches ||
		y.reached == y.rest.end() || y.group.league.over.Err() != nil {
		y.mu.Unlock()
		return
	}
	y.searches++
	done := make(chan struct{})
	y.search = done
	rest := y.rest
	rest.from = y.reached
	timeout := (*timeoutError)(nil) // whoever has kept us waiting for so long is not asked again
	tiers, n := y.candidates(!lives && !errors.As(why, &timeout))
	if why == errRewound {
		tiers, n = y.able(&rest, y.without)
	}
	from := y.leg.mirror
	y.mu.Unlock()

	var res *exchange.Response
	s := &race{}
	if n > 0 {
		s = &race{group: y.group, req: rest.request(y.req), rest: &rest, mode: Adaptive, tiers: tiers, candidates: n}
		res, _ = s.run(y.ctx) // what failed of it is in the mirrors' records
	}
	y.mu.Lock()
	defer close(done)
	defer y.mu.Unlock()
	y.search = nil
	for _, l := range s.lost {
		if l.outcome == other || l.outcome == absent {
			y.without = append(y.without, l.mirror)
		}
	}
	if res == nil {
		return
	}
	if res.Entry.Status != http.StatusPartialContent { // they agree on a 404
		res.Body.Close()
		return
	}
	if y.closed || why == errStalled && y.reached-rest.from >= recovered {
		go res.Body.Close()
		return
	}
	y.adopt(s.winner, from, rest.from, why)
}

// adopt makes a found body the current one. mu is held.
func (y *relay) adopt(l *leg, from *mirror, at int64, why error) {
	old := y.body
	y.leg, y.body, y.skip = l, l.body, y.reached-at
	if why == errRewound {
		return
	}
	y.switches++
	if !slices.Contains(y.left, from) {
		y.left = append(y.left, from)
	}
	old.Close() // ends a Read of it
	y.group.switched(from, l.mirror, y.req.Key, at, why)
}

// candidates are who may have the rest: others first, and at last, if the body
// has ended, those that had a part in it. mu is held.
func (y *relay) candidates(again bool) (tiers [][]candidate, n int) {
	var last []candidate
	for _, tier := range y.tiers {
		var others []candidate
		for _, c := range tier {
			switch {
			case slices.Contains(y.without, c.mirror):
			case c.mirror == y.leg.mirror || slices.Contains(y.left, c.mirror):
				if again && (y.rest.anywhere() || c.mirror.base == y.rest.mirror) {
					last = append(last, c)
				}
			case y.rest.anywhere():
				others = append(others, c)
			}
		}
		if len(others) > 0 {
			tiers = append(tiers, others)
			n += len(others)
		}
	}
	if len(last) > 0 {
		tiers = append(tiers, last)
	}
	return tiers, n + len(last)
}

// Shares implements [exchange.Blend].
func (y *relay) Shares() []exchange.Share {
	y.mu.Lock()
	defer y.mu.Unlock()
	shares := make([]exchange.Share, 0, len(y.shares))
	for m, n := range y.shares {
		if n > 0 {
			shares = append(shares, exchange.Share{Mirror: m.base, Bytes: n})
		}
	}
	return shares
}

// brought notes whose n bytes were.
func (y *relay) brought(m *mirror, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.shares[m] += int64(n)
}

// Close may be called at any time, during Read too, which it interrupts.
func (y *relay) Close() error {
	y.cancel()
	if y.watch != nil {
		y.watch.Stop()
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.closed = true
	return y.body.Close()
}
