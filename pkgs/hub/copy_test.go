package hub_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

func openLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger"), Entries: 1000})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// A shelf is a Source of one index.
type shelf struct {
	text    string
	noStore bool
	status  int
	digest  exchange.Digest
	asked   atomic.Int32
}

func (s *shelf) Get(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
	s.asked.Add(1)
	e := &exchange.Entry{Key: req.Key, Status: max(s.status, 200), Size: int64(len(s.text)), Digest: s.digest, Mirror: "https://m.example.org/base", Received: time.Unix(1, 0)}
	return &exchange.Response{Entry: e, NoStore: s.noStore, Body: io.NopCloser(strings.NewReader(s.text))}, nil
}

// paths is a hub of any path that is about the package that its first segment names.
type paths struct{ hub.Options }

func (p *paths) Rewrite(next exchange.Source) exchange.Source { return next }

func (p *paths) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := p.Asked(r)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(asked.Path, "/no") {
		return nil, hub.NoPath(asked.Path)
	}
	req := asked.Request(hub.Kind{Class: freshness.Immutable, Query: true})
	req.Package, _, _ = strings.Cut(asked.Path[1:], "/")
	return req, nil
}

const (
	sumA = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
	page = `{"files":[{"url":"a%2bb.tgz","sha256":"` + sumA + `"},{"url":"https://elsewhere.example/c","sha256":"` + sumA + `"}]}`
)

// links copies a page such as that: what a hub's Copy is like.
func (p *paths) links(dst io.Writer, src io.Reader, c *hub.Copy) error {
	var link, sum string
	return hub.CopyJSON(dst, src, hub.JSONRules{
		"files/*/url": hub.JSONChange(func(s string) (string, bool) {
			link = s
			return c.Lead(s)
		}),
		"files/*/sha256": hub.JSONInto(&sum),
		"files/*/": hub.JSONEnd(func() error {
			path, ok := c.Map(link)
			if req, known := hub.Follow(p, path); ok && known {
				c.Tell(req.Key.Path, exchange.Fact{Digest: exchange.Digest("sha256:" + sum)})
			}
			return nil
		}),
	})
}

func newPaths(t *testing.T, l *ledger.Ledger) *paths {
	return &paths{hub.Options{Name: "h", Ledger: l, Mirrors: []*url.URL{mustURL(t, "https://m.example.org/base")}}}
}

func TestCopied(t *testing.T) {
	ask := &exchange.Request{Key: exchange.Key{Hub: "h", Path: "/i/index"}, Target: "/i/index", Client: exchange.Client{Base: "http://proxy/h"}}
	key := exchange.Key{Hub: "h", Path: "/i/a+b.tgz"}
	led := strings.Replace(page, "a%2bb", "http://proxy/h/i/a%2bb", 1)
	run := func(t *testing.T, p *paths, s *shelf, ix hub.Index) (string, error) {
		t.Helper()
		ix.Base, ix.Links, ix.Copy = ask.Client.Base, p.Links(), p.links
		resp, err := p.Copied(t.Context(), s, ask, ix)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return string(text), nil
	}
	known := func(p *paths) exchange.Digest {
		f, _ := p.Ledger.Lookup(t.Context(), key)
		return f.Digest
	}
	t.Run("leads, and teaches in one pass", func(t *testing.T) {
		p, s := newPaths(t, openLedger(t)), &shelf{text: page}
		text, err := run(t, p, s, hub.Index{Prefix: "/"})
		require.NoError(t, err)
		assert.Equal(t, led, text)
		assert.Equal(t, exchange.Digest("sha256:"+sumA), known(p))
		assert.EqualValues(t, 1, s.asked.Load())
	})
	t.Run("teaches what is kept as a copy", func(t *testing.T) {
		p, s := newPaths(t, openLedger(t)), &shelf{text: page, digest: "sha256:" + sumA}
		m := memory{}
		p.Cache = m.wrap
		text, err := run(t, p, s, hub.Index{}) // which teaches nothing
		require.NoError(t, err)
		assert.Equal(t, led, text)
		assert.Empty(t, known(p))
		asked := s.asked.Load()
		_, err = run(t, p, s, hub.Index{Prefix: "/"})
		require.NoError(t, err)
		assert.Equal(t, exchange.Digest("sha256:"+sumA), known(p))
		assert.Equal(t, asked+2, s.asked.Load(), "the client's, and the ledger's")
	})
	t.Run("what must not be kept teaches nothing", func(t *testing.T) {
		p := newPaths(t, openLedger(t))
		text, err := run(t, p, &shelf{text: page, noStore: true}, hub.Index{Prefix: "/"})
		require.NoError(t, err)
		assert.Equal(t, led, text)
		assert.Empty(t, known(p))
	})
	t.Run("without a ledger", func(t *testing.T) {
		text, err := run(t, newPaths(t, nil), &shelf{text: page}, hub.Index{Prefix: "/"})
		require.NoError(t, err)
		assert.Equal(t, led, text)
	})
	t.Run("sifted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sift := func(ctx context.Context, dst io.Writer, src io.Reader) error {
			cancel() // the client leaves
			return errors.Join(ctx.Err(), upper(dst, src))
		}
		tags := map[string]bool{}
		for _, sieve := range []*exchange.Sieve{nil, {Rules: "1"}, {Rules: "2"}} {
			p, req := newPaths(t, openLedger(t)), *ask
			req.Sieve = sieve
			resp, err := p.Copied(ctx, &shelf{text: page}, &req, hub.Index{Prefix: "/", Base: ask.Client.Base, Links: p.Links(), Copy: p.links, Sift: sift})
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			if sieve == nil {
				assert.Equal(t, led, string(text))
			} else {
				assert.Equal(t, strings.ToUpper(led), string(text))
			}
			assert.NotEmpty(t, known(p), "what is not shown is learned too")
			tags[resp.Entry.Header.Get("Etag")] = true
		}
		assert.Len(t, tags, 3, "a sieve is a rule")
	})
	t.Run("rules and base make the tag", func(t *testing.T) {
		tag := func(rules, base string) string {
			p := newPaths(t, nil)
			resp, err := p.Copied(t.Context(), &shelf{text: page}, ask, hub.Index{Rules: rules, Base: base, Links: p.Links(), Copy: p.links})
			require.NoError(t, err)
			resp.Body.Close()
			return resp.Entry.Header.Get("Etag")
		}
		assert.NotEqual(t, tag("1", ""), tag("2", ""))
		assert.NotEqual(t, tag("1", ""), tag("1", "http://x"))
		assert.Equal(t, tag("1", "http://x"), tag("1", "http://x"))
	})
	t.Run("another status passes", func(t *testing.T) {
		p := newPaths(t, openLedger(t))
		text, err := run(t, p, &shelf{text: page, status: 404}, hub.Index{Prefix: "/"})
		require.NoError(t, err)
		assert.Equal(t, page, text)
		assert.Empty(t, known(p))
	})
	t.Run("what is no index is an error", func(t *testing.T) {
		_, err := run(t, newPaths(t, openLedger(t)), &shelf{text: "<html>"}, hub.Index{Prefix: "/"})
		var stated *exchange.Error
		require.ErrorAs(t, err, &stated)
		assert.Equal(t, 502, stated.Status)
	})
}

