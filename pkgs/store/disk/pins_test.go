package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

func TestPins(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		const size = 64 << 10
		o.MaxSize = Size{Bytes: 10 * (size + 8192)}
		s := open(t, o)
		waitScan(t, s)
		name := func(i int) exchange.Key { return key(fmt.Sprintf("/dir%d/f", i)) }
		for i := range 6 {
			storetest.Put(t, s, name(i), make([]byte, size))
		}
		assert.ErrorIs(t, s.Pin(t.Context(), key("/none"), true), fs.ErrNotExist)
		require.NoError(t, s.Pin(t.Context(), name(1), true))
		require.NoError(t, s.Pin(t.Context(), name(0), true))
		require.NoError(t, s.Pin(t.Context(), name(0), true), "once more is no error")
		require.NoError(t, s.Pin(t.Context(), key("/none"), false), "nor is a pin that there is not")
		assert.Equal(t, []exchange.Key{name(0), name(1)}, s.Pins())
		storetest.Put(t, s, name(1), make([]byte, size+1))
		for i := 6; i < 20; i++ {
			storetest.Put(t, s, name(i), make([]byte, size))
		}
		require.Eventually(t, func() bool { return s.Stats().Evictions >= 9 }, 5*time.Second, time.Millisecond)
		require.NoError(t, s.Close())

		s = open(t, o) // before anything of them was used
		waitScan(t, s)
		storetest.Missing(t, s, name(2))
		assert.True(t, s.Pinned(name(0)), "over a restart")
		require.NoError(t, s.Pin(t.Context(), name(1), false))
		for i := 20; i < 40; i++ {
			storetest.Put(t, s, name(i), make([]byte, size))
		}
		require.Eventually(t, func() bool { return s.Stats().Evictions >= 19 }, 5*time.Second, time.Millisecond)
		storetest.Get(t, s, name(0))
		storetest.Missing(t, s, name(1))
		require.NoError(t, s.Delete(t.Context(), name(0)))
		assert.Empty(t, s.Pins(), "what is deleted is not pinned")
	})
}

func TestPinsDamaged(t *testing.T) {
	o := Options{Root: t.TempDir()}
	s := open(t, o)
	storetest.Put(t, s, key("/a"), []byte("x"))
	require.NoError(t, s.Pin(t.Context(), key("/a"), true))
	require.NoError(t, s.Close())
	file := filepath.Join(o.Root, pinsFile)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text[:len(text)-3], 0o600))
	s = open(t, o)
	assert.Empty(t, s.Pins())
	require.NoError(t, s.Pin(t.Context(), key("/a"), true), "and may be pinned anew")
}

func FuzzPins(f *testing.F) {
	f.Add(seal([]byte(`[{"Hub":"npm","Path":"/a","Variant":""}]`)))
	f.Add([]byte("00000000 []"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := decodePins(b)
		assert.True(t, err == nil || keys == nil)
	})
}
