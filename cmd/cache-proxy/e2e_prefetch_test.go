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

// testPrefetchLocks: the lock files of Bundler and Composer, made by them without a
// download; prefetch has the server fetch what they name; then the mirror is stopped,
// and they install.
func testPrefetchLocks(t *testing.T, p program) {
	for _, c := range []struct {
		name, kind, lock string
		need             []string
		fill             func(t *testing.T, m *mirror)
		files            func(hub string) map[string]string // of the project
		env              func(home string) []string
		locks, installs  []string // commands
		installed        string   // a pattern
		fetched          int64
	}{
		{
			"bundler", "rubygems", "Gemfile.lock", []string{"gem", "bundle"},
			func(t *testing.T, m *mirror) {
				gems := &gemRepository{www: m.dir}
				gems.add(t, "leaf", "2.0.0", "")
				gems.add(t, "lib", "1.0.0", "leaf")
			},
			func(hub string) map[string]string {
				return map[string]string{"Gemfile": "source \"" + hub + "/\"\ngem \"lib\"\n"}
			},
			func(home string) []string {
				return []string{
					"BUNDLE_PATH=" + filepath.Join(home, "bundle"), "BUNDLE_APP_CONFIG=" + filepath.Join(home, "config"), "BUNDLE_USER_HOME=" + filepath.Join(home, "user"),
					"BUNDLE_RETRY=0", "GEM_HOME=" + filepath.Join(home, "gems"), "BUNDLE_SILENCE_ROOT_WARNING=1",
				}
			},
			[]string{"bundle", "lock"}, []string{"bundle", "install"}, "bundle/ruby/*/gems/l*/payload.rb", 2,
		},
		{
			"composer", "composer", "composer.lock", []string{"composer", "php"},
			func(t *testing.T, m *mirror) {
				put(t, []byte(`{"packages":[],"metadata-url":"/p2/%package%.json"}`), m.dir, "packages.json")
				putDist(t, m.dir, "", m.url+"/dist", "acme/leaf", "2.1.0", "89e495e7941cf9e40e6980d14a16bf023ccd4c91", "")
				putDist(t, m.dir, "", m.url+"/dist", "acme/lib", "1.0.0", "0123456789abcdef0123456789abcdef01234567", `"acme/leaf":"^2"`)
			},
			func(hub string) map[string]string {
				return map[string]string{"composer.json": `{"name":"acme/machine","require":{"acme/lib":"*"},"repositories":[{"type":"composer","url":"` + hub + `"},{"packagist":false}],"config":{"secure-http":false}}`}
			},
			func(home string) []string {
				return []string{"COMPOSER_HOME=" + filepath.Join(home, "home"), "COMPOSER_CACHE_DIR=" + filepath.Join(home, "cache"), "COMPOSER_ALLOW_SUPERUSER=1"}
			},
			[]string{"composer", "update", "--no-install", "-n"}, []string{"composer", "install", "-n"}, "vendor/acme/l*/payload.php", 2,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.need...)
			dir := t.TempDir()
			m := newMirror(t, filepath.Join(dir, "www"))
			c.fill(t, m)
			text := "hubs: [{name: h, type: " + c.kind + ", upstream: [{server: '" + m.url + "'}]}]\n"
			d := p.start(t, dir, "listen: 127.0.0.1:0\n"+text)
			home := filepath.Join(dir, "machine")
			for name, content := range c.files(d.url + "/h") {
				put(t, []byte(content), home, name)
			}
			must(t, home, c.env(home), c.locks[0], c.locks[1:]...)
			config := put(t, []byte(text+"storage: {local: {path: '"+d.data+"'}}\n"), dir, "prefetch.yaml")
			out := must(t, home, nil, string(p), "prefetch", "--config", config, "--server", d.url, "--json", c.lock)
			var done fetching
			require.NoError(t, json.Unmarshal([]byte(out), &done), out)
			assert.Equal(t, c.fetched, done.Fetched, out)
			m.stop()
			must(t, home, c.env(home), c.installs[0], c.installs[1:]...)
			found, err := filepath.Glob(filepath.Join(home, c.installed))
			require.NoError(t, err)
			assert.Len(t, found, 2, "lib and leaf")
		})
	}
}
