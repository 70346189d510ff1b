//go:build !pprof

package main

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNoPprof(t *testing.T) {
	p := &invocation{stdout: io.Discard, stderr: io.Discard}
	p.command()
	assert.Nil(t, p.debug.handler())

	var stderr bytes.Buffer
	assert.Equal(t, exitUsage, run([]string{"-pprof"}, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), "-pprof")
}
