package cacheproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// fills bounds what is asked of mirrors at a time, in all and for a client: the
// one that a transfer was begun for, whoever else gets it. Who finds no room
// waits for a while, in the order of coming, behind nobody whose own client has
// no room either.
type fills struct {
	limits func() *Fills // in force now

	mu      sync.Mutex
	all     int                // guarded by mu
	clients map[netip.Addr]int // guarded by mu; clients without fills are not in it
	queue   []*waiter          // guarded by mu

	refusedAll, refusedClient atomic.Int64
}

type waiter struct {
	client  netip.Addr
	granted chan struct{} // closed with the queue's mu held
}

const (
	fillWait   = 10 * time.Second
	fillQueue  = 4096 // waiters
	fillReturn = time.Second
)

// begin takes part of the room, and gives it back by end. Without room in time
// it is a 503.
func (f *fills) begin(ctx context.Context, client netip.Addr) (end func(), err error) {
	w := &waiter{client: client, granted: make(chan struct{})}
	f.mu.Lock()
	switch {
	case f.room(client):
		f.take(client)
	case len(f.queue) >= fillQueue:
		defer f.mu.Unlock()
		return nil, f.refusal(client)
	default:
		f.queue = append(f.queue, w)
		f.mu.Unlock()
		if err := f.wait(ctx, w); err != nil {
			return nil, err
		}
		f.mu.Lock()
	}
	f.mu.Unlock()
	return sync.OnceFunc(func() { f.end(client) }), nil
}

// wait waits for w's turn.
func (f *fills) wait(ctx context.Context, w *waiter) error {
	patience := time.NewTimer(fillWait)
	defer patience.Stop()
	var err error
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-patience.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.queue, w)
	if i < 0 {
		return nil // granted meanwhile
	}
	f.queue = slices.Delete(f.queue, i, i+1)
	if err == nil {
		err = f.refusal(w.client)
	}
	return err
}

// refusal says that there is no room, and counts for want of which. Callers hold mu.
func (f *fills) refusal(client netip.Addr) error {
	counter, why := &f.refusedAll, "the mirrors are asked for too much at once"
	if client.IsValid() && f.clients[client] >= f.limits().PerClient {
		counter, why = &f.refusedClient, "this client asks mirrors for too much at once"
	}
	counter.Add(1)
	return &exchange.Error{Status: http.StatusServiceUnavailable, Message: why, RetryAfter: fillReturn, Reason: "fills"}
}

// room says whether client may have one more. Callers hold mu.
func (f *fills) room(client netip.Addr) bool {
	l := f.limits()
	return f.all < l.All && (!client.IsValid() || f.clients[client] < l.PerClient)
}

// take counts one more. Callers hold mu.
func (f *fills) take(client netip.Addr) {
	f.all++
	if client.IsValid() {
		f.clients[client]++
	}
}

// end gives room back, to whom it is the turn of.
func (f *fills) end(client netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all--
	if client.IsValid() {
		if f.clients[client]--; f.clients[client] == 0 {
			delete(f.clients, client)
		}
	}
	f.queue = slices.DeleteFunc(f.queue, func(w *waiter) bool {
		if !f.room(w.client) {
			return false
		}
		f.take(w.client)
		close(w.granted)
		return true
	})
}

// FillStats are the numbers of requests to mirrors.
type FillStats struct {
	Now     int // that are under way
	Waiting int // for room

	// Those that were refused because of limits.fills, all and per-client.
	RefusedAll, RefusedClient int64
}

func (f *fills) stats() FillStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return FillStats{f.all, len(f.queue), f.refusedAll.Load(), f.refusedClient.Load()}
}

// bounded is a transport that asks for so much at a time, and waits with the rest.
func bounded(next http.RoundTripper, n int) http.RoundTripper {
	room := make(chan struct{}, n)
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		select {
		case room <- struct{}{}:
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
		leave := sync.OnceFunc(func() { <-room })
		context.AfterFunc(r.Context(), leave) // of a body that nobody reads on
		resp, err := next.RoundTrip(r)
		if err != nil {
			leave()
			return nil, err
		}
		resp.Body = &leavingBody{resp.Body, leave}
		return resp, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// leavingBody leaves when it is read to its end, or closed.
type leavingBody struct {
	io.ReadCloser
	leave func()
}

func (b *leavingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.leave()
	}
	return n, err
}

func (b *leavingBody) Close() error {
	defer b.leave()
	return b.ReadCloser.Close()
}
