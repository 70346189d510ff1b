//go:build pprof

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPprof(t *testing.T) {
	o, _ := parse("serve", nil, io.Discard, io.Discard)
	require.NotNil(t, o)
	h := o.debug.handler()
	require.NotNil(t, h, "on by default")
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/symbol", "/debug/pprof/goroutine"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		assert.Equal(t, http.StatusOK, w.Code, path)
	}

	o, _ = parse("serve", []string{"-pprof=false"}, io.Discard, io.Discard)
	require.NotNil(t, o)
	assert.Nil(t, o.debug.handler())
}
