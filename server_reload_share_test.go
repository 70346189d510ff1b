package cacheproxy

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRevisionsShare: what two configurations have in common is the same thing.
func TestRevisionsShare(t *testing.T) {
	const first = "hubs:\n- {name: a, upstream: [{" + server + "}]}\n- {name: b, upstream: [{" + server + "}]}\n"
	s := serverOf(t, first, io.Discard)
	reload := func(text string) (before, after *revision) {
		t.Helper()
		before = s.revision()
		cfg, _ := must(t, text)
		cfg.Storage.Local = before.config.Storage.Local
		require.NoError(t, s.Reload(cfg))
		return before, s.revision()
	}
	before, after := reload(first)
	assert.NotSame(t, before, after)
	assert.Equal(t, before.hubs, after.hubs)
	assert.Same(t, before.hubs[0], after.hubs[0])
	assert.Same(t, before.door, after.door)

	before, after = reload("hubs:\n- {name: b, upstream: [{" + server + "}]}\n- {name: a, cache: {timeout: 1m}, upstream: [{rate: 1MiB, " + server + "}]}\n")
	assert.Same(t, before.hubs[1], after.hubs[0])
	assert.NotSame(t, before.hubs[0], after.hubs[1], "another freshness")
	assert.Same(t, before.hubs[0].lines[0], after.hubs[1].lines[0], "but the same mirrors")

	before, after = reload("limits: {client-idle-timeout: 1m, upstream-idle-timeout: 20s}\nhubs:\n- {name: b, upstream: [{" + server + "}]}\n")
	assert.NotSame(t, before.door, after.door)
	assert.True(t, before.door.gone())
	assert.NotSame(t, before.hubs[0].lines[0], after.hubs[0].lines[0])
	assert.Same(t, before.hubs[0].lines[0].buckets[0], after.hubs[0].lines[0].buckets[0])
	assert.Zero(t, before.hubs[0].lines[0].holders.Load())
	assert.EqualValues(t, 1, after.hubs[0].lines[0].holders.Load())
}
