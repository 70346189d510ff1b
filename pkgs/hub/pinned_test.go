package hub_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestPinned(t *testing.T) {
	const first, second exchange.Digest = "sha256:01", "sha256:02"
	errLost := errors.New("lost")
	for _, test := range []struct {
		name    string
		has     exchange.Digest // what mirrors have
		err     error           // or this
		newer   exchange.Fact   // what the list says when it is asked anew
		renewed bool
		asked   []exchange.Digest
		status  int // 0: the error
	}{
		{"as listed", first, nil, exchange.Fact{Digest: second}, true, []exchange.Digest{first}, 200},
		{"listed anew", second, nil, exchange.Fact{Digest: second, Size: 2}, true, []exchange.Digest{first, second}, 200},
		{"gone", "", nil, exchange.Fact{Digest: second}, true, []exchange.Digest{first, second}, 404},
		{"the same again", "", nil, exchange.Fact{Digest: first, Size: 1}, true, []exchange.Digest{first}, 404},
		{"not listed any more", "", nil, exchange.Fact{}, false, []exchange.Digest{first}, 404},
		{"an error", "", errLost, exchange.Fact{}, false, []exchange.Digest{first}, 0},
		{"an error, then listed anew", second, errLost, exchange.Fact{Digest: second}, true, []exchange.Digest{first, second}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []exchange.Digest
			open := 0
			next := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
				asked = append(asked, req.Digest)
				assert.Equal(t, string(req.Digest), req.Key.Variant)
				assert.Equal(t, freshness.Immutable, req.Policy.Class)
				if req.Digest != test.has && test.err != nil {
					return nil, test.err
				}
				status := http.StatusNotFound
				if req.Digest == test.has {
					status = http.StatusOK
				}
				open++
				return &exchange.Response{Entry: &exchange.Entry{Status: status}, Body: closing{strings.NewReader(""), &open}}, nil
			})
			req := &exchange.Request{Key: exchange.Key{Hub: "x", Path: "/f"}}
			resp, err := hub.Pinned(t.Context(), next, req, exchange.Fact{Digest: first, Size: 1}, func() (exchange.Fact, bool) { return test.newer, test.renewed })
			assert.Equal(t, test.asked, asked)
			assert.Equal(t, &exchange.Request{Key: exchange.Key{Hub: "x", Path: "/f"}}, req, "it is not changed")
			if test.status == 0 {
				assert.ErrorIs(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.status, resp.Entry.Status)
			assert.Equal(t, 1, open, "of another answer the body is closed")
		})
	}
}

type closing struct {
	io.Reader
	open *int
}

func (c closing) Close() error { *c.open--; return nil }
