package mem_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return new(mem.Store) })
}

func TestLimit(t *testing.T) {
	s := &mem.Store{Limit: 10}
	_, err := s.Draft(t.Context(), 11)
	require.ErrorIs(t, err, store.ErrFull)

	a, err := s.Draft(t.Context(), 6)
	require.NoError(t, err)
	b, err := s.Draft(t.Context(), -1)
	require.NoError(t, err)
	_, err = b.WriteAt([]byte("12345"), 0)
	require.ErrorIs(t, err, store.ErrFull)

	require.NoError(t, a.Close())
	_, err = b.WriteAt([]byte("1"), 0)
	require.ErrorIs(t, err, store.ErrFull, "after an error nothing more is written")
	require.NoError(t, b.Close())
	_, err = s.Draft(t.Context(), 10)
	require.NoError(t, err)
}
