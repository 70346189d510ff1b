//go:build e2e

package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hubConfig is a configuration of one hub whose indexes are fresh for a moment only.
func hubConfig(name, kind string, mirrors ...*mirror) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: 127.0.0.1:0\nlog: {level: debug}\ncache: {timeout: 1ms, policies: [{match: "+
		`'(Release|\.gpg|repomd\.xml|\.asc|\.db|\.sig|APKINDEX\.tar\.gz)$', refresh-after: 1ms}]}`+"\nhubs:\n- name: %s\n  type: %s\n  upstream:\n", name, kind)
	for _, m := range mirrors {
		fmt.Fprintf(&b, "  - server: %s\n", m.url)
	}
	return b.String()
}

// aptReleases is how many releases testAptGenerations has; every round of it may
// see another one.
const aptReleases = 40

// testAptGenerations: a hundred updates while two mirrors publish, one after the
// other and each in two steps. None of them sees an index that is not of its
// release, and no release comes after a newer one.
func testAptGenerations(t *testing.T, p program) {
	need(t, "apt-get", "gpg", "gpgv")
	for _, byHash := range []string{"yes", "no"} {
		t.Run("by-hash "+byHash, func(t *testing.T) {
			t.Parallel()
			const rounds = 50
			dir := t.TempDir()
			key := aptReleasesOf(t, dir, byHash)
			mirrors := []*mirror{newMirror(t, dir), newMirror(t, dir)}
			sites := []*aptSite{newAptSite(mirrors[0]), newAptSite(mirrors[1])}
			d := p.start(t, dir, hubConfig("debian", "apt", mirrors...))

			var roots []string
			var envs [][]string
			for i := range 3 {
				root := filepath.Join(dir, fmt.Sprint("client", i))
				roots, envs = append(roots, root), append(envs, aptRoot(t, root, d.url, key))
				put(t, fmt.Appendf(nil, "deb [signed-by=%s] %s/debian/ stable main\n", key, d.url), root, "etc/apt/sources.list")
			}
			// What clients use of a release is not known before one has used it.
			must(t, roots[0], envs[0], "apt-get", "update")

			done := make(chan struct{})
			var publishing sync.WaitGroup
			publishing.Go(func() {
				random := rand.New(rand.NewPCG(7, 8))
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Duration(random.IntN(60)) * time.Millisecond):
						sites[random.IntN(2)].step(sites)
					}
				}
			})
			defer publishing.Wait()
			defer close(done)

			newest, releases, warnings := time.Time{}, 0, 0
			for round := range rounds {
				i := round % len(roots)
				out, err := try(t, roots[i], envs[i], "apt-get", "update")
				require.NoError(t, err, "round %d: %s", round, out)
				for _, bad := range []string{"Hash Sum mismatch", "unexpected size", "not signed", "no longer signed", "GPG error"} {
					require.NotContains(t, out, bad, "round %d", round)
				}
				if strings.Contains(out, "W:") {
					warnings++
					t.Logf("round %d: %s", round, out)
				}
				files, err := filepath.Glob(filepath.Join(roots[i], "var/lib/apt/lists/*InRelease"))
				require.NoError(t, err)
				require.Len(t, files, 1)
				text, err := os.ReadFile(files[0])
				require.NoError(t, err)
				date, err := time.Parse(time.RFC1123, string(regexp.MustCompile(`(?m)^Date: (.*)$`).FindSubmatch(text)[1]))
				require.NoError(t, err)
				require.False(t, date.Before(newest), "round %d: a release of %v after one of %v", round, date, newest)
				if date.After(newest) {
					newest, releases = date, releases+1
				}
			}
			t.Logf("%d releases seen in %d rounds", releases, rounds)
			assert.Greater(t, releases, 5, "releases must change for this to mean anything")
			assert.LessOrEqual(t, warnings, 1)
		})
	}
}

// An aptSite is what a mirror has: the members of one release, and the root of
// the same or the one before.
type aptSite struct {
	mu            sync.Mutex
	members, root int // guarded by mu
}

func newAptSite(m *mirror) *aptSite {
	s := &aptSite{}
	m.files = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n, least := s.members, s.members-3
		if strings.Contains(r.URL.Path, "Release") {
			n = s.root
		}
		s.mu.Unlock()
		file := func() string { return filepath.Join(m.dir, "releases", fmt.Sprint(n), filepath.FromSlash(r.URL.Path)) }
		if strings.Contains(r.URL.Path, "/by-hash/") { // archives keep those of the last three releases
			for _, err := os.Stat(file()); err != nil && n > least; _, err = os.Stat(file()) {
				n--
			}
		}
		http.ServeFile(w, r, file())
	})
	return s
}

// step publishes half of the next release, unless another site is behind by two.
func (s *aptSite) step(all []*aptSite) {
	least := aptReleases
	for _, other := range all {
		other.mu.Lock()
		least = min(least, other.root)
		other.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.root < s.members:
		s.root++
	case s.members < least+2 && s.members < aptReleases-1:
		s.members++
	}
}

