package cache

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

func TestState(t *testing.T) {
	now := time.Now()
	c, err := New(Options{Store: new(mem.Store), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer c.Close(t.Context())
	assert.Equal(t, State{}, c.State())

	broken := errors.New("input/output error")
	c.disk.note(broken)
	c.disk.note(store.ErrFull)
	c.disk.note(store.ErrFull)
	c.disk.note(nil)
	assert.Equal(t, State{StoreErrors: 1, Full: 2}, c.State())
	for range diskErrors {
		c.disk.note(broken)
	}
	c.disk.note(c.disk.allow())
	assert.Equal(t, State{StoreErrors: 1 + diskErrors, Full: 2, Bypassed: true}, c.State())
	now = now.Add(diskPause)
	require.NoError(t, c.disk.allow(), "the probe")
	c.disk.note(nil)
	assert.False(t, c.State().Bypassed)

	c.mu.Lock()
	c.flights[exchange.Key{}] = nil
	assert.Len(t, c.flights, 1)
	c.mu.Unlock()
	assert.Equal(t, 1, c.State().Flights)
	c.mu.Lock()
	delete(c.flights, exchange.Key{})
	c.mu.Unlock()
}
