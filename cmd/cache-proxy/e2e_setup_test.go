//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testSetupScript: what people paste, and then real clients that were told nothing
// else. Their own mirrors are there too; dnf asks them once the proxy is gone.
func testSetupScript(t *testing.T, p program) {
	need(t, "curl", "sh")
	for _, c := range []struct {
		name string
		test func(t *testing.T, p program)
	}{
		{"apt", testSetupApt},
		{"dnf", testSetupDnf},
		{"pip, npm, go", testSetupLanguages},
		{"read by all", testSetupRead},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, p) })
	}
}

// setup pastes the line of the page, with home and further arguments.
func (d *daemon) setup(t *testing.T, home string, args ...string) (said string) {
	t.Helper()
	resp, page := d.mustGet("/-/")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	line := "curl -fsS " + d.url + "/-/setup.sh | sh"
	require.Contains(t, string(page), line)
	return must(t, home, nil, "sh", "-c", line+" -s -- "+strings.Join(args, " "))
}

func testSetupApt(t *testing.T, p program) {
	need(t, "apt-get", "dpkg-deb", "apt-ftparchive", "gpg", "gpgv", "xz")
	dir := t.TempDir()
	key := aptRepository(t, filepath.Join(dir, "www"))
	own, mirror := newMirror(t, filepath.Join(dir, "www")), newMirror(t, filepath.Join(dir, "www"))
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs: [{name: debian, type: apt, upstream: [{server: '`+mirror.url+`/debian'}]}]
`)
	root := filepath.Join(dir, "root")
	env := aptRoot(t, root, own.url, key)
	require.NoError(t, os.Remove(filepath.Join(root, "etc/apt/sources.list")))
	content, err := os.ReadFile(key)
	require.NoError(t, err)
	ring := put(t, content, root, "usr/share/keyrings/debian-archive-keyring.gpg")
	before := fmt.Sprintf("Types: deb\nURIs: %s/debian\nSuites: stable\nComponents: main\nSigned-By: %s\n", own.url, ring)
	sources := put(t, []byte(before), root, "etc/apt/sources.list.d/debian.sources")
	said := d.setup(t, root, "--root", root)
	assert.Contains(t, said, "apt: changed "+sources)
	out := must(t, root, env, "apt-get", "update")
	assert.NotContains(t, out, "E:")
	must(t, root, env, "apt-get", "install", "-y", "--download-only", "demo")
	got, err := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
	require.NoError(t, err)
	require.Len(t, got, 1)
	sameFile(t, filepath.Join(dir, "www", aptPackage), got[0])

	must(t, root, nil, "sh", filepath.Join(root, "var/lib/cache-proxy-setup/setup.sh"), "--root", root, "--undo")
	text, err := os.ReadFile(sources)
	require.NoError(t, err)
	assert.Equal(t, before, string(text))
	assert.Zero(t, own.asked("/debian/dists/stable/InRelease"))
	assert.Zero(t, own.asked("/"+aptPackage))
	assert.Equal(t, 1, mirror.asked("/"+aptPackage))
}

func testSetupDnf(t *testing.T, p program) {
	need(t, "dnf", "rpmbuild", "createrepo_c")
	needRoot(t, "dnf")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	rpmRepository(t, www)
	own, mirror := newMirror(t, www), newMirror(t, www)
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs: [{name: fedora, type: rpm, upstream: [{server: '`+mirror.url+`/fedora'}]}]
`)
	install := func(name string) {
		t.Helper()
		home := filepath.Join(dir, name)
		root := filepath.Join(home, "root")
		put(t, []byte("ID=fedora\nVERSION_ID=9\n"), root, "etc/os-release")
		repo := put(t, []byte("[demo]\nname=demo\nbaseurl="+own.url+"/fedora/$releasever/\ngpgcheck=0\n"), root, "etc/yum.repos.d/demo.repo")
		require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib"), 0o755))
		assert.Contains(t, d.setup(t, home, "--root", root), "dnf: changed "+repo)
		conf := put(t, fmt.Appendf(nil, `[main]
cachedir=%s/cache
logdir=%s/log
persistdir=%s/persist
reposdir=%s
varsdir=/none
pluginpath=/none
keepcache=1
`, home, home, home, filepath.Dir(repo)), home, "dnf.conf")
		if name == "without" {
			d.stop()
		}
		dnf := []string{"-y", "-c", conf, "--installroot=" + home + "/install", "--releasever=9", "--setopt=install_weak_deps=0"}
		must(t, home, nil, "dnf", append(dnf, "install", "--downloadonly", "--downloaddir="+home, "demo")...)
		sameFile(t, filepath.Join(www, rpmPackage), filepath.Join(home, filepath.Base(rpmPackage)))
	}
	install("with")
	assert.Zero(t, own.asked("/"+rpmPackage))
	assert.Equal(t, 1, mirror.asked("/"+rpmPackage))
	install("without")
	assert.Equal(t, 1, own.asked("/"+rpmPackage), "its own mirror, since the proxy is gone")
}

