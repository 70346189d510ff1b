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

// How long content holds that no policy has: the type says so, of plain files the configuration.
func TestCheckShowsTypes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("hubs: [{name: plain, cache: {timeout: 7m}}, {name: n, type: npm}, {name: o, type: npm, rollout: legacy-only, cache: {timeout: 8m}}]\n"), 0o600))
	c, _, err := cacheproxy.Load(file)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, describe(c, file, &out))
	for _, want := range []string{`7m +everything else`, `as the type npm says +everything else`, `8m +everything else`} {
		assert.Regexp(t, want, out.String())
	}
}

// What the addresses are besides is shown, and nothing where they are nothing else.
func TestCheckShowsForward(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"none", "", ""},
		{"a proxy", "forward: {enabled: true}\n", "forward: an http_proxy for URLs below the upstreams; CONNECT is refused\n"},
		{"and tunnels", "forward: {enabled: true, connect: [a.example.org:443, .example.com:443]}\n", "forward: an http_proxy for URLs below the upstreams; CONNECT to a.example.org:443, .example.com:443\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(file, []byte("hubs: [{name: h}]\n"+c.config), 0o600))
			config, _, err := cacheproxy.Load(file)
			require.NoError(t, err)
			var out strings.Builder
			require.NoError(t, describe(config, file, &out))
			assert.Contains(t, out.String(), c.want)
			assert.Equal(t, c.want != "", strings.Contains(out.String(), "forward:"))
		})
	}
}
