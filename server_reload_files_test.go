package cacheproxy

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFingerprint: what is no file that can be read is passed over, and a FIFO
// that nobody writes to is not waited for.
func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	all := []string{file, fifo, dir, filepath.Join(dir, "none")}
	before := fingerprint(all)
	assert.Contains(t, before, file)
	assert.NotContains(t, before, dir)
	require.NoError(t, os.WriteFile(file, []byte("other"), 0o600))
	assert.NotEqual(t, before[file], fingerprint(all)[file])
}
