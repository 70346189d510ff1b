package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

// decoded is what h answers, which is a T.
func decoded[T any](t *testing.T, h http.Handler, method, target string) (v T) {
	t.Helper()
	w := ask(h, method, target, nil)
	require.Equal(t, 200, w.Code, w.Body)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

// stock is a handler with objects.
func stock(t *testing.T, keys ...exchange.Key) (http.Handler, *mem.Store) {
	s := new(mem.Store)
	for i, k := range keys {
		storetest.Put(t, s, k, make([]byte, i+1))
	}
	return New(Options{Store: s, Purge: s.Delete}), s
}

func paths(p Page) (all []string) {
	for _, o := range p.Objects {
		all = append(all, o.Hub+o.Path+o.Variant)
	}
	return all
}

func TestObjectsByPage(t *testing.T) {
	var keys []exchange.Key
	var want []string
	for i := range 25 {
		keys = append(keys, exchange.Key{Hub: "npm", Path: fmt.Sprintf("/%02d", (i*7)%25)})
		want = append(want, fmt.Sprintf("npm/%02d", i))
	}
	h, _ := stock(t, append(keys, exchange.Key{Hub: "apt", Path: "/x"}, exchange.Key{Hub: "apt", Path: "/x", Variant: "gzip"})...)
	var got []string
	pages := 0
	for next := ""; pages == 0 || next != ""; pages++ {
		p := decoded[Page](t, h, "GET", "/api/v1/objects?limit=10&hub=npm&after="+url.QueryEscape(next))
		got, next = append(got, paths(p)...), p.Next
	}
	assert.Equal(t, want, got)
	assert.Equal(t, 3, pages)
	assert.Equal(t, []string{"npm/10", "npm/11"}, paths(decoded[Page](t, h, "GET", "/api/v1/objects?limit=2&hub=npm&prefix=/1")))
	p := decoded[Page](t, h, "GET", "/api/v1/objects?limit=2")
	assert.Equal(t, []string{"apt/x", "apt/xgzip"}, paths(p))
	p = decoded[Page](t, h, "GET", "/api/v1/objects?limit=1&after="+p.Next)
	assert.Equal(t, []string{"npm/00"}, paths(p), "a page may begin with another hub")
	assert.Equal(t, []Object{}, decoded[Page](t, h, "GET", "/api/v1/objects?hub=none").Objects, "a list, though it is empty")
	for _, q := range []string{"limit=0", "limit=x", "limit=10001", "after=!", "after=aaaa"} {
		assert.Equal(t, 400, ask(h, "GET", "/api/v1/objects?"+q, nil).Code, q)
	}
}

func TestObject(t *testing.T) {
	h, _ := stock(t, exchange.Key{Hub: "npm", Path: "/a b"}, exchange.Key{Hub: "npm", Path: "/v", Variant: "x"})
	o := decoded[Object](t, h, "GET", "/api/v1/object?hub=npm&path=/a+b")
	assert.Equal(t, "/a b", o.Path)
	assert.EqualValues(t, 1, o.Size)
	assert.Equal(t, "x", decoded[Object](t, h, "GET", "/api/v1/object?hub=npm&path=/v&variant=x").Variant)
	assert.Equal(t, 404, ask(h, "GET", "/api/v1/object?hub=npm&path=/v", nil).Code)
	for _, q := range []string{"", "hub=npm", "path=/a", "hub=npm&path=a"} {
		assert.Equal(t, 400, ask(h, "GET", "/api/v1/object?"+q, nil).Code, q)
	}
}

func TestPurging(t *testing.T) {
	for _, c := range []struct {
		name, query string
		status      int
		left        string
	}{
		{"by key", "hub=npm&path=/a/1", 200, "apt/a/1 npm/a/2 npm/b/1 npm/b/1x"},
		{"all variants", "hub=npm&path=/b/1", 200, "apt/a/1 npm/a/1 npm/a/2"},
		{"one variant", "hub=npm&path=/b/1&variant=x", 200, "apt/a/1 npm/a/1 npm/a/2 npm/b/1"},
		{"no variant", "hub=npm&path=/b/1&variant=", 200, "apt/a/1 npm/a/1 npm/a/2 npm/b/1x"},
		{"by prefix", "hub=npm&prefix=/a/", 200, "apt/a/1 npm/b/1 npm/b/1x"},
		{"by pattern", "hub=npm&pattern=1$", 200, "apt/a/1 npm/a/2"},
		{"nothing", "hub=npm&path=/none", 200, "apt/a/1 npm/a/1 npm/a/2 npm/b/1 npm/b/1x"},
		{"no hub", "path=/a/1", 400, "apt/a/1 npm/a/1 npm/a/2 npm/b/1 npm/b/1x"},
		{"all of it by mistake", "hub=npm", 400, "apt/a/1 npm/a/1 npm/a/2 npm/b/1 npm/b/1x"},
		{"two ways", "hub=npm&prefix=/a&pattern=b", 400, "apt/a/1 npm/a/1 npm/a/2 npm/b/1 npm/b/1x"},
		{"no pattern", "hub=npm&pattern=(", 400, "apt/a/1 npm/a/1 npm/a/2 npm/b/1 npm/b/1x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := stock(t, exchange.Key{Hub: "npm", Path: "/a/1"}, exchange.Key{Hub: "npm", Path: "/a/2"}, exchange.Key{Hub: "npm", Path: "/b/1"},
				exchange.Key{Hub: "npm", Path: "/b/1", Variant: "x"}, exchange.Key{Hub: "apt", Path: "/a/1"})
			w := ask(h, "DELETE", "/api/v1/objects?"+c.query, nil)
			assert.Equal(t, c.status, w.Code, w.Body)
			left := paths(decoded[Page](t, h, "GET", "/api/v1/objects"))
			assert.Equal(t, c.left, strings.Join(left, " "))
			if c.status == 200 {
				var p Purged
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
				assert.Equal(t, 5-len(left), p.Objects)
			}
		})
	}
}

// A store that can pin.
type pinning struct {
	*mem.Store
	pinned map[exchange.Key]bool
}

func (p pinning) Pin(ctx context.Context, key exchange.Key, pinned bool) error {
	if _, content, err := p.Open(ctx, key); err != nil {
		return err
	} else if content.Close(); !pinned {
		delete(p.pinned, key)
		return nil
	}
	p.pinned[key] = true
	return nil
}
func (p pinning) Pinned(key exchange.Key) bool { return p.pinned[key] }
func (p pinning) Pins() (all []exchange.Key) {
	for k := range p.pinned {
		all = append(all, k)
	}
	return all
}

func TestPinning(t *testing.T) {
	s := pinning{new(mem.Store), map[exchange.Key]bool{}}
	storetest.Put(t, s, exchange.Key{Hub: "npm", Path: "/a"}, nil)
	h := New(Options{Store: s})
	const one = "?hub=npm&path=/a"
	assert.Equal(t, []Pin{}, decoded[[]Pin](t, h, "GET", "/api/v1/pins"))
	assert.Equal(t, Pin{"npm", "/a", "", true}, decoded[Pin](t, h, "PUT", "/api/v1/pin"+one))
	assert.True(t, decoded[Object](t, h, "GET", "/api/v1/object"+one).Pinned)
	assert.Len(t, decoded[[]Pin](t, h, "GET", "/api/v1/pins"), 1)
	decoded[Pin](t, h, "DELETE", "/api/v1/pin"+one)
	assert.Empty(t, s.pinned)
	assert.Equal(t, 404, ask(h, "PUT", "/api/v1/pin?hub=npm&path=/b", nil).Code)
	assert.Equal(t, 400, ask(h, "PUT", "/api/v1/pin?hub=npm", nil).Code)
	plain, _ := stock(t)
	assert.Equal(t, 404, ask(plain, "GET", "/api/v1/pins", nil).Code, "this store cannot")
	assert.Equal(t, 405, ask(New(Options{Store: s}), "DELETE", "/api/v1/objects?hub=npm&prefix=/", nil).Code, "nothing purges")
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add(encodeCursor(exchange.Key{Hub: "npm", Path: "/a\x00b", Variant: "v"}))
	f.Fuzz(func(t *testing.T, s string) {
		key, err := decodeCursor(s)
		if err == nil && key != nil {
			again, err := decodeCursor(encodeCursor(*key))
			assert.NoError(t, err)
			assert.Equal(t, key.Hub, again.Hub)
		}
	})
}
