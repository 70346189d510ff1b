package storetest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

func testMissing(t *testing.T, s store.Store) {
	for _, path := range []string{"/", "/a", "/a/", "/a/b?c=d"} {
		Missing(t, s, Key(path))
		Missing(t, s, exchange.Key{Hub: "npm", Path: path, Variant: "br"})
	}
}

func testRoundTrip(t *testing.T, s store.Store) {
	key := exchange.Key{Hub: "npm", Path: "/left-pad", Variant: "json"}
	want := Put(t, s, key, []byte("hello"))
	e, b := Get(t, s, key)
	assertEntry(t, want, e)
	assert.Equal(t, "hello", string(b))

	latin := Entry(Key("/latin"), nil)
	latin.Header.Set("Content-Disposition", "attachment; filename=\"na\xefve \u00fc\"")
	require.NoError(t, put(t.Context(), s, latin, nil))
	e, _ = Get(t, s, latin.Key)
	assertEntry(t, latin, e)

	other := Entry(Key("/teapot"), nil)
	other.Status, other.Header, other.Digest, other.Mirror = http.StatusTeapot, nil, "", ""
	require.NoError(t, put(t.Context(), s, other, nil))
	e, _ = Get(t, s, other.Key)
	assertEntry(t, other, e)
}

func testEmpty(t *testing.T, s store.Store) {
	want := Put(t, s, Key("/empty"), nil)
	e, b := Get(t, s, Key("/empty"))
	assertEntry(t, want, e)
	assert.Empty(t, b)
}

func testSizes(t *testing.T, s store.Store) {
	for _, n := range []int{1, 4095, 4096, 4097, 1<<20 - 1, 1 << 20, 1<<20 + 1} {
		for _, announced := range []int64{int64(n), -1, 10} {
			key, content := Key(fmt.Sprintf("/%d/%d", n, announced)), noise(n)
			d, err := s.Draft(t.Context(), announced)
			require.NoError(t, err)
			for off := 0; off < n; off += 300_000 {
				_, err = d.WriteAt(content[off:min(n, off+300_000)], int64(off))
				require.NoError(t, err)
			}
			require.NoError(t, d.Commit(t.Context(), Entry(key, content)))
			require.NoError(t, d.Close())
			_, b := Get(t, s, key)
			require.True(t, bytes.Equal(content, b), "%d bytes, announced %d", n, announced)
			require.NoError(t, s.Delete(t.Context(), key))
		}
	}
}

func testOutOfOrder(t *testing.T, s store.Store) {
	content := noise(100_000)
	for _, size := range []int64{int64(len(content)), -1} {
		d, err := s.Draft(t.Context(), size)
		require.NoError(t, err)
		for _, part := range rand.New(rand.NewPCG(1, 2)).Perm(10) {
			off := part * 10_000
			n, err := d.WriteAt(content[off:off+10_000], int64(off))
			require.NoError(t, err)
			require.Equal(t, 10_000, n)
		}
		require.NoError(t, d.Commit(t.Context(), Entry(Key("/parts"), content)))
		require.NoError(t, d.Close())
		_, b := Get(t, s, Key("/parts"))
		require.True(t, bytes.Equal(content, b))
	}
}

func testInvisible(t *testing.T, s store.Store) {
	d, err := s.Draft(t.Context(), -1)
	require.NoError(t, err)
	defer d.Close()
	_, err = d.WriteAt([]byte("half"), 0)
	require.NoError(t, err)
	Missing(t, s, Key("/x"))
	assert.Empty(t, list(t, s, "", ""))
}

func testGrowing(t *testing.T, s store.Store) {
	content := noise(200_000)
	d, err := s.Draft(t.Context(), int64(len(content)))
	require.NoError(t, err)
	defer d.Close()
	frontier := make(chan int, 100)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var got []byte
			for n := range frontier {
				b := make([]byte, n)
				_, err := d.ReadAt(b, 0)
				if !assert.NoError(t, err) {
					return
				}
				got = b
			}
			assert.True(t, bytes.HasPrefix(content, got))
		})
	}
	for off := 0; off < len(content); off += 10_000 {
		_, err := d.WriteAt(content[off:off+10_000], int64(off))
		require.NoError(t, err)
		frontier <- off + 10_000
	}
	close(frontier)
	wg.Wait()
	n, err := d.ReadAt(make([]byte, 20), int64(len(content))-10)
	assert.Equal(t, 10, n)
	assert.ErrorIs(t, err, io.EOF)
}

func testReadableAfterCommit(t *testing.T, s store.Store) {
	d, err := s.Draft(t.Context(), 5)
	require.NoError(t, err)
	_, err = d.WriteAt([]byte("hello"), 0)
	require.NoError(t, err)
	require.NoError(t, d.Commit(t.Context(), Entry(Key("/x"), []byte("hello"))))
	Put(t, s, Key("/x"), []byte("other"))
	require.NoError(t, s.Delete(t.Context(), Key("/x")))
	b := make([]byte, 5)
	_, err = d.ReadAt(b, 0)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(b))
	require.NoError(t, d.Close())
	_, err = d.ReadAt(b, 0)
	assert.Error(t, err)
}

