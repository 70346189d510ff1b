//go:build e2e

package main

import (
	"encoding/json"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testPrefetch: npm writes a lock file, which asks for no tarball; prefetch has the
// server fetch what it names; then the mirrors are stopped, and npm ci installs.
func testPrefetch(t *testing.T, p program) {
	need(t, "npm", "node")
	dir := t.TempDir()
	www, second := filepath.Join(dir, "www"), filepath.Join(dir, "second")
	m, files := newMirror(t, www), newMirror(t, second)
	putTarball(t, "demo", "1.0.0", `{"@sc/lib":"^2.0.0","leaf":"*"}`, m.url, www, "/demo/-/demo-1.0.0.tgz")
	putTarball(t, "@sc/lib", "2.0.0", `{}`, m.url, www, "/any-name-at-all.tgz")
	putTarball(t, "leaf", "3.0.0", `{}`, files.url, second, "/l/leaf.tgz")
	put(t, mustRead(t, second, "packuments/leaf"), www, "packuments/leaf")
	var audits atomic.Int32
	m.files = npmRegistry(t, m.files, www, &audits)
	text := `
hubs:
- name: npm
  type: npm
  upstream: [{server: ` + m.url + `}]
  options: {files: {f: ` + files.url + `/}}
`
	d := p.start(t, dir, "listen: 127.0.0.1:0"+text)

	home := filepath.Join(dir, "machine")
	put(t, []byte(`{"name":"machine","version":"1.0.0","dependencies":{"demo":"^1.0.0"}}`), home, "package.json")
	env := []string{
		"npm_config_registry=" + d.url + "/npm/", "npm_config_userconfig=" + filepath.Join(home, "npmrc"), "npm_config_cache=" + filepath.Join(home, "cache"),
		"npm_config_update_notifier=false", "npm_config_fund=false", "npm_config_fetch_retries=0", "npm_config_audit=false",
	}
	out, err := try(t, home, env, "npm", "install", "--package-lock-only")
	require.NoError(t, err, out)
	assert.Zero(t, m.asked("/demo/-/demo-1.0.0.tgz"), "the lock file alone")

	config := put(t, []byte(text+"storage: {local: {path: '"+d.data+"'}}\n"), dir, "prefetch.yaml")
	out, err = try(t, home, nil, string(p), "prefetch", "--config", config, "--server", d.url, "--json", "package-lock.json")
	require.NoError(t, err, out)
	var done fetching
	require.NoError(t, json.Unmarshal([]byte(out), &done), out)
	assert.EqualValues(t, 3, done.Fetched, out)

	m.stop()
	files.stop()
	out, err = try(t, home, env, "npm", "ci")
	require.NoError(t, err, out)
	for _, path := range []string{"demo", "@sc/lib", "leaf"} {
		assert.FileExists(t, filepath.Join(home, "node_modules", path, "payload"))
	}
}
