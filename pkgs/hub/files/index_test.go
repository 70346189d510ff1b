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
