//go:build !pprof

package main

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNoPprof(t *testing.T) {
	o, _ := parse("serve", nil, io.Discard, io.Discard)
	require.NotNil(t, o)
	assert.Nil(t, o.debug.handler())

	var stderr bytes.Buffer
	o, status := parse("serve", []string{"-pprof"}, io.Discard, &stderr)
	assert.Nil(t, o)
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr.String(), "-pprof")
}
