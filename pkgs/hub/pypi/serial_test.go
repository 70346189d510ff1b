package pypi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestGate(t *testing.T) {
	tests := []struct {
		name, path, stored string
		mirrors            []string // serials, in the order in which they answer
		want               int      // the mirror whose answer is taken; -1: none
	}{
		{"newer", "/simple/demo/", "10", []string{"11"}, 0},
		{"equal", "/simple/demo/", "10", []string{"10"}, 0},
		{"one is behind", "/simple/demo/", "10", []string{"9", "10"}, 1},
		{"by number", "/simple/demo/", "9", []string{"10"}, 0},
		{"all are behind", "/simple/demo/", "10", []string{"9", "2"}, -1},
		{"the listing too", "/simple/", "10", []string{"9", "12"}, 1},
		{"nothing is said", "/simple/demo/", "10", []string{""}, 0},
		{"nothing was said", "/simple/demo/", "", []string{"9"}, 0},
		{"nothing is stored", "/simple/demo/", "-", []string{"9"}, 0},
		{"a file", "/packages/x.whl", "10", []string{"9"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			open := 0
			next := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
				for i, s := range tt.mirrors {
					if mirror := string(rune('a' + i)); !slices.Contains(req.Avoid, mirror) {
						open++
						return &exchange.Response{
							Entry: &exchange.Entry{Status: 200, Mirror: mirror, Header: http.Header{"X-Pypi-Last-Serial": {s}}},
							Body:  closing{strings.NewReader(mirror), &open},
						}, nil
					}
				}
				return nil, &exchange.Error{Status: http.StatusBadGateway}
			})
			h := newHub(t)
			req, err := h.Parse(httptest.NewRequest(http.MethodGet, tt.path, nil))
			require.NoError(t, err)
			if tt.stored != "-" {
				req.Validate = &exchange.Entry{Header: http.Header{"X-Pypi-Last-Serial": {tt.stored}}}
			}
			resp, err := h.Gate(next, nil).Get(t.Context(), req)
			assert.Empty(t, req.Avoid, "the request is not changed")
			if tt.want < 0 {
				require.Error(t, err)
				assert.Zero(t, open)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, string(rune('a'+tt.want)), resp.Entry.Mirror)
			assert.Equal(t, 1, open, "the others are closed")
		})
	}
}

type closing struct {
	io.Reader
	open *int
}

func (c closing) Close() error { *c.open--; return nil }