// testSetupLanguages: for one user, whose clients read nothing but their home.
func testSetupLanguages(t *testing.T, p program) {
	need(t, "pip", "npm", "node", "go")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	put(t, newWheel(t), www, wheel)
	put(t, []byte(`<!DOCTYPE html><html><body><a href="../../packages/demo_e2e-1.0%2Blocal-py3-none-any.whl">demo_e2e-1.0+local-py3-none-any.whl</a></body></html>`),
		www, "pypi/simple/demo-e2e/index.html")
	putModule(t, filepath.Join(www, "go"), map[string]string{}, "example.org/demo", "v1.0.0", "")
	put(t, []byte("v1.0.0\n"), www, "go/example.org/demo/@v/list")
	files := newMirror(t, www)
	packages := filepath.Join(dir, "npm")
	registry := newMirror(t, packages)
	putTarball(t, "demo", "1.0.0", `{}`, registry.url, packages, "/demo/-/demo-1.0.0.tgz")
	var audits atomic.Int32
	registry.files = npmRegistry(t, registry.files, packages, &audits)
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- {name: pypi, type: pypi, upstream: [{server: '`+files.url+`/pypi'}]}
- {name: npm, type: npm, upstream: [{server: '`+registry.url+`'}]}
- {name: go, type: go, upstream: [{server: '`+files.url+`/go'}]}
`)
	home := filepath.Join(dir, "home")
	put(t, []byte("fund=false\naudit=false\nupdate-notifier=false\n"), home, ".npmrc")
	put(t, []byte(`{"name":"machine","version":"1.0.0"}`), home, "package.json")
	put(t, []byte("module machine\n\ngo 1.21\n"), home, "go.mod")
	said := d.setup(t, home, "--user", "--only", "pip,npm,go")
	for _, client := range []string{"pip: created", "npm: changed", "go: created"} {
		assert.Contains(t, said, client)
	}
	must(t, home, nil, "pip", "download", "--no-cache-dir", "--no-deps", "-d", home, "demo-e2e")
	sameFile(t, filepath.Join(www, wheel), filepath.Join(home, filepath.Base(wheel)))
	must(t, home, nil, "npm", "install", "demo")
	assert.FileExists(t, filepath.Join(home, "node_modules/demo/payload"))
	offline := []string{"GOSUMDB=off", "GOVCS=*:off", "GOTOOLCHAIN=local", "GOFLAGS=-modcacherw", "GOPATH=" + filepath.Join(home, "gopath"), "GOCACHE=" + filepath.Join(dir, "gocache")}
	must(t, home, offline, "go", "get", "example.org/demo@v1.0.0")
	assert.FileExists(t, filepath.Join(d.data, "go/example.org/demo/@v/v1.0.0.zip"))

	d.setup(t, home, "--user", "--undo")
	for _, gone := range []string{".config/pip/pip.conf", ".config/go/env", ".local"} {
		_, err := os.Lstat(filepath.Join(home, gone))
		assert.ErrorIs(t, err, os.ErrNotExist, gone)
	}
	text, err := os.ReadFile(filepath.Join(home, ".npmrc"))
	require.NoError(t, err)
	assert.Equal(t, "fund=false\naudit=false\nupdate-notifier=false\n", string(text))
}

// stop ends the daemon before the test does.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(os.Interrupt)
	assert.Zero(d.t, d.wait())
}
