//go:build e2e

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testForward: apt with sources that nobody changed. It asks the proxy because its
// script says so, and its own mirror once the proxy is gone.
func testForward(t *testing.T, p program) {
	need(t, "apt-get", "dpkg-deb", "apt-ftparchive", "gpg", "gpgv", "xz", "curl")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	key := aptRepository(t, www)
	own, mirror := newMirror(t, www), newMirror(t, www)
	d := p.start(t, dir, `listen: 127.0.0.1:0
forward: {enabled: true}
hubs:
- name: deb
  type: apt
  upstream: [{server: '`+mirror.url+`/debian'}, {server: '`+own.url+`/debian'}]
  race: {mode: ordered}
`)
	install := func(name, source, setting string) {
		t.Helper()
		root := filepath.Join(dir, name)
		env := aptRoot(t, root, source, key)
		put(t, []byte(setting), root, "etc/apt/apt.conf.d/30cache-proxy")
		out := must(t, root, env, "apt-get", "update")
		assert.NotContains(t, out, "W:")
		must(t, root, env, "apt-get", "install", "-y", "--download-only", "demo")
		got, err := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
		require.NoError(t, err)
		require.Len(t, got, 1)
		sameFile(t, filepath.Join(www, aptPackage), got[0])
	}
	detect := filepath.Join(dir, "detect")
	must(t, dir, nil, "curl", "-fsS", d.url+"/-/apt-proxy-detect", "-o", detect)
	require.NoError(t, os.Chmod(detect, 0o755))
	auto := fmt.Sprintf("Acquire::http::Proxy-Auto-Detect %q;\n", detect)

	install("auto", own.url, auto)
	assert.Zero(t, own.asked("/"+aptPackage), "the proxy was asked, and asked the first mirror")
	assert.Equal(t, 1, mirror.asked("/"+aptPackage))
	install("proxy", own.url, fmt.Sprintf("Acquire::http::Proxy %q;\n", d.url))
	install("acng", d.url+"/HTTPS///"+strings.TrimPrefix(own.url, "http://"), "")
	assert.Zero(t, own.asked("/"+aptPackage))
	assert.Equal(t, 1, mirror.asked("/"+aptPackage), "stored once for all")

	root := filepath.Join(dir, "elsewhere")
	put(t, []byte(fmt.Sprintf("Acquire::http::Proxy %q;\n", d.url)), root, "etc/apt/apt.conf.d/30cache-proxy")
	other := newMirror(t, www)
	env := aptRoot(t, root, other.url, key)
	out, err := try(t, root, env, "apt-get", "update")
	assert.Contains(t, out, "403", "%v", err)
	assert.Zero(t, other.asked("/debian/dists/stable/InRelease"), "no host is asked because a client names it")

	d.stop()
	install("direct", own.url, auto)
	assert.Equal(t, 1, own.asked("/"+aptPackage))
}
