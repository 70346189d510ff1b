//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testZypper: a signed repository through a hub of its type, with two mirrors of
// which one dies within the package; then again with neither. zypper asks for the
// signature and the key before the root that they are of.
func testZypper(t *testing.T, p program) {
	need(t, "zypper", "rpmbuild", "createrepo_c", "gpg")
	needRoot(t, "zypper")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	rpmRepository(t, www)
	signRepomd(t, dir, www)
	a, b := newMirror(t, www), newMirror(t, www)
	a.next("/"+rpmPackage, a.dies)
	b.next("/"+rpmPackage, b.late)
	d := p.start(t, dir, hubConfig("suse", "rpm", a, b))

	install := func(name string) {
		home := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(home, 0o755))
		zypper := func(args ...string) {
			must(t, home, nil, "zypper", append([]string{"--root", home, "--non-interactive", "--gpg-auto-import-keys"}, args...)...)
		}
		zypper("addrepo", "--check", "--keep-packages", d.url+"/suse/fedora/9/", "demo")
		zypper("refresh")
		zypper("install", "--download-only", "--no-recommends", "demo")
		sameFile(t, filepath.Join(www, rpmPackage), filepath.Join(home, "var/cache/zypp/packages/demo/Packages", filepath.Base(rpmPackage)))
		zypper("refresh", "--force")
	}
	install("first")
	assert.Equal(t, 1, a.asked("/"+rpmPackage), "the mirror that died")
	sameFile(t, filepath.Join(www, rpmPackage), filepath.Join(d.data, "suse", rpmPackage))
	d.noTemporary()

	a.stop()
	b.stop()
	install("second")
}

// signRepomd signs the repository that rpmRepository made, and puts the key beside it.
func signRepomd(t *testing.T, dir, www string) (key string) {
	t.Helper()
	home := filepath.Join(dir, "gnupg")
	require.NoError(t, os.Mkdir(home, 0o700))
	env := []string{"GNUPGHOME=" + home}
	t.Cleanup(func() { try(t, dir, env, "gpgconf", "--kill", "all") })
	repomd := filepath.Join(www, "fedora/9/repodata/repomd.xml")
	must(t, dir, env, "gpg", "--batch", "--passphrase", "", "--quick-gen-key", "demo@example.org", "rsa2048", "sign", "never")
	must(t, dir, env, "gpg", "--batch", "--export", "--armor", "-o", repomd+".key")
	must(t, dir, env, "gpg", "--batch", "--detach-sign", "--armor", repomd)
	return repomd + ".key"
}
