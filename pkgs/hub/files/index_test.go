package files

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestLearn(t *testing.T) {
	a, b := strings.Repeat("0a", 32), strings.Repeat("Bc", 64)
	tests := []struct {
		name, path, text string
		want             map[string]string
	}{
		{"sha256sum", "/i/SHA256SUMS", a + "  x.iso\n" + a + " *sub/y z.iso\n", map[string]string{"/i/x.iso": "sha256:" + a, "/i/sub/y%20z.iso": "sha256:" + a}},
		{"BSD", "/i/CHECKSUM", "# a comment\nSHA512 (x.iso) = " + b + "\n", map[string]string{"/i/x.iso": "sha512:" + strings.ToLower(b)}},
		{"alone", "/i/x.tar.gz.sha256", a + "\n", map[string]string{"/i/x.tar.gz": "sha256:" + a}},
		{"named", "/i/x.tar.gz.sha256", a + "  ./x.tar.gz\r\n", map[string]string{"/i/x.tar.gz": "sha256:" + a}},
		{"at the top", "/SHA256SUMS", a + "  x\n", map[string]string{"/x": "sha256:" + a}},
		{"out of the directory", "/i/SHA256SUMS", a + "  ../x\n" + a + "  /x\n" + a + "  a/../../x\n", map[string]string{}},
		{"signed", "/i/CHECKSUM", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + a + "  x\n-----BEGIN PGP SIGNATURE-----\n", map[string]string{"/i/x": "sha256:" + a}},
		{"no sums", "/i/SHA256SUMS", "<html>404</html>\nzz  x\n", map[string]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := map[string]string{}
			require.NoError(t, learn(strings.NewReader(tt.text), tt.path, func(p string, f exchange.Fact) { got[p] = string(f.Digest) }))
			assert.Equal(t, tt.want, got)
		})
	}
}

func FuzzLearn(f *testing.F) {
	f.Add(strings.Repeat("0a", 32) + "  x.iso\nSHA256 (y) = " + strings.Repeat("0a", 32))
	f.Fuzz(func(t *testing.T, text string) {
		_ = learn(strings.NewReader(text), "/i/SHA256SUMS", func(p string, fact exchange.Fact) {
			assert.True(t, strings.HasPrefix(p, "/i/"), p)
			_, err := exchange.ParseDigest(string(fact.Digest))
			assert.NoError(t, err)
			u, err := url.Parse(p)
			if assert.NoError(t, err) {
				canonical, _, err := hub.Path(u)
				assert.NoError(t, err)
				assert.Equal(t, p, canonical)
			}
		})
	})
}

func TestListing(t *testing.T) {
	mirror, err := url.Parse("https://m.example.org/pub/")
	require.NoError(t, err)
	h := New(Options{Name: "tree", Hub: &hub.Options{Name: "tree", Mirrors: []*url.URL{mirror}}})
	source := func(e exchange.Entry, text string) exchange.Source {
		return h.Rewrite(exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			e.Status, e.Size = http.StatusOK, int64(len(text))
			return &exchange.Response{Entry: &e, Body: io.NopCloser(strings.NewReader(text))}, nil
		}))
	}
	get := func(path string, e exchange.Entry, text string) (*exchange.Entry, string) {
		resp, err := source(e, text).Get(t.Context(), &exchange.Request{
			Key: exchange.Key{Hub: "tree", Path: path}, Client: exchange.Client{Base: "http://proxy/tree"},
		})
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.Entry, string(b)
	}
	page := exchange.Entry{Header: http.Header{"Content-Type": {"text/html"}}}
	_, got := get("/iso/", page, `<a href="a.iso">a</a> <a href="https://m.example.org/pub/b.iso">b</a> <a href="https://x.example.org/">x</a>`)
	assert.Equal(t, `<a href="a.iso">a</a> <a href="http://proxy/tree/b.iso">b</a> <a href="https://x.example.org/">x</a>`, got)

	e, _ := get("/iso", exchange.Entry{Header: page.Header, URL: "https://m.example.org/pub/iso/"}, "listing")
	assert.Equal(t, http.StatusMovedPermanently, e.Status)
	assert.Equal(t, "iso/", e.Header.Get("Location"))

	e, _ = get("/x.iso", exchange.Entry{URL: "https://cdn.example.org/x.iso"}, "content")
	assert.Equal(t, http.StatusOK, e.Status)
}
