package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Group is mirrors of the same content, raced. It is safe for concurrent use.
type Group struct {
	options Options
	mirrors []*mirror
	league  *league
	close   context.CancelFunc // ends league.over
	legs    sync.WaitGroup     // those running beside their Get
}

var _ exchange.Source = (*Group)(nil)

// New makes a group. It asks nobody yet.
func New(o Options) (*Group, error) {
	o.setDefaults()
	g := &Group{options: o}
	switch o.Race.Mode {
	case Adaptive, All, Ordered:
	default:
		return nil, fmt.Errorf("race mode %q: want %s, %s or %s", o.Race.Mode, Adaptive, All, Ordered)
	}
	if l := o.Limits; min(l.Dial, l.TLS, l.Header, l.Idle) < 0 || l.HeaderBytes < 0 {
		return nil, errors.New("limits: neither times nor header bytes can be negative")
	}
	guard := newGuard(&g.options)
	g.league = &league{budget: budget{1, 1}}
	g.league.over, g.close = context.WithCancel(context.Background())
	for i := range o.Mirrors {
		m, err := newMirror(i, &g.options, guard)
		if err != nil {
			for _, m := range g.mirrors {
				m.pool.drop()
			}
			return nil, fmt.Errorf("mirror %d: %w", i, err)
		}
		m.league = g.league
		m.standing.Record.Mirror = m.base
		for _, r := range o.Records {
			if r.Mirror == m.base {
				m.standing.Record = r.believed(time.Now())
			}
		}
		g.mirrors = append(g.mirrors, m)
	}
	g.league.mirrors = g.mirrors
	if o.Before != nil {
		g.inherit(o.Before)
		g.options.Before = nil // it may go
	}
	return g, nil
}

// Mirrors lists the base URLs in the operator's order, without credentials, as
// they stand in [exchange.Entry.Mirror].
func (g *Group) Mirrors() []string {
	bases := make([]string, len(g.mirrors))
	for i, m := range g.mirrors {
		bases[i] = m.base
	}
	return bases
}

// Close drops idle connections and waits for what the losers of races leave
// behind. No Get may be running; bodies that callers still hold stay readable,
// but are not switched any more.
func (g *Group) Close() {
	g.close()
	g.legs.Wait()
	for _, m := range g.mirrors {
		m.pool.drop()
		m.away.CloseIdleConnections()
	}
}

// Get races the mirrors that have the path. No such mirror is [fs.ErrNotExist];
// any other failure is an [*exchange.Error]. A 404, 410 or 403 is a response if
// all mirrors agree on it; a 304 if the request has an entry to validate. ctx
// governs the body too. A request with a Wire is not raced: see forward.
func (g *Group) Get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	tiers, n, err := g.plan(req)
	if err != nil {
		return nil, err
	}
	if req.From > 0 && !g.begins(req) {
		ask := *req
		ask.From = 0
		req = &ask
	}
	g.league.begin()
	if req.Wire != nil {
		return g.forward(ctx, req, tiers)
	}
	if req.Post != nil { // who gets it twice may do it twice
		tiers, n = [][]candidate{{first(tiers)}}, 1
	}
	if req.Resume != nil {
		if resp, err := g.resume(ctx, req, tiers, n); resp != nil || err != nil {
			return resp, err
		}
	}
	r := &race{group: g, req: req, mode: g.options.Race.Mode, all: tiers, tiers: tiers, candidates: n}
	return r.run(ctx)
}

// first is the candidate that would be asked before all others, if it is healthy;
// else the next.
func first(tiers [][]candidate) candidate {
	for _, tier := range tiers {
		for _, c := range tier {
			if c.mirror.healthy() {
				return c
			}
		}
	}
	return tiers[0][0]
}

// A candidate is a mirror that has the path, and where.
type candidate struct {
	mirror   *mirror
	url      *url.URL
	priority int
}

// plan lists who may be asked, in tiers: all of one are asked before any of the
// next. Those that are doubted come last, each by itself.
func (g *Group) plan(req *exchange.Request) (tiers [][]candidate, n int, err error) {
	canonical, _, _ := strings.Cut(req.Key.Path, "?")
	path, query, _ := strings.Cut(req.Target, "?")
	all := make([]candidate, 0, len(g.mirrors))
	var doubted [][]candidate
	avoided := false
	for _, m := range g.mirrors {
		if u := m.locate(canonical, path, query); u == nil {
			continue
		} else if slices.Contains(req.Avoid, m.base) || req.Only != "" && req.Only != m.base {
			avoided = true
		} else if slices.Contains(req.Doubt, m.base) {
			doubted = append(doubted, []candidate{{m, u, m.priority(canonical)}})
		} else {
			all = append(all, candidate{m, u, m.priority(canonical)})
		}
	}
	n = len(all) + len(doubted)
	if n == 0 && avoided {
		return nil, 0, &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has the right content"}
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("no mirror has %v: %w", req.Key, fs.ErrNotExist)
	}
	if g.options.Race.Mode == Ordered {
		for i := range all {
			tiers = append(tiers, all[i:i+1])
		}
		return append(tiers, doubted...), n, nil
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return b.priority - a.priority })
	from := 0
	for i := range all {
		if all[i].priority != all[from].priority {
			tiers = append(tiers, all[from:i])
			from = i
		}
	}
	if len(all) > 0 {
		tiers = append(tiers, all[from:])
	}
	return append(tiers, doubted...), n, nil
}
