package ledger_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A paused ledger leaves its file to another, and goes on if that comes to nothing.
func TestPause(t *testing.T) {
	o := ledger.Options{Path: filepath.Join(t.TempDir(), "ledger"), Entries: 1 << 14}
	old := open(t, o)
	knows := func(l *ledger.Ledger, i int) bool {
		k, _ := nth(i)
		_, ok := l.Known(k)
		return ok
	}
	old.Teach(nth(1))
	old.Pause(true)
	before, err := os.ReadFile(o.Path)
	require.NoError(t, err)

	for i := range 5000 { // some segments
		old.Teach(nth(10 + i))
	}
	after, err := os.ReadFile(o.Path)
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.True(t, knows(old, 1))
	assert.True(t, knows(old, 10+4999), "what is not in the file is known for a while")
	next := open(t, o)
	assert.True(t, knows(next, 1))
	assert.False(t, knows(next, 10))
	next.Teach(nth(2))

	require.NoError(t, next.Close())
	old.Pause(false)
	old.Teach(nth(3))
	require.NoError(t, old.Close())
	last := open(t, o)
	assert.True(t, knows(last, 1))
	assert.True(t, knows(last, 3))
}

func TestPauseOfNone(t *testing.T) {
	(*ledger.Ledger)(nil).Pause(true)
}
