package apt

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// What the newest release that a client was given lists is not answered with what
// some mirror has under that name, though that release is lost (FAULTS B42). By
// its digest content is what it is, whatever lists it.
func TestLostRelease(t *testing.T) {
	const root = "/dists/a/InRelease"
	state, err := json.Marshal(map[string]any{"sets": []map[string]any{
		{"root": root, "current": "sha256:" + hex256, "latest": "sha256:" + hex256, "order": time.Now().Unix(), "given": time.Now()},
	}})
	require.NoError(t, err)
	memory := hub.NewMemory(nil)
	require.NoError(t, memory.Restore(state))
	h, err := New(hub.Options{Name: "debian", Memory: memory, Policies: &hub.Policies{Default: freshness.Policy{TTL: time.Minute}}}, Options{})
	require.NoError(t, err)
	source := h.Rewrite(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		text := "some mirror's"
		switch {
		case req.Key.Variant != "": // the release that is lost
			return nil, &exchange.Error{Status: http.StatusServiceUnavailable}
		case req.Key.Path == root:
			text = "Date: Sat, 02 Jan 2021 15:04:05 UTC\nSHA256:\n " + hex256 + " 4 main/binary-amd64/Packages\n"
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
		name, path string
		want       int
	}{
		{"by its name", "/dists/a/main/binary-amd64/Packages", http.StatusServiceUnavailable},
		{"by its digest", "/dists/a/main/binary-amd64/by-hash/SHA256/" + hex256, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, err := source.Get(t.Context(), h.request(c.path, c.path))
			var e *exchange.Error
			if c.want != http.StatusOK {
				require.ErrorAs(t, err, &e)
				assert.Equal(t, c.want, e.Status)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, resp.Entry.Status)
		})
	}
}
