package admin

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

// shelf are pages of a store with objects of hub npm: of a byte the first, two the second…
func shelf(t *testing.T, paths ...string) *pages {
	s := new(mem.Store)
	for i, path := range paths {
		storetest.Put(t, s, exchange.Key{Hub: "npm", Path: path}, make([]byte, i+1))
	}
	storetest.Put(t, s, exchange.Key{Hub: "other", Path: "/a"}, []byte("x"))
	return newPages(&Options{Board: board(), Store: s, Purge: s.Delete}, nil)
}

func folder(t *testing.T, p *pages, query string) *listing {
	t.Helper()
	v, err := p.content(request("/content?" + query))
	require.NoError(t, err)
	return v.(*listing)
}

func names(v *listing) (all []string) {
	for _, one := range v.Rows {
		all = append(all, fmt.Sprintf("%s %d %d", one.Name, one.Objects, one.Bytes))
	}
	return all
}

func TestFolders(t *testing.T) {
	p := shelf(t, "/z", "/a/1", "/a/b/2", "/c/3", "/b")
	for _, c := range []struct {
		name, query string
		want        []string
	}{
		{"no hub", "", nil},
		{"folders first, with what is in them", "hub=npm", []string{"a/ 2 5", "c/ 1 4", "b 1 5", "z 1 1"}},
		{"a folder", "hub=npm&prefix=/a/", []string{"b/ 1 3", "1 1 2"}},
		{"found, in whatever folder", "hub=npm&q=2", []string{"a/b/2 1 3"}},
		{"found below a folder", "hub=npm&prefix=/a/&q=A", []string{"1 1 2", "b/2 1 3"}},
		{"nothing", "hub=none", nil},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, names(folder(t, p, c.query))) })
	}
	v := folder(t, p, "hub=npm&prefix=/a/b/")
	assert.Equal(t, []crumb{{"npm", "/"}, {"a", "/a/"}, {"b", "/a/b/"}}, v.Trail)
	assert.EqualValues(t, 1, v.Looked)
	assert.False(t, v.Cut)
	for _, prefix := range []string{"a/", "/a"} {
		_, err := p.content(request("/content?hub=npm&prefix=" + prefix))
		assert.Error(t, err, prefix)
	}
}

// TestFolderByPages: a folder of many comes in pages, each of them bounded, and none is left out.
func TestFolderByPages(t *testing.T) {
	const many = 2*maxRows + 50
	var all []string
	for i := range many {
		all = append(all, fmt.Sprintf("/%04d", (i*7919)%many))
	}
	p := shelf(t, append(all, "/folder/x", "/folder/y")...)
	seen := map[string]bool{}
	last, pages := "", 0
	for after := ""; pages == 0 || after != ""; pages++ {
		v := folder(t, p, "hub=npm&after="+url.QueryEscape(after))
		require.LessOrEqual(t, len(v.Rows), maxRows)
		assert.Equal(t, after == "", v.First)
		assert.EqualValues(t, many+2, v.Looked, "sums are of all")
		for _, one := range v.Rows {
			assert.Greater(t, one.sort, last, "in order")
			last, seen[one.Name] = one.sort, true
		}
		after = v.After
	}
	assert.Equal(t, 3, pages)
	assert.Len(t, seen, many+1)
	assert.Contains(t, seen, "folder/")
}

// endless has no end of entries, and takes a second for each.
type endless struct{ store.Store }

func (endless) Entries(ctx context.Context, hub, _ string) iter.Seq2[*exchange.Entry, error] {
	return func(yield func(*exchange.Entry, error) bool) {
		for i := 0; ; i++ {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
			if !yield(&exchange.Entry{Key: exchange.Key{Hub: hub, Path: fmt.Sprintf("/%d", i)}, Size: 1}, nil) {
				return
			}
		}
	}
}

// TestLargeFolder: a look ends in time, and says that it has not seen all.
func TestLargeFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPages(&Options{Board: board(), Store: endless{}}, nil)
		began := time.Now()
		v := folder(t, p, "hub=npm")
		assert.True(t, v.Cut)
		assert.NotEmpty(t, v.Rows)
		assert.LessOrEqual(t, time.Since(began), browseTime+time.Second)
	})
}

// TestContentPages: buttons are there where they do something, and what paths say is text.
func TestContentPages(t *testing.T) {
	s := new(mem.Store)
	key := exchange.Key{Hub: "npm", Path: `/<b>&"'`, Variant: "gzip"}
	storetest.Put(t, s, key, []byte("content"))
	at := "/object?" + url.Values{"hub": {key.Hub}, "path": {key.Path}, "variant": {key.Variant}}.Encode()

	readOnly := New(Options{Board: board(), Store: s})
	for _, path := range []string{"/content?hub=npm", at} {
		assert.NotContains(t, ask(readOnly, "GET", path, nil).Body.String(), "data-method")
	}
	h := New(Options{Board: board(), Store: s, Purge: s.Delete})
	html := ask(h, "GET", "/content?hub=npm", nil).Body.String()
	assert.Contains(t, html, "1 object, 7 B")
	assert.Contains(t, html, "/object?hub=npm&amp;path=%2F%3Cb%3E%26%22%27&amp;variant=gzip")
	assert.NotContains(t, html, "<b>")
	_, url, _ := strings.Cut(html, `data-url="`)
	url, _, _ = strings.Cut(url, `"`)
	url = strings.ReplaceAll(url, "&amp;", "&")

	html = ask(h, "GET", at, nil).Body.String()
	assert.Contains(t, html, "<dt>Digest</dt>")
	assert.Contains(t, html, "7 bytes")
	assert.Equal(t, 404, ask(h, "GET", "/object?hub=npm&path=/none", nil).Code)
	assert.Equal(t, 400, ask(h, "GET", "/object?hub=npm", nil).Code)
	assert.Equal(t, 400, ask(h, "GET", "/content?hub=npm&prefix=x", nil).Code)

	assert.Equal(t, 200, ask(h, "DELETE", url, nil).Code, "as the button does it: %s", url)
	assert.Equal(t, 404, ask(h, "GET", at, nil).Code)
}
