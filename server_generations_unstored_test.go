package cacheproxy

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGenerationsUnstored: while the disk takes nothing, a new root passes through,
// and clients that have it are not given what is stored, which is older (F22, F23,
// B42): not when mirrors are rolled back, nor when they are gone.
func TestGenerationsUnstored(t *testing.T) {
	s, c, clock, mirrors := aptCase(t, "")
	temporary := filepath.Join(s.revision().config.Storage.Local.Path, ".temp")
	settled(t, s)
	require.Eventually(t, func() bool { // no directory, so no temporary file can be made
		return os.RemoveAll(temporary) == nil && os.WriteFile(temporary, nil, 0o600) == nil
	}, 5*time.Second, time.Millisecond)
	for _, m := range mirrors {
		release(m, 2)
	}
	require.Equal(t, 2, eventually(t, c, clock, 2))

	other := &aptClient{s: s, addr: "192.0.2.2:1"}
	w, body := other.get(suite + aptMembers[0])
	require.Equal(t, 200, w.Code, body)
	assert.Contains(t, c.release, fmt.Sprintf("%x", sha256.Sum256([]byte(body))), "a member without its root is that of the newest")

	_, old := aptVersion(1, false)
	for _, m := range mirrors {
		m.publish(old)
	}
	for range 4 {
		clock.pass(stale)
		w, body := c.get(suite + "InRelease")
		require.Equal(t, 200, w.Code, body)
		assert.Equal(t, c.release, body)
	}
	for _, m := range mirrors {
		m.Close()
	}
	for range 4 {
		clock.pass(stale)
		w, body := c.get(suite + "InRelease")
		require.Equal(t, 200, w.Code, body)
		assert.Equal(t, c.release, body)
	}

	require.NoError(t, os.Remove(temporary)) // a clean stop is written down by way of it
	require.NoError(t, os.MkdirAll(temporary, 0o755))
}

// TestGenerationsRemoved: rm -r of the store does not make an older root acceptable
// to clients that have had a newer one.
func TestGenerationsRemoved(t *testing.T) {
	s, c, clock, mirrors := aptCase(t, "")
	for _, m := range mirrors {
		release(m, 2)
	}
	require.Equal(t, 2, eventually(t, c, clock, 2))
	_, old := aptVersion(1, false)
	for _, m := range mirrors {
		m.publish(old)
	}
	settled(t, s)
	require.NoError(t, os.RemoveAll(filepath.Join(s.revision().config.Storage.Local.Path, "debian")))
	clock.pass(stale)
	w, body := c.get(suite + "InRelease")
	assert.GreaterOrEqual(t, w.Code, 500, body)
	release(mirrors[1], 3)
	_, root := aptVersion(3, false)
	assert.Eventually(t, func() bool {
		clock.pass(stale)
		w, body = c.get(suite + "InRelease")
		return w.Code == 200
	}, 5*time.Second, time.Millisecond)
	assert.Equal(t, string(root[suite+"InRelease"].content), body)
}

// settled waits until nothing is on its way to the disk.
func settled(t *testing.T, s *Server) {
	t.Helper()
	require.Eventually(t, func() bool { return s.cache.State().Flights == 0 }, 5*time.Second, time.Millisecond)
}
