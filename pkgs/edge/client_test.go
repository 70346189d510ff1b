package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Filters see who asks, and how; nothing of it is in what goes upstream.
func TestClientFields(t *testing.T) {
	var got *exchange.Request
	h := New(Options{Hub: tree{}, Source: exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		got = req
		return answer("x", nil)(ctx, req)
	})})
	r := httptest.NewRequest(http.MethodHead, "/x", nil)
	r.Header.Set("Cookie", "a=b")
	h.ServeHTTP(httptest.NewRecorder(), r)
	assert.Equal(t, "HEAD", got.Client.Method)
	assert.Equal(t, "a=b", got.Client.Header.Get("Cookie"))
	assert.Empty(t, got.Header)
}

// An error may have fields of its own.
func TestErrorHeader(t *testing.T) {
	h := New(Options{Hub: tree{}, Source: exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return nil, &exchange.Error{Status: 401, Header: http.Header{"Www-Authenticate": {"Basic", "Bearer"}, "Content-Type": {"text/html"}}}
	})})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
	assert.Equal(t, 401, w.Code)
	assert.Equal(t, []string{"Basic", "Bearer"}, w.Header()["Www-Authenticate"])
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"), "what the body is is the edge's to say")
}

// Who wants to know hears what was sent, before the body is closed.
func TestSent(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		body  io.ReadCloser
		field string
		bytes int64
		err   error
	}{
		{"whole", nil, "", 7, nil},
		{"a part", nil, "bytes=2-3", 2, nil},
		{"cut", io.NopCloser(io.MultiReader(strings.NewReader("con"), errReader{broken})), "", 3, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			var order []string
			h := New(Options{Hub: tree{}, Source: answer("content", func(resp *exchange.Response) {
				if c.body != nil {
					resp.Body = c.body
				} else {
					resp.Body.(*content).closed = func() { order = append(order, "closed") }
				}
				resp.Sent = func(n int64, err error) {
					order = append(order, "sent")
					assert.Equal(t, c.bytes, n)
					assert.ErrorIs(t, err, c.err)
				}
			})})
			r := httptest.NewRequest(http.MethodGet, "/x", nil)
			if c.field != "" {
				r.Header.Set("Range", c.field)
			}
			func() {
				defer func() { assert.Equal(t, c.err != nil, recover() != nil) }()
				h.ServeHTTP(httptest.NewRecorder(), r)
			}()
			assert.Equal(t, "sent", order[0])
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }
