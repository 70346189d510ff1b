//go:build e2e

package main

import (
	"crypto/sha256"
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

// testDnfLists: a repository that is known by a metalink, or by a list of mirrors,
// which name nobody but the proxy when they have come through it; then again
// with no mirror there.
func testDnfLists(t *testing.T, p program) {
	need(t, "dnf", "rpmbuild", "createrepo_c")
	needRoot(t, "dnf")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	rpmRepository(t, www)
	a, b := newMirror(t, www), newMirror(t, www)
	repomd, err := os.ReadFile(filepath.Join(www, "fedora/9/repodata/repomd.xml"))
	require.NoError(t, err)
	link := `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" generator="demo">
 <files><file name="repomd.xml"><size>%d</size>
  <verification><hash type="sha256">%x</hash></verification>
  <resources maxconnections="1">
   <url protocol="http" type="http" location="US" preference="100">%s/fedora/9/repodata/repomd.xml</url>
   <url protocol="http" type="http" location="US" preference="99">%s/fedora/9/repodata/repomd.xml</url>
  </resources></file></files>
</metalink>
`
	put(t, fmt.Appendf(nil, link, len(repomd), sha256.Sum256(repomd), a.url, b.url), www, "metalink")
	put(t, fmt.Appendf(nil, "# of demo\n%s/fedora/9/\n%s/fedora/9/\n", a.url, b.url), www, "mirrorlist")
	d := p.start(t, dir, hubConfig("rpms", "rpm", a, b))

	install := func(list, name string) {
		home := filepath.Join(dir, list+name)
		conf := put(t, fmt.Appendf(nil, "[main]\ncachedir=%[1]s/cache\nlogdir=%[1]s/log\npersistdir=%[1]s/persist\nreposdir=/none\nvarsdir=/none\npluginpath=/none\n"+
			"[demo]\nname=demo\n%[2]s=%[3]s/rpms/%[2]s?repo=demo&arch=$basearch\ngpgcheck=0\n", home, list, d.url), home, "dnf.conf")
		dnf := []string{"-y", "-c", conf, "--installroot=" + home + "/root", "--releasever=9", "--setopt=install_weak_deps=0"}
		must(t, home, nil, "dnf", append(dnf, "makecache")...)
		must(t, home, nil, "dnf", append(dnf, "install", "--downloadonly", "--downloaddir="+home, "demo")...)
		sameFile(t, filepath.Join(www, rpmPackage), filepath.Join(home, filepath.Base(rpmPackage)))
		_, body := d.mustGet("/rpms/" + list + "?repo=demo&arch=x86_64")
		assert.NotContains(t, string(body), a.url)
		assert.NotContains(t, string(body), b.url)
	}
	install("metalink", "first")
	install("mirrorlist", "first")
	a.stop()
	b.stop()
	install("metalink", "second")
	install("mirrorlist", "second")
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
