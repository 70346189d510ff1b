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

// Who is asked for which names is shown, and nothing where all have the same content.
func TestCheckShowsMembers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
hubs:
- name: several
  type: npm
  upstream:
  - {server: 'https://a.corp.example.org', member: corp, private: ['@acme', acme-*], shared: torch}
  - {server: 'https://public.example.org', member: public, second-hosts: [f]}
  - {server: 'https://b.corp.example.org', member: corp, private: '@more'}
  options: {files: {f: 'https://files.example.org'}}
- name: one
  type: npm
  upstream: [{server: 'https://public.example.org'}]
`), 0o600))
	c, _, err := cacheproxy.Load(file)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, describe(c, file, &out))
	several, one, ok := strings.Cut(out.String(), "\nhub one at")
	require.True(t, ok)
	assert.Contains(t, several, "\n  first member corp; private @acme, acme-*, @more; shared torch\n  then member public; second hosts f\n")
	assert.Regexp(t, `https://b\.corp\.example\.org +every path, unchanged; member corp\n`, several)
	assert.NotContains(t, one, "member")
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
