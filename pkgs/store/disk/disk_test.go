package disk

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

func TestStore(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
	}{
		{"attributes", Options{}},
		{"sidecars", Options{DisableXattr: true}},
		{"strict", Options{Strict: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) store.Store {
				o := test.o
				o.Root = t.TempDir()
				return open(t, o)
			})
		})
	}
}

// open opens a store that the end of the test closes; everything in it must
// have been accounted for.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}
