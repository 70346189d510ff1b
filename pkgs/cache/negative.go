package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// negative is a remembered 404 or 410.
type negative struct {
	entry *exchange.Entry
	body  []byte
}

// maxPage is how large an origin's error page may be to be kept, in bytes with its fields.
const maxPage = 2 << 10

func (n negative) response(left time.Duration) *exchange.Response {
	return &exchange.Response{
		Entry:   n.entry,
		Body:    io.NopCloser(bytes.NewReader(n.body)),
		Outcome: exchange.Outcome{Hit: true, TTL: left, HasTTL: true, Detail: "negative"},
	}
}

// remember keeps a 404 or 410 for as long as the policy says. Any other status is not
// kept, nor the absence of what an index lists: that is older or newer than the
// mirrors are, and they have it any moment (PROTOCOLS 0.13).
func (c *Cache) remember(req *exchange.Request, e *exchange.Entry, body []byte) {
	if e.Status != http.StatusNotFound && e.Status != http.StatusGone || req.Policy.Negative <= 0 {
		return
	}
	if c.facts != nil {
		if _, listed := c.facts.Known(req.Key); listed {
			return
		}
	}
	size := len(body)
	for name, values := range e.Header {
		size += len(name) + len(strings.Join(values, ""))
	}
	if size > maxPage || len(body) == 0 || len(e.Key.Path) > maxPath {
		short := *e
		short.Key = brief(e.Key)
		short.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
		body = []byte("not found on any mirror\n")
		short.Size = int64(len(body))
		e = &short
	}
	c.negative.put(req.Key, negative{e, body}, c.now().Add(req.Policy.Negative))
}

// An expiring is a bounded map whose values are good until a time. When it is
// full, expired values go first, then arbitrary ones.
type expiring[V any] struct {
	max int

	mu sync.Mutex
	m  map[exchange.Key]dated[V]
}

type dated[V any] struct {
	value V
	until time.Time
}

func newExpiring[V any](max int) *expiring[V] {
	return &expiring[V]{max: max, m: map[exchange.Key]dated[V]{}}
}

// get is the key's value if it is good now, and for how long yet.
func (x *expiring[V]) get(key exchange.Key, now time.Time) (v V, left time.Duration, ok bool) {
	key = brief(key)
	x.mu.Lock()
	defer x.mu.Unlock()
	d, ok := x.m[key]
	if !ok || !now.Before(d.until) {
		return v, 0, false
	}
	return d.value, d.until.Sub(now), true
}

// last is the key's value, good or not.
func (x *expiring[V]) last(key exchange.Key) (V, bool) {
	key = brief(key)
	x.mu.Lock()
	defer x.mu.Unlock()
	d, ok := x.m[key]
	return d.value, ok
}

func (x *expiring[V]) put(key exchange.Key, v V, until time.Time) {
	key = brief(key)
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.m[key]; !ok && len(x.m) >= x.max {
		// Map order is random: among a few, the one that ends first goes.
		var victim exchange.Key
		var soonest time.Time
		looked := 0
		for k, d := range x.m {
			if soonest.IsZero() || d.until.Before(soonest) {
				victim, soonest = k, d.until
			}
			if looked++; looked == 8 {
				break
			}
		}
		delete(x.m, victim)
	}
	x.m[key] = dated[V]{v, until}
}

func (x *expiring[V]) delete(key exchange.Key) {
	key = brief(key)
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.m, key)
}

// brief is key, or one that stands for it where its path is long: clients choose
// paths, and thousands of keys are remembered.
func brief(key exchange.Key) exchange.Key {
	if len(key.Path) > maxPath {
		sum := sha256.Sum256([]byte(key.Path))
		key.Path = "#" + hex.EncodeToString(sum[:]) // no path begins so
	}
	return key
}
