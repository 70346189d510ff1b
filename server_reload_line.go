package cacheproxy

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/oci"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// A line is a group of upstreams on its way through revisions: those that want
// the same of it share it, with its connections, records and numbers. It is held
// by revisions, and by whoever reads from it, and is closed when nobody does any more.
type line struct {
	wanted
	server  *Server
	group   *upstream.Group
	buckets []*upstream.Bucket // of its mirrors, in their order
	holders atomic.Int64       // 0: closed

	mu     sync.Mutex
	second map[string]*line // guarded by mu: those of hosts that its indexes taught, by alias
}

// wanted is what makes a line: equal ones are one. The fields of Options that
// every line has alike, or that may change while it is in use, are not set.
type wanted struct {
	upstream.Options
	origin    string // of which of the hub's upstreams; "" is its mirrors
	authorize bool   // as registries want it
	authHosts []string
	accounts  [][]string // of each mirror
	perMirror int        // requests to a mirror at a time
}

// line is the line that is wanted: old if it is that one, else a new one that goes
// on with what old has of the same mirrors. old may be nil. The caller holds it.
func (s *Server) line(w wanted, old *line) (*line, error) {
	if old != nil && reflect.DeepEqual(old.wanted, w) {
		old.hold()
		return old, nil
	}
	l := &line{wanted: w, server: s, buckets: old.bucketsFor(w.Mirrors)}
	l.holders.Store(1)
	options := w.Options
	options.Mirrors = make([]upstream.Mirror, len(w.Mirrors))
	for i, m := range w.Mirrors {
		m.Bucket = l.buckets[i]
		m.Wrap = func(next http.RoundTripper) http.RoundTripper {
			if w.authorize {
				next = oci.Authorize(w.authHosts, w.accounts[i], s.options.Now)(next)
			}
			return s.spans(w.Hub, m.Server, bounded(next, w.perMirror))
		}
		options.Mirrors[i] = m
	}
	options.Bucket = s.rate
	options.Spool, options.Raced = s.spool, s.operators.board.raced
	options.Log, options.Now = s.log, s.options.Now
	if old != nil {
		options.Before = old.group
	} else {
		options.Records = s.league.records(w.Hub, w.origin)
	}
	var err error
	l.group, err = upstream.New(options)
	return l, err
}

// bucketsFor are buckets for some mirrors, those that l has for the same servers among them.
func (l *line) bucketsFor(mirrors []upstream.Mirror) []*upstream.Bucket {
	known := map[string][]*upstream.Bucket{}
	if l != nil {
		for i, m := range l.Mirrors {
			known[m.Server.String()] = append(known[m.Server.String()], l.buckets[i])
		}
	}
	all := make([]*upstream.Bucket, len(mirrors))
	for i, m := range mirrors {
		if same := known[m.Server.String()]; len(same) > 0 {
			all[i], known[m.Server.String()] = same[0], same[1:]
		} else {
			all[i] = upstream.NewBucket(0)
		}
	}
	return all
}

// hold keeps the line from being closed until drop; false if it is already.
func (l *line) hold() bool { return hold(&l.holders) }

func (l *line) drop() {
	if l.holders.Add(-1) == 0 {
		l.server.lines.Go(l.group.Close)
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, second := range l.second {
			second.drop()
		}
	}
}

// hold adds one to a number of holders, unless there are none any more.
func hold(holders *atomic.Int64) bool {
	for {
		n := holders.Load()
		if n == 0 {
			return false
		}
		if holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Get asks the group. A transfer that nobody waits for may have outlived its
// revision when it asks once more; then it asks the line that has taken over.
func (l *line) Get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	for !l.hold() {
		next := l.server.current.Load().hub(l.Hub).line(l.origin)
		if next == nil || next == l {
			return nil, &exchange.Error{Status: http.StatusServiceUnavailable, Message: "the hub is being closed"}
		}
		l = next
	}
	end, err := l.server.fills.begin(ctx, req.Client.Addr)
	if err != nil {
		l.drop()
		return nil, err
	}
	resp, err := l.group.Get(ctx, req)
	if err != nil {
		end()
		l.drop()
		return nil, err
	}
	held := *resp
	held.Body = &heldBody{ReadCloser: resp.Body, drop: sync.OnceFunc(func() { end(); l.drop() })}
	return &held, nil
}

// heldBody holds its line, and its part of the room for fills, until it is closed.
type heldBody struct {
	io.ReadCloser
	drop func()
}

func (b *heldBody) Close() error {
	err := b.ReadCloser.Close()
	b.drop()
	return err
}
