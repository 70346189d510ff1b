package handlerctx_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
	"github.com/stretchr/testify/assert"
)

func TestRecord(t *testing.T) {
	h := handlerctx.New(func(r *http.Request, rec *handlerctx.Record) { rec.Pattern, rec.Hub = r.Method+" /", "npm" })
	var rec *handlerctx.Record
	var pattern string
	request := httptest.NewRequest("GET", "/debian/x", nil)
	h(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		rec, pattern = handlerctx.From(r.Context()), r.Pattern
	})).ServeHTTP(httptest.NewRecorder(), request)

	assert.Equal(t, "GET /", rec.Pattern)
	assert.Equal(t, "GET /", pattern)
	assert.Equal(t, "npm", rec.Hub)
	assert.Empty(t, request.Pattern, "the request of the caller is left alone")
	assert.Empty(t, *handlerctx.From(t.Context()))
}

func TestRequestID(t *testing.T) {
	h := handlerctx.New(func(*http.Request, *handlerctx.Record) {})
	serve := func(ids ...string) (sent, recorded string) {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		for _, id := range ids {
			r.Header.Add("X-Request-ID", id)
		}
		h(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			recorded = handlerctx.From(r.Context()).ID
		})).ServeHTTP(w, r)
		return w.Header().Get("X-Request-ID"), recorded
	}
	sent, recorded := serve("abc-1.2:3")
	assert.Equal(t, "abc-1.2:3", sent)
	assert.Equal(t, sent, recorded)

	first, _ := serve()
	second, _ := serve()
	assert.NotEmpty(t, first)
	assert.NotEqual(t, first, second)
	for _, bad := range [][]string{{""}, {"a b"}, {"a\x1b[31m"}, {"ü"}, {strings.Repeat("x", 129)}, {"a", "b"}} {
		sent, recorded := serve(bad...)
		assert.NotContains(t, bad, sent)
		assert.NotEmpty(t, sent)
		assert.Equal(t, sent, recorded)
	}
}
