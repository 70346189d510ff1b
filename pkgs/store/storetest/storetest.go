// Package storetest is the suite that every implementation of [store.Store]
// passes: each demand of the contract once, and the ones that only show under
// concurrency.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// Run runs the suite. open makes an empty store with room for some MiB, and
// closes it by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"missing", testMissing},
		{"round trip", testRoundTrip},
		{"empty content", testEmpty},
		{"content of any size", testSizes},
		{"parts out of order", testOutOfOrder},
		{"draft is invisible", testInvisible},
		{"draft is read while it grows", testGrowing},
		{"draft stays readable after commit", testReadableAfterCommit},
		{"draft discarded", testDiscarded},
		{"commit of the wrong size", testWrongSize},
		{"commit twice", testCommitTwice},
		{"replace", testReplace},
		{"readers outlive replace and delete", testReadersOutlive},
		{"plain", testPlain},
		{"reopen", testReopen},
		{"update", testUpdate},
		{"update of other content", testUpdateRefused},
		{"delete", testDelete},
		{"large header", testLargeHeader},
		{"weird keys", testWeirdKeys},
		{"path that is a directory as well", testFileAndDirectory},
		{"entries", testEntries},
		{"cancelled context", testCancelled},
		{"one key by many", testOneKeyByMany},
		{"many keys by many", testManyKeys},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Entry is a plausible entry for content.
func Entry(key exchange.Key, content []byte) *exchange.Entry {
	sum := sha256.Sum256(content)
	received := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	return &exchange.Entry{
		Key:    key,
		Status: http.StatusOK,
		Header: http.Header{
			"Content-Type":  {"application/x-test"},
			"Last-Modified": {"Mon, 02 Feb 2026 03:04:05 GMT"},
			"Etag":          {`"v1"`},
			"Link":          {"</a>; rel=x", "</b>; rel=y"},
			"X-Quoted":      {"\"<&>\" \u2028"},
		},
		Size:      int64(len(content)),
		Digest:    exchange.NewDigest("sha256", sum[:]),
		Mirror:    "https://mirrors.example.org/base/",
		Requested: received.Add(-time.Second),
		Received:  received,
	}
}

// Put stores content under key.
func Put(tb testing.TB, s store.Store, key exchange.Key, content []byte) *exchange.Entry {
	tb.Helper()
	e := Entry(key, content)
	require.NoError(tb, put(tb.Context(), s, e, content))
	return e
}

func put(ctx context.Context, s store.Store, e *exchange.Entry, content []byte) error {
	d, err := s.Draft(ctx, int64(len(content)))
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.WriteAt(content, 0); err != nil {
		return err
	}
	return d.Commit(ctx, e)
}

