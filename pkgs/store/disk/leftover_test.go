package disk

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A temporary file that cannot be removed at the moment, as there is no descriptor
// for its directory (F30) or the disk has an error (F23), is removed when the next
// one can be made, or after a while; its room is given back at once.
func TestLeftovers(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(t *testing.T, s *Store)
	}{
		{"the next draft", func(t *testing.T, s *Store) {
			other, err := s.Draft(t.Context(), 2<<20)
			require.NoError(t, err)
			require.NoError(t, other.Close())
		}},
		{"no draft, since the store is bypassed", func(*testing.T, *Store) {
			time.Sleep(clearEvery)
			synctest.Wait()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := t.TempDir()
				s, err := Open(Options{Root: root})
				require.NoError(t, err)
				defer s.Close()
				before := s.Stats().Bytes
				d, err := s.Draft(t.Context(), 2<<20)
				require.NoError(t, err)
				aside := filepath.Join(root, "aside")
				temporary := filepath.Join(root, tempDir)
				require.NoError(t, os.Rename(temporary, aside))
				require.NoError(t, os.WriteFile(temporary, nil, 0o600)) // as good as an error of the disk
				assert.Error(t, d.Close())
				assert.Equal(t, before, s.Stats().Bytes)

				require.NoError(t, os.Remove(temporary))
				require.NoError(t, os.Rename(aside, temporary))
				names, err := os.ReadDir(temporary)
				require.NoError(t, err)
				require.Len(t, names, 1)
				c.then(t, s)
				names, err = os.ReadDir(temporary)
				require.NoError(t, err)
				assert.Empty(t, names)
			})
		})
	}
}

// A file that no entry comes of leaves no name behind, however the process ends,
// and one that could not be removed is removed later (F23, F30).
func TestSpool(t *testing.T) {
	root := t.TempDir()
	s, err := Open(Options{Root: root})
	require.NoError(t, err)
	defer s.Close()
	file, err := s.Spool()
	require.NoError(t, err)
	defer file.Close()
	names, err := os.ReadDir(filepath.Join(root, tempDir))
	require.NoError(t, err)
	assert.Empty(t, names)
	_, err = file.WriteAt([]byte("abc"), 0)
	require.NoError(t, err)
	b := make([]byte, 3)
	_, err = file.ReadAt(b, 0)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(b))

	require.NoError(t, os.RemoveAll(filepath.Join(root, tempDir)))
	again, err := s.Spool()
	require.NoError(t, err, "somebody may remove everything")
	require.NoError(t, again.Close())
}

// A directory among the temporary files goes with what is in it.
func TestLeftoverDirectory(t *testing.T) {
	root := t.TempDir()
	s, err := Open(Options{Root: root})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, os.MkdirAll(filepath.Join(root, tempDir, "a"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, tempDir, "a", contentName), nil, 0o600))
	require.NoError(t, s.discard(tempDir+"/a"))
	assert.NoDirExists(t, filepath.Join(root, tempDir, "a"))
}
