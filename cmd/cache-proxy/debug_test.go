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
	p := &invocation{stdout: io.Discard, stderr: io.Discard}
	p.command()
	h := p.debug.handler()
	require.NotNil(t, h, "on by default")
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/symbol", "/debug/pprof/goroutine"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		assert.Equal(t, http.StatusOK, w.Code, path)
	}

	require.NoError(t, p.command().Flags().Parse(spelled([]string{"-pprof=false"})))
	assert.Nil(t, p.debug.handler())
}
