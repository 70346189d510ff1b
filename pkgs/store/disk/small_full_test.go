//go:build linux

package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Content that outgrows memory when the disk is full can be read as far as it was
// written, and its room is given back (F22).
func TestOutgrowOnFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	s, err := Open(Options{Root: filepath.Join(root, "data")})
	require.NoError(t, err)
	defer s.Close()
	before := s.Stats().Bytes
	d, err := s.Draft(t.Context(), -1)
	require.NoError(t, err)
	if _, ok := d.(*smallDraft); !ok {
		t.Skip("drafts are files here")
	}
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	_, err = d.WriteAt(content, 0)
	require.NoError(t, err)
	require.Error(t, os.WriteFile(filepath.Join(root, "ballast"), make([]byte, 5<<20), 0o600), "the disk is not full")

	_, err = d.WriteAt(content, int64(len(content)))
	require.Error(t, err)
	got := make([]byte, len(content))
	n, err := d.ReadAt(got, 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got[:n]))
	require.NoError(t, d.Close())
	assert.Equal(t, before, s.Stats().Bytes)
}
