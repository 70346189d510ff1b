package cache

import (
	"context"
	"hash/maphash"
	"math"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// flying says whether the key has a flight.
func (c *Cache) flying(key exchange.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flights[key] != nil
}

// unseen is a count of departures that never is: the store is to be looked at again.
const unseen = math.MaxUint64

// departures counts the flights that have left the table, for key and some others:
// where one has left since the store was looked at, that look may have been too early.
func (c *Cache) departures(key exchange.Key) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.departed(key)
}

// departed is the count of key's flights. Callers hold mu.
func (c *Cache) departed(key exchange.Key) *uint64 {
	return &c.left[maphash.Comparable(c.seed, key)%uint64(len(c.left))]
}

// join takes part in the key's flight, or starts one that validates old (nil: a
// plain one, the store having been looked at behind since departures). The reader
// is attached from the start, at offset 0. leader says that the flight is this
// request's own. No flight: the cache is closing, or too many wait already.
func (c *Cache) join(ctx context.Context, next exchange.Source, req *exchange.Request, old *exchange.Entry, since uint64) (f *flight, r *reader, leader bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f = c.flights[req.Key]; f != nil {
		if r = f.attach(ctx); r != nil {
			return f, r, false
		}
		return nil, nil, false
	}
	if c.closed {
		return nil, nil, false
	}
	f = newFlight(c, req)
	f.second = old == nil && *c.departed(req.Key) != since
	c.flights[req.Key] = f
	r = f.attach(ctx)
	fly, cancel := context.WithCancelCause(c.carry(c.daemon, ctx))
	f.cancel = cancel
	c.wg.Go(func() {
		defer cancel(nil)
		f.run(fly, next, req, old)
	})
	return f, r, true
}

// leave takes f off the table, so that the next request for its key starts anew.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
	if c.selected[f.selected] == f {
		delete(c.selected, f.selected)
	}
	*c.departed(f.key)++ // it may have left before, and stored something since
}
