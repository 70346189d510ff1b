//go:build e2e

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const rpmPackage = "fedora/9/Packages/demo-1.0^git+1-1.noarch.rpm"

// testDnf: makecache and a download while one of two mirrors dies within the
// package; then again with neither.
func testDnf(t *testing.T, p program) {
	need(t, "dnf", "rpmbuild", "createrepo_c")
	needRoot(t, "dnf")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	rpmRepository(t, www)
	a, b := newMirror(t, www), newMirror(t, www)
	a.next("/"+rpmPackage, a.dies)
	b.next("/"+rpmPackage, b.late)
	d := p.start(t, dir, config(a, b))

	install := func(name string) {
		home := filepath.Join(dir, name)
		conf := put(t, fmt.Appendf(nil, `[main]
cachedir=%s/cache
logdir=%s/log
persistdir=%s/persist
reposdir=/none
varsdir=/none
pluginpath=/none
keepcache=1
[demo]
name=demo
baseurl=%s/fedora/$releasever/
gpgcheck=0
`, home, home, home, d.url), home, "dnf.conf")
		dnf := []string{"-y", "-c", conf, "--installroot=" + home + "/root", "--releasever=9", "--setopt=install_weak_deps=0"}
		must(t, home, nil, "dnf", append(dnf, "makecache")...)
		must(t, home, nil, "dnf", append(dnf, "install", "--downloadonly", "--downloaddir="+home, "demo")...)
		sameFile(t, filepath.Join(www, rpmPackage), filepath.Join(home, filepath.Base(rpmPackage)))
	}
	install("first")
	assert.Equal(t, 1, a.asked("/"+rpmPackage), "the mirror that died")
	assert.NotZero(t, b.asked("/"+rpmPackage), "the mirror that lives")
	sameFile(t, filepath.Join(www, rpmPackage), filepath.Join(d.data, rpmPackage))
	d.noTemporary()

	a.stop()
	b.stop()
	install("second")
}

// rpmRepository makes a repository with one package.
func rpmRepository(t *testing.T, www string) {
	t.Helper()
	dir := t.TempDir()
	payload := put(t, proxytest.Random(2<<20, 3).Bytes(), dir, "payload")
	spec := put(t, fmt.Appendf(nil, `Name: demo
Version: 1.0^git+1
Release: 1
Summary: a demo
License: MIT
BuildArch: noarch
%%description
A demo.
%%install
install -D -m 644 %s %%{buildroot}/usr/share/demo/payload
%%files
/usr/share/demo/payload
`, payload), dir, "demo.spec")
	must(t, dir, nil, "rpmbuild", "-bb", "--define", "_topdir "+dir+"/build", "--define", "_rpmdir "+dir, spec)
	content, err := os.ReadFile(filepath.Join(dir, "noarch", filepath.Base(rpmPackage)))
	require.NoError(t, err)
	put(t, content, www, rpmPackage)
	must(t, dir, nil, "createrepo_c", filepath.Join(www, "fedora/9"))
}