// aptReleasesOf makes the releases of a repository, each below releases/N, signed
// by the key whose file is returned. Members are of one size in all of them.
func aptReleasesOf(t *testing.T, dir, byHash string) (key string) {
	t.Helper()
	home := filepath.Join(dir, "gnupg")
	require.NoError(t, os.Mkdir(home, 0o700))
	env := []string{"GNUPGHOME=" + home}
	t.Cleanup(func() { try(t, dir, env, "gpgconf", "--kill", "all") })
	must(t, dir, env, "gpg", "--batch", "--passphrase", "", "--quick-gen-key", "demo@example.org", "ed25519", "sign", "never")
	key = filepath.Join(dir, "demo.gpg")
	must(t, dir, env, "gpg", "--batch", "--export", "-o", key)
	begin := time.Now().Add(-48 * time.Hour).UTC().Truncate(time.Second)
	for n := range aptReleases {
		date := begin.Add(time.Duration(n) * time.Hour)
		dists := filepath.Join(dir, "releases", fmt.Sprint(n), "dists/stable")
		release := fmt.Sprintf("Suite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\nDate: %s\nAcquire-By-Hash: %s\nSHA256:\n",
			date.Format(time.RFC1123), byHash)
		for name, content := range map[string]string{
			"main/binary-amd64/Packages":    fmt.Sprintf("Package: demo\nVersion: 1.%04d\nArchitecture: amd64\nMaintainer: Demo <demo@example.org>\nDescription: a demo\nFilename: pool/demo_1.%04d_amd64.deb\nSize: 1\nSHA256: %064x\n\n", n, n, n),
			"main/dep11/Components.yml":     fmt.Sprintf("---\nVersion: %04d\n", n),
			"main/i18n/Translation-en":      fmt.Sprintf("Package: demo\nDescription-md5: %032x\nDescription-en: a demo\n of %04d\n\n", n, n),
			"contrib/binary-amd64/Packages": "",
		} {
			file := put(t, []byte(content), dists, name)
			require.NoError(t, os.Chtimes(file, date, date))
			sum := sha256.Sum256([]byte(content))
			release += fmt.Sprintf(" %x %d %s\n", sum, len(content), name)
			if byHash == "yes" {
				file := put(t, []byte(content), dists, filepath.Dir(name), "by-hash/SHA256", fmt.Sprintf("%x", sum))
				require.NoError(t, os.Chtimes(file, date, date))
			}
		}
		file := put(t, []byte(release), dists, "Release")
		must(t, dir, env, "gpg", "--batch", "--clearsign", "-o", dists+"/InRelease", file)
		must(t, dir, env, "gpg", "--batch", "--detach-sign", "--armor", "-o", dists+"/Release.gpg", file)
		for _, name := range []string{"Release", "InRelease", "Release.gpg"} {
			require.NoError(t, os.Chtimes(filepath.Join(dists, name), date, date))
		}
	}
	return key
}

// testRPMHub: a signed repository through a hub of its type, with two mirrors;
// then again with neither.
func testRPMHub(t *testing.T, p program) {
	need(t, "dnf", "rpmbuild", "createrepo_c", "gpg")
	needRoot(t, "dnf")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	rpmRepository(t, www)
	key := signRepomd(t, dir, www)
	a, b := newMirror(t, www), newMirror(t, www)
	d := p.start(t, dir, hubConfig("rpms", "rpm", a, b))

	install := func(name string) {
		home := filepath.Join(dir, name)
		conf := put(t, fmt.Appendf(nil, "[main]\ncachedir=%[1]s/cache\nlogdir=%[1]s/log\npersistdir=%[1]s/persist\nreposdir=/none\nvarsdir=/none\npluginpath=/none\nkeepcache=1\n"+
			"[demo]\nname=demo\nbaseurl=%[2]s/rpms/fedora/$releasever/\ngpgcheck=0\nrepo_gpgcheck=1\ngpgkey=file://%[3]s\n", home, d.url, key), home, "dnf.conf")
		dnf := []string{"-y", "-c", conf, "--installroot=" + home + "/root", "--releasever=9", "--setopt=install_weak_deps=0"}
		must(t, home, nil, "dnf", append(dnf, "makecache")...)
		must(t, home, nil, "dnf", append(dnf, "install", "--downloadonly", "--downloaddir="+home, "demo")...)
		sameFile(t, filepath.Join(www, rpmPackage), filepath.Join(home, filepath.Base(rpmPackage)))
	}
	install("first")
	a.stop()
	b.stop()
	install("second")
}

// testPacmanHub: a repository through a hub of its type, with two mirrors; then
// again with neither.
func testPacmanHub(t *testing.T, p program) {
	need(t, "pacman", "repo-add", "bsdtar", "zstd")
	needRoot(t, "pacman")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	pacmanRepository(t, www)
	a, b := newMirror(t, www), newMirror(t, www)
	d := p.start(t, dir, hubConfig("arch", "pacman", a, b))

	install := func(name string) {
		home := filepath.Join(dir, name)
		for _, sub := range []string{"root", "db", "cache", "gnupg", "hooks"} {
			require.NoError(t, os.MkdirAll(filepath.Join(home, sub), 0o755))
		}
		conf := put(t, fmt.Appendf(nil, "[options]\nArchitecture = x86_64\nSigLevel = Never\n[demo]\nServer = %s/arch/archlinux/$repo/os/$arch\n", d.url), home, "pacman.conf")
		for _, args := range [][]string{{"-Sy"}, {"-Fy"}, {"-Sw", "demo"}, {"-Sy"}} {
			must(t, home, nil, "pacman", append([]string{"--config", conf, "--root", home + "/root", "--dbpath", home + "/db",
				"--cachedir", home + "/cache", "--gpgdir", home + "/gnupg", "--hookdir", home + "/hooks", "--logfile", home + "/log",
				"--noconfirm", "--noprogressbar"}, args...)...)
		}
		sameFile(t, filepath.Join(www, pacmanPackage), filepath.Join(home, "cache", filepath.Base(pacmanPackage)))
	}
	install("first")
	sameFile(t, filepath.Join(www, pacmanPackage), filepath.Join(d.data, "arch", pacmanPackage))
	a.stop()
	b.stop()
	install("second")
}