// Get requires that key is stored, and returns its entry and content.
func Get(tb testing.TB, s store.Store, key exchange.Key) (*exchange.Entry, []byte) {
	tb.Helper()
	e, r, err := s.Open(tb.Context(), key)
	require.NoError(tb, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	require.NoError(tb, err)
	return e, b
}

// Missing requires that nothing is stored under key.
func Missing(tb testing.TB, s store.Store, key exchange.Key) {
	tb.Helper()
	_, r, err := s.Open(tb.Context(), key)
	if err == nil {
		r.Close()
	}
	require.ErrorIs(tb, err, fs.ErrNotExist)
}

// Key is a key of the default hub.
func Key(path string) exchange.Key { return exchange.Key{Hub: "default", Path: path} }

func assertEntry(t *testing.T, want, got *exchange.Entry) {
	t.Helper()
	assert.True(t, want.Requested.Equal(got.Requested), "requested %v, want %v", got.Requested, want.Requested)
	assert.True(t, want.Received.Equal(got.Received), "received %v, want %v", got.Received, want.Received)
	w, g := *want, *got
	w.Requested, w.Received, g.Requested, g.Received = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	assert.Equal(t, w, g)
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

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
	_, err = d.WriteAt([]byte("hel"), 0)
	require.NoError(t, err)
	assert.Equal(t, "hel", read())
	_, err = d.WriteAt([]byte("lo"), 3)
	require.NoError(t, err)
	require.NoError(t, d.Commit(t.Context(), Entry(Key("/x"), []byte("hello"))))
	assert.Equal(t, "hello", read(), "after the commit")
	f, err := reopener.Reopen()
	require.NoError(t, err)
	defer f.Close()
	_, err = f.Write([]byte("x"))
	require.Error(t, err, "for reading only")
}

func testUpdate(t *testing.T, s store.Store) {
	old := Put(t, s, Key("/x"), []byte("hello"))
	validated := old.Freshened(&exchange.Entry{
		Header:   http.Header{"Etag": {`"v2"`}},
		Received: old.Received.Add(time.Hour),
	})
	require.NoError(t, s.Update(t.Context(), validated))
	e, b := Get(t, s, Key("/x"))
	assertEntry(t, validated, e)
	assert.Equal(t, "hello", string(b))

	validated.Header = http.Header{"X-Large": {strings.Repeat("x", 9000)}}
	require.NoError(t, s.Update(t.Context(), validated), "it grows")
	e, _ = Get(t, s, Key("/x"))
	assertEntry(t, validated, e)

	require.NoError(t, s.Update(t.Context(), old), "it shrinks")
	e, _ = Get(t, s, Key("/x"))
	assertEntry(t, old, e)
}

func testUpdateRefused(t *testing.T, s store.Store) {
	require.ErrorIs(t, s.Update(t.Context(), Entry(Key("/x"), []byte("hello"))), fs.ErrNotExist)
	want := Put(t, s, Key("/x"), []byte("hello"))
	require.ErrorIs(t, s.Update(t.Context(), Entry(Key("/x"), []byte("jello"))), fs.ErrNotExist)
	require.ErrorIs(t, s.Update(t.Context(), Entry(Key("/x"), []byte("hell"))), fs.ErrNotExist)
	require.ErrorIs(t, s.Update(t.Context(), Entry(exchange.Key{Hub: "npm", Path: "/x"}, []byte("hello"))), fs.ErrNotExist)
	e, _ := Get(t, s, Key("/x"))
	assertEntry(t, want, e)
}

func testDelete(t *testing.T, s store.Store) {
	require.NoError(t, s.Delete(t.Context(), Key("/a/b")))
	Put(t, s, Key("/a/b"), []byte("hello"))
	Put(t, s, Key("/a/c"), []byte("hello"))
	require.NoError(t, s.Delete(t.Context(), exchange.Key{Hub: "npm", Path: "/a/b"}))
	require.NoError(t, s.Delete(t.Context(), exchange.Key{Hub: "default", Path: "/a/b", Variant: "x"}))
	require.NoError(t, s.Delete(t.Context(), Key("/a")))
	Get(t, s, Key("/a/b"))
	require.NoError(t, s.Delete(t.Context(), Key("/a/b")))
	Missing(t, s, Key("/a/b"))
	Get(t, s, Key("/a/c"))
	require.NoError(t, s.Delete(t.Context(), Key("/a/c")))
	Put(t, s, Key("/a"), []byte("hello"))
	Get(t, s, Key("/a"))
}

func testLargeHeader(t *testing.T, s store.Store) {
	for _, n := range []int{1000, 3000, 4000, 5000, 16 << 10, 64 << 10} {
		e := Entry(Key(fmt.Sprintf("/h%d", n)), []byte("x"))
		e.Header.Set("X-Large", strings.Repeat("h", n))
		require.NoError(t, put(t.Context(), s, e, []byte("x")))
		got, _ := Get(t, s, e.Key)
		assertEntry(t, e, got)
	}
}

// weird are keys that a careless layout mixes up.
var weird = []exchange.Key{
	Key("/"), Key("//"), Key("///"), Key("/a"), Key("/a/"), Key("/a//"), Key("//a"), Key("/a//b"), Key("/a/b"),
	Key("/a%2Fb"), Key("/a%2fb"), Key("/a%252Fb"), Key("/a%20b"), Key("/a b"), Key("/a+b"), Key("/a%2Bb"),
	Key("/x+1~rc.deb"), Key("/."), Key("/.."), Key("/../x"), Key("/%2E"), Key("/%2E%2E"), Key("/a/../../x"),
	Key("/%00"), Key("/%0A"), Key("/%7F"), Key("/%FF"), Key("/%C3%BC"), Key("/ü"), Key("/%"), Key("/%2"), Key("/%zz"), Key("/%25"),
	Key("/__index"), Key("/__content"), Key("/a/__index"), Key("/a/__content"), Key("/%5F_index"),
	Key("/.temp"), Key("/.meta"), Key("/.temp/temp.1"), Key("/.meta/state"), Key("/%2Etemp"),
	Key("/a?"), Key("/a?b"), Key("/a?b=/../c"), Key("/a/?b"), Key("/a%3Fb"), Key("/a?b%40c"), Key("/?x"), Key("/a?b?c"), Key("/a?%"),
	{Hub: "default", Path: "/a", Variant: "b"}, {Hub: "default", Path: "/a?b", Variant: "c"}, {Hub: "default", Path: "/a?b%@c"},
	{Hub: "default", Path: "/a", Variant: "../../x\x00\xff%"}, {Hub: "default", Path: "/a/", Variant: "gzip"},
	Key("/" + strings.Repeat("n", 255)), Key("/" + strings.Repeat("n", 256)), Key("/" + strings.Repeat("n", 256) + "/x"),
	Key("/" + strings.Repeat("%C3%BC", 130)), Key("/q?" + strings.Repeat("q", 300)), Key("/q?" + strings.Repeat("q", 301)),
	Key("/" + strings.Repeat("deep/", 1500)), Key("/" + strings.Repeat("deep/", 1500) + "x"),
	{Hub: "npm", Path: "/"}, {Hub: "npm", Path: "/b"}, {Hub: "npm", Path: "/b", Variant: "br"}, {Hub: "npm", Path: "/.temp"},
	{Hub: "..", Path: "/c"}, {Hub: ".temp", Path: "/c"}, {Hub: ".meta", Path: "/c"}, {Hub: "a/b", Path: "/c"},
	{Hub: "pypi", Path: "/simple/"}, {Hub: "pypi", Path: "/simple"}, {Hub: "pypi", Path: "/simple/foo/"}, {Hub: "pypi", Path: "/simple/foo"},
}

func testWeirdKeys(t *testing.T, s store.Store) {
	for _, order := range []string{"forth", "back"} {
		keys := slices.Clone(weird)
		if order == "back" {
			slices.Reverse(keys)
		}
		for _, key := range keys {
			Missing(t, s, key)
			Put(t, s, key, []byte(key.String()))
		}
		for _, key := range keys {
			e, b := Get(t, s, key)
			assert.Equal(t, key, e.Key)
			assert.Equal(t, key.String(), string(b))
		}
		var listed []exchange.Key
		for _, e := range list(t, s, "", "") {
			listed = append(listed, e.Key)
		}
		assert.ElementsMatch(t, keys, listed)
		for _, key := range keys {
			require.NoError(t, s.Delete(t.Context(), key))
			Missing(t, s, key)
		}
		assert.Empty(t, list(t, s, "", ""))
	}
}

func testFileAndDirectory(t *testing.T, s store.Store) {
	paths := []string{"/v", "/v/", "/v/x", "/v/x/", "/v/x/y/z", "/v/x/y"}
	for range 20 {
		rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		for i, path := range paths {
			Put(t, s, Key(path), []byte(path))
			for _, earlier := range paths[:i+1] {
				_, b := Get(t, s, Key(earlier))
				require.Equal(t, earlier, string(b), "order %v", paths)
			}
		}
		rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		for i, path := range paths {
			require.NoError(t, s.Delete(t.Context(), Key(path)))
			Missing(t, s, Key(path))
			for _, later := range paths[i+1:] {
				Get(t, s, Key(later))
			}
		}
	}
}

func list(t *testing.T, s store.Store, hub, prefix string) []*exchange.Entry {
	t.Helper()
	var all []*exchange.Entry
	for e, err := range s.Entries(t.Context(), hub, prefix) {
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

func testEntries(t *testing.T, s store.Store) {
	for _, key := range []exchange.Key{
		Key("/a"), Key("/a/b"), Key("/a/bc"), Key("/a/b/"), Key("/ab?q"), Key("/" + strings.Repeat("long/", 1000)),
		{Hub: "npm", Path: "/a/b"}, {Hub: "npm", Path: "/a/b", Variant: "br"},
	} {
		Put(t, s, key, []byte(key.String()))
	}
	for _, test := range []struct {
		hub, prefix string
		want        []string
	}{
		{"npm", "", []string{"npm:/a/b", "npm:/a/b[br]"}},
		{"npm", "/a/b", []string{"npm:/a/b", "npm:/a/b[br]"}},
		{"npm", "/b", nil},
		{"go", "", nil},
		{"default", "/a", []string{"default:/a", "default:/a/b", "default:/a/bc", "default:/a/b/", "default:/ab?q"}},
		{"default", "/a/", []string{"default:/a/b", "default:/a/bc", "default:/a/b/"}},
		{"default", "/a/b/", []string{"default:/a/b/"}},
		{"default", "/ab?", []string{"default:/ab?q"}},
		{"default", "/long/long/", []string{Key("/" + strings.Repeat("long/", 1000)).String()}},
		{"", "/a/b", []string{"npm:/a/b", "npm:/a/b[br]", "default:/a/b", "default:/a/bc", "default:/a/b/"}},
	} {
		var got []string
		for _, e := range list(t, s, test.hub, test.prefix) {
			got = append(got, e.Key.String())
		}
		assert.ElementsMatch(t, test.want, got, "hub %q, prefix %q", test.hub, test.prefix)
	}
	n := 0
	for range s.Entries(t.Context(), "", "") {
		n++
		break
	}
	assert.Equal(t, 1, n)
}

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
