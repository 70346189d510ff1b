package handlerctx_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
	"github.com/stretchr/testify/assert"
)

func TestPattern(t *testing.T) {
	h := handlerctx.New(func(r *http.Request) string { return r.Method + " /" })
	var inContext, inRequest string
	request := httptest.NewRequest("GET", "/debian/x", nil)
	h(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inContext, inRequest = handlerctx.Pattern(r.Context()), r.Pattern
	})).ServeHTTP(httptest.NewRecorder(), request)

	assert.Equal(t, "GET /", inContext)
	assert.Equal(t, "GET /", inRequest)
	assert.Empty(t, request.Pattern, "the request of the caller is left alone")
	assert.Empty(t, handlerctx.Pattern(t.Context()))
}