func testDiscarded(t *testing.T, s store.Store) {
	Put(t, s, Key("/x"), []byte("old"))
	d, err := s.Draft(t.Context(), 3)
	require.NoError(t, err)
	_, err = d.WriteAt([]byte("new"), 0)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, d.Close(), "twice is no error")
	require.Error(t, d.Commit(t.Context(), Entry(Key("/x"), []byte("new"))))
	_, err = d.WriteAt([]byte("new"), 0)
	require.Error(t, err)
	_, b := Get(t, s, Key("/x"))
	assert.Equal(t, "old", string(b))
}

func testWrongSize(t *testing.T, s store.Store) {
	for _, size := range []int64{-1, 0, 4, 6} {
		d, err := s.Draft(t.Context(), 5)
		require.NoError(t, err)
		_, err = d.WriteAt([]byte("hello"), 0)
		require.NoError(t, err)
		e := Entry(Key("/x"), []byte("hello"))
		e.Size = size
		require.Error(t, d.Commit(t.Context(), e), "size %d", size)
		require.NoError(t, d.Close())
		Missing(t, s, Key("/x"))
	}
}

func testCommitTwice(t *testing.T, s store.Store) {
	d, err := s.Draft(t.Context(), -1)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Commit(t.Context(), Entry(Key("/a"), nil)))
	require.Error(t, d.Commit(t.Context(), Entry(Key("/b"), nil)))
	_, err = d.WriteAt([]byte("x"), 0)
	require.Error(t, err, "committed content never changes")
	Missing(t, s, Key("/b"))
}

func testReplace(t *testing.T, s store.Store) {
	Put(t, s, Key("/x"), noise(5000))
	want := Put(t, s, Key("/x"), []byte("new"))
	e, b := Get(t, s, Key("/x"))
	assertEntry(t, want, e)
	assert.Equal(t, "new", string(b))
	assert.Len(t, list(t, s, "", ""), 1)
}

func testReadersOutlive(t *testing.T, s store.Store) {
	content := noise(100_000)
	for name, end := range map[string]func(){
		"replace": func() { Put(t, s, Key("/x"), []byte("new")) },
		"delete":  func() { require.NoError(t, s.Delete(t.Context(), Key("/x"))) },
	} {
		Put(t, s, Key("/x"), content)
		_, r, err := s.Open(t.Context(), Key("/x"))
		require.NoError(t, err)
		head := make([]byte, 1000)
		_, err = io.ReadFull(r, head)
		require.NoError(t, err)
		end()
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, append(head, rest...)), name)
		_, err = r.Seek(-10, io.SeekEnd)
		require.NoError(t, err)
		rest, err = io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, content[len(content)-10:], rest, name)
		require.NoError(t, r.Close())
	}
}

func testPlain(t *testing.T, s store.Store) {
	Put(t, s, Key("/a%20b/c"), []byte("hello"))
	_, r, err := s.Open(t.Context(), Key("/a%20b/c"))
	require.NoError(t, err)
	defer r.Close()
	plain, ok := r.(store.Plain)
	if !ok {
		t.Skip("not plain files")
	}
	assert.Equal(t, "a b/c", plain.Path())
	b := make([]byte, 3)
	_, err = plain.ReadAt(b, 1)
	require.NoError(t, err)
	assert.Equal(t, "ell", string(b))
	b, err = io.ReadAll(plain)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(b), "ReadAt moves nothing")
	_, err = plain.SyscallConn()
	require.NoError(t, err)
}

func testReopen(t *testing.T, s store.Store) {
	d, err := s.Draft(t.Context(), -1)
	require.NoError(t, err)
	defer d.Close()
	reopener, ok := d.(store.Reopener)
	if !ok {
		t.Skip("not plain files")
	}
	read := func() string {
		f, err := reopener.Reopen()
		require.NoError(t, err)
		defer f.Close()
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		return string(b)
	}
	content := strings.Repeat("hello", 200_000) // small content may be no file yet
	_, err = d.WriteAt([]byte(content[:600_000]), 0)
	require.NoError(t, err)
	assert.Equal(t, content[:600_000], read())
	_, err = d.WriteAt([]byte(content[600_000:]), 600_000)
	require.NoError(t, err)
	require.NoError(t, d.Commit(t.Context(), Entry(Key("/x"), []byte(content))))
	assert.True(t, content == read(), "after the commit")
	f, err := reopener.Reopen()
	require.NoError(t, err)
	defer f.Close()
	_, err = f.Write([]byte("x"))
	require.Error(t, err, "for reading only")
}
