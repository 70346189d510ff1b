package hub

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A Recent remembers values by key, up to a number of keys: with one more it forgets
// all that it had. It is for what can be found out again. It is safe for concurrent use.
type Recent[K comparable, V any] struct {
	max int

	mu     sync.Mutex
	values map[K]V // guarded by mu
}

// NewRecent remembers nothing yet, and max values at most.
func NewRecent[K comparable, V any](max int) *Recent[K, V] {
	return &Recent[K, V]{max: max, values: map[K]V{}}
}

// Get is the value of a key; false if it is not remembered.
func (r *Recent[K, V]) Get(key K) (value V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok = r.values[key]
	return value, ok
}

// Put remembers the value of a key in place of another one.
func (r *Recent[K, V]) Put(key K, value V) {
	r.Update(key, func(V, bool) (V, bool) { return value, true })
}

// Update remembers in place of a key's value, if there is one, what f makes of it,
// unless that says false. Nothing else happens to the key meanwhile; f must be quick.
func (r *Recent[K, V]) Update(key K, f func(old V, known bool) (V, bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.values[key]
	value, ok := f(old, known)
	if !ok {
		return
	}
	if !known && len(r.values) >= r.max {
		clear(r.values)
	}
	r.values[key] = value
}

// maxPaced is how many keys a Pace remembers.
const maxPaced = 10_000

// A Pace lets what is done for a key be done once in a time. It is safe for
// concurrent use.
type Pace struct {
	options *Options
	every   time.Duration
	last    *Recent[string, time.Time]
}

// NewPace is one of once in every, by the time of the options.
func NewPace(o *Options, every time.Duration) *Pace {
	return &Pace{options: o, every: every, last: NewRecent[string, time.Time](maxPaced)}
}

// Next says whether it is time for a key, and then counts from now.
func (p *Pace) Next(key string) (ok bool) {
	now := p.options.Time()
	p.last.Update(key, func(last time.Time, _ bool) (time.Time, bool) {
		ok = now.Sub(last) >= p.every
		return now, ok
	})
	return ok
}

// maxDated is how much content is remembered of whose date something is known.
const maxDated = 10_000

// A Newest tells old content from new where it has a date in it: a mirror behind the
// others has what is older than was seen of it before. It is safe for concurrent use.
type Newest struct {
	options *Options
	seen    *Recent[string, time.Time]
}

// NewNewest has seen nothing yet.
func NewNewest(o *Options) *Newest {
	return &Newest{options: o, seen: NewRecent[string, time.Time](maxDated)}
}

// Judge is a judge for [Options.Judged], for the Gate that is asked for req before the
// cache: of content with a date, as date finds it in its first size bytes, or all if it
// has no more. Where nothing was seen yet, as after a restart, that which is stored was.
func (n *Newest) Judge(ctx context.Context, req *exchange.Request, cached exchange.Source, size int64, date func(head []byte) time.Time) func(*exchange.Response) (io.ReadCloser, error) {
	path := req.Key.String() // a path may be of several members
	if _, seen := n.seen.Get(path); !seen && req.Validate != nil {
		_ = n.Check(path, storedDate(ctx, req, cached, size, date))
	}
	return Beginning(size, func(head []byte) error { return n.Check(path, date(head)) })
}

// storedDate is the date of the content that req validates; zero if it is gone.
func storedDate(ctx context.Context, req *exchange.Request, cached exchange.Source, size int64, date func(head []byte) time.Time) time.Time {
	// Were it gone, this would wait for the very flight that it runs in.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stored := *req
	stored.Validate, stored.Policy = nil, freshness.Policy{TTL: freshness.Forever}
	resp, err := cached.Get(ctx, &stored)
	if err != nil {
		return time.Time{}
	}
	defer resp.Body.Close()
	head, err := io.ReadAll(io.LimitReader(resp.Body, size))
	if err != nil || resp.Entry.Status != http.StatusOK {
		return time.Time{}
	}
	return date(head)
}

// Check is an error if content at a path is of a date before one that was seen there.
// The zero time is no date, and one in the future would shut out all that is to come:
// it counts as none.
func (n *Newest) Check(path string, date time.Time) (err error) {
	if date.IsZero() || date.After(n.options.Time().Add(24*time.Hour)) {
		return nil
	}
	n.seen.Update(path, func(seen time.Time, _ bool) (time.Time, bool) {
		if date.Before(seen) {
			err = fmt.Errorf("content of %v, after that of %v", date.UTC(), seen.UTC())
		}
		return date, err == nil
	})
	return err
}