func TestTellBytes(t *testing.T) {
	got := map[string]exchange.Fact{}
	c := hub.NewCopy(hub.NewLinks(nil, nil), "", nil, func(path string, f exchange.Fact) { got[path] = f })
	path := []byte("/a")
	c.TellBytes(path, ".x", 3, "md5", []byte("00"))
	c.TellBytes(path, "", 4, "", nil)
	path[1] = 'b'
	assert.Equal(t, map[string]exchange.Fact{"/a.x": {Size: 3, Digest: "md5:00"}, "/a": {Size: 4}}, got)
	c.Teach = nil
	c.TellBytes(path, "", 5, "", nil)
	c.Tell("/b", exchange.Fact{Size: 5})
	assert.Len(t, got, 2, "nobody listens")
}

func TestLearn(t *testing.T) {
	read := func(r io.Reader, teach hub.Teach) error {
		text, err := io.ReadAll(r)
		if string(text) != page {
			return errors.New("another text")
		}
		teach("/x", exchange.Fact{Digest: "sha256:" + sumA})
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, page)
	require.NoError(t, z.Close())
	for _, test := range []struct {
		name   string
		shelf  *shelf
		head   bool
		learns bool
	}{
		{"plain", &shelf{text: page}, false, true},
		{"packed", &shelf{text: packed.String()}, false, true},
		{"a head", &shelf{text: page}, true, false},
		{"not to be kept", &shelf{text: page, noStore: true}, false, false},
		{"another status", &shelf{text: page, status: 404}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &hub.Options{Name: "h", Ledger: openLedger(t)}
			req := &exchange.Request{Key: exchange.Key{Hub: "h", Path: "/i"}, Head: test.head}
			resp, err := test.shelf.Get(t.Context(), req)
			require.NoError(t, err)
			o.Learn(test.shelf, req, resp, "/", read)
			_, ok := o.Ledger.Lookup(t.Context(), exchange.Key{Hub: "h", Path: "/x"})
			assert.Equal(t, test.learns, ok)
		})
	}
	(&hub.Options{}).Learn(nil, &exchange.Request{}, nil, "/", read)
}

func TestFollow(t *testing.T) {
	p := newPaths(t, nil)
	req, ok := hub.Follow(p, "/a%2bb/c?x=1")
	require.True(t, ok)
	assert.Equal(t, "/a+b/c?x=1", req.Key.Path)
	for _, path := range []string{"/no", "/%zz", "/a/../b", ":"} {
		_, ok := hub.Follow(p, path)
		assert.False(t, ok, path)
	}

	req = &exchange.Request{Key: exchange.Key{Hub: "h", Path: "/demo/file"}, Package: "Demo", Client: exchange.Client{Base: "b"}}
	assert.Same(t, req, hub.IndexAt(p, req, "/demo/file"), "it asks for the index")
	index := hub.IndexAt(p, req, "/demo")
	assert.Equal(t, "/demo", index.Key.Path)
	assert.Equal(t, "/demo", index.Target)
	assert.Equal(t, "Demo", index.Package)
	assert.Equal(t, "b", index.Client.Base)
	assert.Nil(t, hub.IndexAt(p, req, "/no"))
}
