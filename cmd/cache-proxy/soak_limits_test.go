//go:build soak

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestManyEntries: with 200 000 entries in the store, a process serves a hit
// within a second of its start, and counts them behind its clients, at no more
// than 300 bytes of memory each (F29).
func TestManyEntries(t *testing.T) {
	const entries, most = 200_000, 300
	dir := t.TempDir()
	d := newSoaked(t, dir)
	data := filepath.Join(dir, "data")
	text := fmt.Sprintf("listen: %s\nadmin: {listen: %s}\nstorage: {local: {path: %s}}\nlog: {access: false}\nupstream: [{server: 'http://127.0.0.1:1'}]\ncache: {timeout: never}\n",
		strings.TrimPrefix(d.url, "http://"), strings.TrimPrefix(d.admin, "http://"), data)
	require.NoError(t, os.WriteFile(d.file, []byte(text), 0o600))

	_, err := d.start()
	require.NoError(t, err)
	empty := d.resident(t)
	require.Zero(t, d.kill(syscall.SIGTERM))
	for n := range entries {
		name := filepath.Join(data, "pool", strconv.Itoa(n%500), fmt.Sprintf("package-%d_1.0_all.deb", n))
		if n < 500 {
			require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		}
		require.NoError(t, os.WriteFile(name, []byte("content"), 0o644))
	}

	began := time.Now()
	_, err = d.start()
	require.NoError(t, err)
	code, body, err := fetch(d.url + "/pool/17/package-150017_1.0_all.deb")
	took := time.Since(began)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "content", string(body))
	scanned := func() bool {
		_, metrics, err := fetch(d.admin + "/metrics")
		return err == nil && strings.Contains(string(metrics), "\ncache_proxy_store_scanned 1\n")
	}
	behind := !scanned()
	require.Eventually(t, scanned, time.Minute, 50*time.Millisecond)
	counted := time.Since(began)
	grown := d.resident(t) - empty
	t.Logf("a hit after %v, all counted after %v, %d bytes an entry", took, counted, grown/entries)
	assert.Less(t, took, time.Second)
	assert.True(t, behind, "the count was over before the first hit, so nothing was tested")
	assert.LessOrEqual(t, grown/entries, most)
}

// resident is its memory in bytes.
func (d *soaked) resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.pid()))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kib << 10
}
