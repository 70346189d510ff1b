package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
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
