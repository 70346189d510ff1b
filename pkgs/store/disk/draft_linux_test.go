package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Room for a large file is taken in one piece, but not before its first bytes are
// there, which a client waits for.
func TestPreallocation(t *testing.T) {
	const size = 8 << 20
	root := t.TempDir()
	blocks := func(f *os.File) int64 {
		info, err := f.Stat()
		require.NoError(t, err)
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	probe, err := os.Create(filepath.Join(root, "probe"))
	require.NoError(t, err)
	defer probe.Close()
	require.NoError(t, allocate(probe, size))
	if blocks(probe) < size {
		t.Skip("this file system allocates nothing beforehand")
	}
	s := open(t, Options{Root: filepath.Join(root, "store")})
	d, err := s.Draft(t.Context(), size)
	require.NoError(t, err)
	defer d.Close()
	file := d.(*draft).file
	piece := make([]byte, 64<<10)
	_, err = d.WriteAt(piece, 5<<20)
	require.NoError(t, err)
	assert.Less(t, blocks(file), int64(size)/2)
	_, err = d.WriteAt(piece, 0)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, blocks(file), int64(size))
}
