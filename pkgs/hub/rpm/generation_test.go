package rpm

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// What the newest repomd.xml that a client was given lists is not answered with
// what some mirror has under that name, though that repomd.xml is lost (FAULTS
// B42); nor is a metalink that leads to an older one. A name with its checksum is
// what it is, whatever lists it.
func TestLostRoot(t *testing.T) {
	const root = "/9/repodata/repomd.xml"
	digest := "sha256:" + strings.Repeat("ab", 32)
	state, err := json.Marshal(map[string]any{"sets": []map[string]any{
		{"root": root, "current": digest, "latest": digest, "order": time.Now().Unix(), "given": time.Now()},
	}})
	require.NoError(t, err)
	memory := hub.NewMemory(nil)
	require.NoError(t, memory.Restore(state))
	near, err := url.Parse("http://near.example.org/fedora/")
	require.NoError(t, err)
	h, err := New(hub.Options{Name: "fedora", Mirrors: []*url.URL{near}, Memory: memory, Policies: &hub.Policies{Default: freshness.Policy{TTL: time.Minute}},
		Cache: func(next exchange.Source) exchange.Source { return next }}, Options{})
	require.NoError(t, err)
	source := h.Rewrite(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		text := "some mirror's"
		switch {
		case req.Key.Variant != "": // the root that is lost
			return nil, &exchange.Error{Status: http.StatusServiceUnavailable}
		case req.Key.Path == root:
			text = `<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1000</revision></repomd>`
		case strings.HasPrefix(req.Key.Path, "/metalink"):
			text = metalinkText
		}
		return &exchange.Response{
			Entry: &exchange.Entry{Key: req.Key, Status: http.StatusOK, Header: http.Header{}, Size: int64(len(text)), Digest: "sha256:00"},
			Body: struct {
				io.ReadSeeker
				io.Closer
			}{strings.NewReader(text), io.NopCloser(nil)},
		}, nil
	}))
	for _, c := range []struct {
		name, target string
		want         int
	}{
		{"by its name", "/9/repodata/primary.xml.gz", http.StatusServiceUnavailable},
		{"with its checksum", "/9/repodata/" + strings.Repeat("cd", 32) + "-primary.xml.gz", http.StatusOK},
		{"its metalink", "/metalink?repo=9&arch=x86_64", http.StatusServiceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodGet, c.target, nil)
			require.NoError(t, err)
			req, err := h.Parse(r)
			require.NoError(t, err)
			resp, err := source.Get(t.Context(), req)
			if c.want != http.StatusOK {
				var e *exchange.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, c.want, e.Status)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, resp.Entry.Status)
		})
	}
}
