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
