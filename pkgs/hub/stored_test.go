package hub_test

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestStored(t *testing.T) {
	var asked []exchange.Request
	status := 0
	o := &hub.Options{Cache: func(next exchange.Source) exchange.Source {
		return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			asked = append(asked, *req)
			if status == 0 {
				return next.Get(ctx, req)
			}
			return &exchange.Response{Entry: &exchange.Entry{Status: status}, Body: io.NopCloser(strings.NewReader("x"))}, nil
		})
	}}
	req := &exchange.Request{Key: exchange.Key{Hub: "h", Path: "/a"}}
	for _, status = range []int{0, http.StatusNotFound} {
		asked = nil
		_, err := o.Stored(t.Context(), req)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Len(t, asked, 1)
		assert.True(t, asked[0].Head, "a miss must not start a transfer")
	}
	status = http.StatusOK
	asked = nil
	resp, err := o.Stored(t.Context(), req)
	require.NoError(t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "x", string(b))
	for _, r := range asked {
		assert.Equal(t, freshness.Immutable, r.Policy.Class, "old is good enough")
	}
	assert.False(t, req.Head)
	_, err = (&hub.Options{}).Stored(t.Context(), req)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
