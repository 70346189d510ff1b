package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

func testCancelled(t *testing.T, s store.Store) {
	Put(t, s, Key("/x"), []byte("hello"))
	d, err := s.Draft(t.Context(), -1)
	require.NoError(t, err)
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = s.Open(ctx, Key("/x"))
	assert.ErrorIs(t, err, context.Canceled)
	_, err = s.Draft(ctx, 1)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, d.Commit(ctx, Entry(Key("/y"), nil)), context.Canceled)
	assert.ErrorIs(t, s.Delete(ctx, Key("/x")), context.Canceled)
	for _, err := range s.Entries(ctx, "", "") {
		assert.ErrorIs(t, err, context.Canceled)
	}
	Get(t, s, Key("/x"))
}

// Whoever reads while others commit, update and delete sees one whole version.
func testOneKeyByMany(t *testing.T, s store.Store) {
	versions := make([][]byte, 8)
	for i := range versions {
		versions[i] = bytes.Repeat([]byte{byte('a' + i)}, 1000+i*777)
	}
	keys := []exchange.Key{Key("/k"), Key("/k/x"), Key("/k/x/y")} // each in the others' way
	key := func() exchange.Key { return keys[rand.IntN(len(keys))] }
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				content := versions[rand.IntN(len(versions))]
				assert.NoError(t, put(t.Context(), s, Entry(key(), content), content))
			}
		})
		wg.Go(func() {
			for range 200 {
				e, r, err := s.Open(t.Context(), key())
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				b, err := io.ReadAll(r)
				r.Close()
				assert.NoError(t, err)
				assert.Equal(t, Entry(e.Key, b).Digest, e.Digest)
				assert.Equal(t, "application/x-test", e.Header.Get("Content-Type"))
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			err := s.Update(t.Context(), Entry(key(), versions[rand.IntN(len(versions))]))
			if err != nil {
				assert.ErrorIs(t, err, fs.ErrNotExist)
			}
			assert.NoError(t, s.Delete(t.Context(), key()))
			for _, err := range s.Entries(t.Context(), "", "") {
				assert.NoError(t, err)
			}
		}
	})
	wg.Wait()
}

func testManyKeys(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				key := Key(fmt.Sprintf("/%d/%d", j%5, i*20+j))
				assert.NoError(t, put(t.Context(), s, Entry(key, []byte(key.Path)), []byte(key.Path)))
				_, r, err := s.Open(t.Context(), key)
				if !assert.NoError(t, err) {
					return
				}
				b, err := io.ReadAll(r)
				assert.NoError(t, err)
				assert.Equal(t, key.Path, string(b))
				assert.NoError(t, r.Close())
				if j%2 == 0 {
					assert.NoError(t, s.Delete(t.Context(), key))
				}
			}
		})
	}
	wg.Wait()
	assert.Len(t, list(t, s, "", ""), 80)
}
