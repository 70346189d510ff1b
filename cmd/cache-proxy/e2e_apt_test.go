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

const aptPackage = "debian/pool/main/d/demo/demo_1.0+e2e~rc1_all.deb"

// testApt: update and install, signature and digests checked, while one of two
// mirrors dies within the package; then again with neither.
func testApt(t *testing.T, p program) {
	need(t, "apt-get", "dpkg-deb", "apt-ftparchive", "gpg", "gpgv", "xz")
	dir := t.TempDir()
	key := aptRepository(t, filepath.Join(dir, "www"))
	a, b := newMirror(t, filepath.Join(dir, "www")), newMirror(t, filepath.Join(dir, "www"))
	a.next("/"+aptPackage, a.dies)
	b.next("/"+aptPackage, b.late)
	d := p.start(t, dir, config(a, b))

	install := func(name string) {
		root := filepath.Join(dir, name)
		env := aptRoot(t, root, d.url, key)
		out := must(t, root, env, "apt-get", "update")
		assert.NotContains(t, out, "W:")
		must(t, root, env, "apt-get", "install", "-y", "--download-only", "demo")
		got, err := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
		require.NoError(t, err)
		require.Len(t, got, 1)
		sameFile(t, filepath.Join(dir, "www", aptPackage), got[0])
	}
	install("first")
	assert.Equal(t, 1, a.asked("/"+aptPackage), "the mirror that died")
	assert.NotZero(t, b.asked("/"+aptPackage), "the mirror that lives")
	sameFile(t, filepath.Join(dir, "www", aptPackage), filepath.Join(d.data, aptPackage))
	d.noTemporary()

	a.stop()
	b.stop()
	install("second")
}

// aptRepository makes a signed repository with one package below www/debian, and
// returns the public key.
func aptRepository(t *testing.T, www string) (key string) {
	t.Helper()
	dir := t.TempDir()
	repo := filepath.Join(www, "debian")

	put(t, []byte("Package: demo\nVersion: 1.0+e2e~rc1\nArchitecture: all\nMaintainer: Demo <demo@example.org>\nDescription: a demo\n"),
		dir, "demo/DEBIAN/control")
	put(t, proxytest.Random(2<<20, 1).Bytes(), dir, "demo/usr/share/demo/payload")
	require.NoError(t, os.MkdirAll(filepath.Join(www, filepath.Dir(aptPackage)), 0o755))
	must(t, dir, nil, "dpkg-deb", "--root-owner-group", "-b", "demo", filepath.Join(www, aptPackage))

	packages := must(t, repo, nil, "apt-ftparchive", "packages", "pool")
	binary := put(t, []byte(packages), repo, "dists/stable/main/binary-amd64/Packages")
	must(t, repo, nil, "xz", "-k", binary)
	release := must(t, repo, nil, "apt-ftparchive", "-o", "APT::FTPArchive::Release::Suite=stable",
		"-o", "APT::FTPArchive::Release::Codename=stable", "-o", "APT::FTPArchive::Release::Components=main",
		"-o", "APT::FTPArchive::Release::Architectures=amd64", "release", "dists/stable")
	put(t, []byte(release), repo, "dists/stable/Release")

	home := filepath.Join(dir, "gnupg")
	require.NoError(t, os.Mkdir(home, 0o700))
	env := []string{"GNUPGHOME=" + home}
	t.Cleanup(func() { try(t, dir, env, "gpgconf", "--kill", "all") })
	must(t, dir, env, "gpg", "--batch", "--passphrase", "", "--quick-gen-key", "demo@example.org", "ed25519", "sign", "never")
	must(t, dir, env, "gpg", "--batch", "--clearsign", "-o", filepath.Join(repo, "dists/stable/InRelease"),
		filepath.Join(repo, "dists/stable/Release"))
	key = filepath.Join(dir, "demo.gpg")
	must(t, dir, env, "gpg", "--batch", "--export", "-o", key)
	return key
}

// aptRoot makes a private root whose only source is the proxy, and returns the
// environment in which apt uses it.
func aptRoot(t *testing.T, root, proxy, key string) (env []string) {
	t.Helper()
	for _, name := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, name), 0o755))
	}
	status := put(t, nil, root, "var/lib/dpkg/status")
	put(t, fmt.Appendf(nil, "deb [signed-by=%s] %s/debian/ stable main\n", key, proxy), root, "etc/apt/sources.list")
	conf := put(t, fmt.Appendf(nil, `Dir %q;
Dir::State::status %q;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
`, root, status), root, "apt.conf")
	return []string{"APT_CONFIG=" + conf, "DEBIAN_FRONTEND=noninteractive"}
}
