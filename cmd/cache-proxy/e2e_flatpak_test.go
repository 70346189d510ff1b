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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// flatpakConfig is a hub in which nothing but objects is fresh for longer than a moment.
func flatpakConfig(mirrors ...*mirror) string {
	return strings.Replace(hubConfig("flatpak", "flatpak", mirrors...), "(Release", "(summary|summary\\.idx|Release", 1) + "  race: {mode: ordered}\n"
}

// testOSTree: pulls from a signed repository while two mirrors publish, one after the
// other and each in two steps. Every one succeeds, and none brings an older commit.
func testOSTree(t *testing.T, p program) {
	need(t, "ostree", "gpg")
	const versions = 8
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	keys := filepath.Join(dir, "keys")
	require.NoError(t, os.MkdirAll(keys, 0o700))
	must(t, dir, nil, "gpg", "--homedir", keys, "--batch", "--passphrase", "", "--quick-generate-key", "demo@example.org", "rsa2048", "sign", "never")
	public := put(t, []byte(must(t, dir, nil, "gpg", "--homedir", keys, "--armor", "--export", "demo@example.org")), dir, "key.asc")
	must(t, dir, nil, "ostree", "init", "--repo="+www, "--mode=archive")
	tree := filepath.Join(dir, "tree")
	order := map[string]int{} // of commits
	for v := range versions {
		for now := time.Now().Unix(); time.Now().Unix() == now; { // the tool's time is in seconds
			time.Sleep(10 * time.Millisecond)
		}
		put(t, fmt.Appendf(nil, "version %d\n", v), tree, fmt.Sprintf("file%d", v))
		require.NoError(t, os.Symlink(strings.Repeat("x", 225+v), filepath.Join(tree, fmt.Sprintf("link%d", v))))
		commit := must(t, dir, nil, "ostree", "--repo="+www, "commit", "-b", "demo", "-s", "a version", tree)
		order[strings.TrimSpace(commit)] = v
		must(t, dir, nil, "ostree", "--repo="+www, "static-delta", "generate", "--empty", "demo")
		must(t, dir, nil, "ostree", "--repo="+www, "summary", "-u", "--gpg-sign=demo@example.org", "--gpg-homedir="+keys)
		for _, name := range []string{"summary", "summary.sig"} {
			b, err := os.ReadFile(filepath.Join(www, name))
			require.NoError(t, err)
			put(t, b, dir, "published", fmt.Sprint(v), name)
		}
	}
	mirrors := []*mirror{newMirror(t, www), newMirror(t, www)}
	var at [2][2]atomic.Int64 // version of each mirror's summary and signature
	for i, m := range mirrors {
		files := m.files
		m.files = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			which := 0
			switch r.URL.Path {
			case "/summary.sig":
				which = 1
			case "/summary":
			default:
				files.ServeHTTP(w, r)
				return
			}
			http.ServeFile(w, r, filepath.Join(dir, "published", fmt.Sprint(at[i][which].Load()), r.URL.Path))
		})
	}
	d := p.start(t, dir, flatpakConfig(mirrors...))

	pull := func(name string) int {
		repo := filepath.Join(dir, name)
		if _, err := os.Stat(repo); err != nil {
			must(t, dir, nil, "ostree", "init", "--repo="+repo, "--mode=archive")
			must(t, dir, nil, "ostree", "--repo="+repo, "remote", "add", "--set=gpg-verify=false", "--set=gpg-verify-summary=true", "--gpg-import="+public, "hub", d.url+"/flatpak")
		}
		must(t, dir, nil, "ostree", "--repo="+repo, "pull", "hub", "demo")
		must(t, dir, nil, "ostree", "--repo="+repo, "fsck")
		return order[strings.TrimSpace(must(t, dir, nil, "ostree", "--repo="+repo, "rev-parse", "hub:demo"))]
	}
	last := pull("client")
	for v := 1; v < versions; v++ {
		for i := range at {
			for which := range at[i] {
				at[i][which].Store(int64(v))
				got := pull("client")
				assert.GreaterOrEqual(t, got, last)
				last = got
			}
		}
	}
	assert.Equal(t, versions-1, last)
	d.noTemporary()
	for _, m := range mirrors {
		m.stop()
	}
	assert.Equal(t, last, pull("another"))
}

// testFlatpak: flatpak installs from two mirrors, the first of which sends a part of
// a delta and an index of summaries that are wrong; then both are stopped, and another
// machine with nothing installs the same.
func testFlatpak(t *testing.T, p program) {
	need(t, "flatpak")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	build := filepath.Join(dir, "build")
	put(t, []byte("[Runtime]\nname=org.example.Demo\n"), build, "metadata")
	blob := put(t, []byte(strings.Repeat("content of the demo\n", 10_000)), build, "usr/blob")
	require.NoError(t, os.MkdirAll(filepath.Join(build, "files"), 0o755))
	must(t, dir, nil, "flatpak", "build-export", "--runtime", "--disable-sandbox", www, build, "stable")
	must(t, dir, nil, "flatpak", "build-update-repo", "--generate-static-deltas", www)
	a, b := newMirror(t, www), newMirror(t, www)
	put(t, []byte("[Flatpak Repo]\nTitle=Demo\nUrl="+a.url+"/\n"), www, "demo.flatpakrepo")
	parts, err := filepath.Glob(filepath.Join(www, "deltas/*/*/0"))
	require.NoError(t, err)
	require.NotEmpty(t, parts)
	evil := func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>log in</html>")) }
	for _, part := range parts {
		a.next(strings.TrimPrefix(part, www), evil)
	}
	packed, err := filepath.Glob(filepath.Join(www, "summaries/*.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, packed)
	for _, summary := range packed {
		a.next(strings.TrimPrefix(summary, www), evil)
	}
	d := p.start(t, dir, flatpakConfig(a, b))

	install := func(name string) {
		home := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(home, 0o755))
		flatpak := func(args ...string) string {
			return must(t, home, nil, "flatpak", append([]string{"--user"}, args...)...)
		}
		flatpak("remote-add", "--no-gpg-verify", "hub", d.url+"/flatpak/demo.flatpakrepo")
		assert.Contains(t, flatpak("remotes", "--columns=url"), d.url+"/flatpak/")
		assert.Contains(t, flatpak("remote-ls", "hub"), "org.example.Demo")
		flatpak("install", "-y", "--noninteractive", "hub", "org.example.Demo")
		got, err := filepath.Glob(filepath.Join(home, ".local/share/flatpak/runtime/org.example.Demo/*/stable/active/files/blob"))
		require.NoError(t, err)
		require.Len(t, got, 1)
		sameFile(t, blob, got[0])
		flatpak("update", "-y", "--noninteractive")
	}
	install("first")
	asked := 0
	for _, part := range parts {
		asked += b.asked(strings.TrimPrefix(part, www))
	}
	assert.NotZero(t, asked, "the mirror that had it right")
	d.noTemporary()

	// Of what a delta has, a client asks for some objects besides, as it happens.
	objects, err := filepath.Glob(filepath.Join(www, "objects/*/*"))
	require.NoError(t, err)
	for _, object := range objects {
		d.mustGet("/flatpak" + strings.TrimPrefix(object, www))
	}
	a.stop()
	b.stop()
	install("second")
}
