package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// TestExpiringIsBounded: whatever paths are made up, only so many are remembered,
// and what ends soon goes before what stays (B41).
func TestExpiringIsBounded(t *testing.T) {
	now := time.Now()
	x := newExpiring[int](100)
	lasting := exchange.Key{Path: "/lasting"}
	x.put(lasting, 1, now.Add(time.Hour))
	for n := range 10_000 {
		x.put(exchange.Key{Path: fmt.Sprint("/", n)}, n, now.Add(time.Minute))
		assert.LessOrEqual(t, len(x.m), 100)
	}
	v, left, ok := x.get(lasting, now)
	assert.True(t, ok)
	assert.Equal(t, 1, v)
	assert.Equal(t, time.Hour, left)
	x.put(lasting, 2, now.Add(time.Hour))
	assert.Len(t, x.m, 100, "a key that is there needs no room")
	_, _, ok = x.get(lasting, now.Add(time.Hour))
	assert.False(t, ok)
}

// TestExpiringIsBrief: long paths are told apart, and not kept.
func TestExpiringIsBrief(t *testing.T) {
	now := time.Now()
	x := newExpiring[int](100)
	long := strings.Repeat("/x", 4<<10)
	for n := range 2 {
		x.put(exchange.Key{Path: long + fmt.Sprint(n)}, n, now.Add(time.Minute))
	}
	for n := range 2 {
		v, _, ok := x.get(exchange.Key{Path: long + fmt.Sprint(n)}, now)
		assert.True(t, ok)
		assert.Equal(t, n, v)
	}
	for key := range x.m {
		assert.Less(t, len(key.Path), 100)
	}
	x.delete(exchange.Key{Path: long + "0"})
	assert.Len(t, x.m, 1)

	c := &Cache{negative: newExpiring[negative](1), now: time.Now}
	for _, size := range []int{100, 10_000} {
		req := &exchange.Request{Key: exchange.Key{Path: long}, Policy: freshness.Policy{Negative: time.Minute}}
		c.remember(req, &exchange.Entry{Key: req.Key, Status: 404, Header: http.Header{"X": {strings.Repeat("x", size)}}}, []byte("none"))
		n, _, ok := c.negative.get(req.Key, time.Now())
		assert.True(t, ok)
		assert.Less(t, len(n.entry.Key.Path)+len(n.entry.Header.Get("X")), 200)
	}
}
