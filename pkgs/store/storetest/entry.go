package storetest

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

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
