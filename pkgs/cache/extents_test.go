package cache

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestExtentsBefore(t *testing.T) {
	x := extents{{10, 20}, {30, 40}}
	for off, want := range map[int64]int64{0: 0, 9: 0, 10: 10, 15: 15, 20: 20, 25: 20, 30: 30, 40: 40, 100: 40} {
		assert.Equal(t, want, x.before(off), off)
	}
	assert.Zero(t, extents(nil).before(5))
}

// A flight that its last client has left goes on for what is there, wherever that is.
func TestWorthwhile(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name     string
		size     int64
		frontier int64
		arrived  extents
		want     bool
	}{
		{"nothing of much", 200 * mib, 0, nil, false},
		{"nothing of little", 64 * mib, 0, nil, true},
		{"half", 200 * mib, 100 * mib, nil, true},
		{"less than half", 200 * mib, 100*mib - 1, nil, false},
		{"half, in the middle", 200 * mib, 0, extents{{100 * mib, 200 * mib}}, true},
		{"half, in two", 200 * mib, mib, extents{{0, mib}, {50 * mib, 149 * mib}}, true},
		{"less than half, in two", 200 * mib, mib, extents{{0, mib}, {50 * mib, 149*mib - 1}}, false},
		{"of unknown size", -1, 1 << 40, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &flight{entry: &exchange.Entry{Size: test.size}, frontier: test.frontier, arrived: test.arrived}
			assert.Equal(t, test.want, f.worthwhile())
		})
	}
}
