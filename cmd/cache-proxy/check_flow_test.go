package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// What is before a hub is shown, and nothing where nothing is.
func TestCheckShowsFlows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
filters:
- {kind: HeaderCounter, name: c, headers: [Cookie]}
flow: [{filter: c, jumpIf: {invalidHeader: END}}, {filter: cache}]
hubs: [{name: none, flow: []}, {name: same}]
`), 0o600))
	c, _, err := cacheproxy.Load(file)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, describe(c, file, &out))
	assert.Equal(t, 1, strings.Count(out.String(), "flow:"))
	assert.Contains(t, out.String(), "flow: c (HeaderCounter) invalidHeader→END, cache\n")
}
