package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

var (
	_ exchange.Ranges = (*relay)(nil)
	_ exchange.Blend  = (*relay)(nil)
)

// errRewound is why a relay asks anew though its mirror has done nothing wrong.
var errRewound = errors.New("the body is read from another offset")

// deniesRanges reports whether an answer says that ranges are not to be asked
// for (RFC 9110 §14.3).
func deniesRanges(h http.Header) bool {
	return strings.EqualFold(strings.TrimSpace(h.Get("Accept-Ranges")), "none")
}

// Section asks the best mirror for the n bytes at off. Only those that have the
// same strong validator may answer; without a strong entity tag that is the one
// whose the beginning is, because no digest proves a section.
func (y *relay) Section(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n <= 0 || off > y.rest.size-n {
		return nil, fmt.Errorf("section of %v: %d bytes at %d of %d", y.req.Key, n, off, y.rest.size)
	}
	if y.group.league.over.Err() != nil {
		return nil, errClosed
	}
	rest := y.rest.section(off, n)
	y.mu.Lock()
	tiers, candidates := y.able(rest, y.unfit)
	if y.closed {
		candidates = 0
	}
	y.mu.Unlock()
	if candidates == 0 {
		return nil, fmt.Errorf("section of %v: %w", y.req.Key, errOther)
	}
	s := &race{group: y.group, req: rest.request(y.req), rest: rest, mode: Adaptive, tiers: tiers, candidates: candidates}
	res, err := s.run(ctx)
	y.mu.Lock()
	for _, l := range s.lost {
		if l.outcome == other || l.outcome == absent {
			y.unfit = append(y.unfit, l.mirror)
		}
	}
	y.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("section of %v: %w", y.req.Key, err)
	}
	if res.Entry.Status != http.StatusPartialContent { // they agree on a 404
		res.Body.Close()
		return nil, fmt.Errorf("section of %v: %w: status %d", y.req.Key, errOther, res.Entry.Status)
	}
	return res.Body, nil
}

// able are who may be asked for a part, but for some. mu is held.
func (y *relay) able(part *continuation, but []*mirror) (tiers [][]candidate, n int) {
	for _, tier := range y.tiers {
		able := slices.DeleteFunc(slices.Clone(tier), func(c candidate) bool {
			return slices.Contains(but, c.mirror) || !part.anywhere() && c.mirror.base != part.mirror
		})
		if len(able) > 0 {
			tiers = append(tiers, able)
			n += len(able)
		}
	}
	return tiers, n
}

// Rewind lets the body be read from another offset: from whoever has it.
func (y *relay) Rewind(off int64) {
	if y.ahead > 0 && y.ahead == off { // it is open there
		y.ahead, y.off = 0, off
		y.mu.Lock()
		defer y.mu.Unlock()
		y.reached = off
		return
	}
	y.ahead = 0
	y.mu.Lock()
	old := y.body
	y.body, y.skip, y.reached, y.left = io.NopCloser(strings.NewReader("")), 0, off, nil
	if off < y.rest.end() {
		y.body = rewound{}
	}
	y.mu.Unlock()
	y.off, y.err = off, nil
	old.Close()
}

// rewound is the body of a relay that asks as soon as it is read.
type rewound struct{}

func (rewound) Read([]byte) (int, error) { return 0, errRewound }
func (rewound) Close() error             { return nil }
