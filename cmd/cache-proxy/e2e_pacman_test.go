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

const pacmanPackage = "archlinux/demo/os/x86_64/demo-1:1.0+e2e-1-any.pkg.tar.zst"

// testPacman: a sync and a download while one of two mirrors dies within the
// package. pacman does not try again by itself; its next run goes on where the
// first ended, with a bare Range. Then all again with neither mirror.
func testPacman(t *testing.T, p program) {
	need(t, "pacman", "repo-add", "bsdtar", "zstd")
	needRoot(t, "pacman")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	pacmanRepository(t, www)
	a, b := newMirror(t, www), newMirror(t, www)
	a.next("/"+pacmanPackage, a.dies)
	b.next("/"+pacmanPackage, b.late)
	d := p.start(t, dir, config(a, b))

	// root makes a private root and returns how pacman is called in it.
	root := func(name string) (pacman func(args ...string) (string, error)) {
		home := filepath.Join(dir, name)
		for _, sub := range []string{"root", "db", "cache", "gnupg", "hooks"} {
			require.NoError(t, os.MkdirAll(filepath.Join(home, sub), 0o755))
		}
		conf := put(t, fmt.Appendf(nil, `[options]
Architecture = x86_64
SigLevel = Never
[demo]
Server = %s/archlinux/$repo/os/$arch
`, d.url), home, "pacman.conf")
		return func(args ...string) (string, error) {
			return try(t, home, nil, "pacman", append([]string{"--config", conf, "--root", home + "/root", "--dbpath", home + "/db",
				"--cachedir", home + "/cache", "--gpgdir", home + "/gnupg", "--hookdir", home + "/hooks", "--logfile", home + "/log",
				"--noconfirm", "--noprogressbar"}, args...)...)
		}
	}
	whole := func(name string) {
		sameFile(t, filepath.Join(www, pacmanPackage), filepath.Join(dir, name, "cache", filepath.Base(pacmanPackage)))
	}
	pacman := root("first")
	out, err := pacman("-Sy")
	require.NoError(t, err, out)
	if out, err = pacman("-Sw", "demo"); err != nil {
		assert.NoFileExists(t, filepath.Join(d.data, pacmanPackage))
		out, err = pacman("-Sw", "demo")
	}
	require.NoError(t, err, out)
	whole("first")
	assert.Equal(t, 1, a.asked("/"+pacmanPackage), "the mirror that died")
	assert.NotZero(t, b.asked("/"+pacmanPackage), "the mirror that lives")
	out, err = pacman("-Sy") // validated with the mirror that lives
	require.NoError(t, err, out)
	sameFile(t, filepath.Join(www, pacmanPackage), filepath.Join(d.data, pacmanPackage))
	d.noTemporary()

	a.stop()
	b.stop()
	pacman = root("second")
	out, err = pacman("-Sy")
	require.NoError(t, err, out)
	out, err = pacman("-Sw", "demo")
	require.NoError(t, err, out)
	whole("second")
}

// pacmanRepository makes a repository with one package.
func pacmanRepository(t *testing.T, www string) {
	t.Helper()
	dir := t.TempDir()
	put(t, []byte("pkgname = demo\npkgbase = demo\npkgver = 1:1.0+e2e-1\npkgdesc = a demo\nurl = https://example.org\n"+
		"builddate = 1700000000\npackager = Demo <demo@example.org>\nsize = 2097152\narch = any\nlicense = MIT\n"), dir, ".PKGINFO")
	put(t, proxytest.Random(2<<20, 4).Bytes(), dir, "usr/share/demo/payload")
	file := filepath.Join(www, pacmanPackage)
	repo := filepath.Dir(file)
	require.NoError(t, os.MkdirAll(repo, 0o755))
	must(t, dir, nil, "bsdtar", "--zstd", "-cf", file, ".PKGINFO", "usr")
	must(t, repo, nil, "repo-add", "demo.db.tar.gz", filepath.Base(file))
}
