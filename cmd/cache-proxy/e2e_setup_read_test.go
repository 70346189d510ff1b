//go:build e2e

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testSetupRead: a machine with every client that setup.sh knows, in a root of its
// own. What it writes is read by the client itself, of those that are here; undone,
// every file is the one that it was.
func testSetupRead(t *testing.T, p program) {
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	for _, path := range []string{
		"debian/dists/trixie/InRelease", "fedora/releases/42/Everything/x86_64/os/repodata/repomd.xml",
		"alpine/v3.23/main/x86_64/APKINDEX.tar.gz", "archlinux/core/os/x86_64/core.db",
	} {
		put(t, []byte("it is there"), www, path)
	}
	mirror := newMirror(t, www)
	hubs := "listen: 127.0.0.1:0\nhubs:\n"
	for _, name := range []string{"debian", "fedora", "alpine", "archlinux"} { // as files: nobody reads the indexes
		hubs += fmt.Sprintf("- {name: %s, type: %s, rollout: legacy-only, upstream: [{server: %q}]}\n", name, map[string]string{"debian": "apt", "fedora": "rpm", "alpine": "apk", "archlinux": "pacman"}[name], mirror.url+"/"+name)
	}
	for _, kind := range []string{"pypi", "npm", "go", "cargo", "maven"} {
		hubs += fmt.Sprintf("- {name: %s, type: %[1]s, upstream: [{server: %[2]q}]}\n", kind, mirror.url+"/"+kind)
	}
	d := p.start(t, dir, hubs+fmt.Sprintf("- {name: images, type: oci, options: {default: true}, upstream: [{server: %q}]}\n", mirror.url))
	put(t, []byte(`{"dl": "`+d.url+`/cargo/dl", "api": "`+d.url+`/cargo"}`), www, "cargo/config.json")

	root := machineRoot(t, filepath.Join(dir, "root"))
	before := everything(t, root)
	home := filepath.Join(dir, "home") // of who runs the script; in the root, below that path
	require.NoError(t, os.Mkdir(home, 0o755))
	said := d.setup(t, home, "--root", root)
	for _, client := range []string{"apt", "dnf", "apk", "pacman", "pip", "npm", "go", "cargo", "maven", "docker"} {
		assert.Regexp(t, "(?m)^"+client+": (changed|created) ", said)
	}
	at := func(name string) string { return filepath.Join(root, name) }
	for _, c := range []struct {
		name, program string
		line          []string
		env           []string
		want          string
	}{
		{"apt", "apt-get", []string{"-o", "Dir=" + root, "-o", "Dir::Etc::main=/dev/null", "-o", "Dir::Etc::parts=/dev/null", "update", "--print-uris"}, nil, "'" + d.url + "/debian/dists/trixie/InRelease'"},
		{"pacman", "pacman-conf", []string{"--config", at("etc/pacman.conf"), "-r", "core", "Server"}, nil, d.url + "/archlinux/core/os/x86_64\nhttp://own.example.org/archlinux/core/os/x86_64\n"},
		{"pip", "pip", []string{"config", "list"}, []string{"PIP_CONFIG_FILE=" + at("etc/pip.conf")}, "global.index-url='" + d.url + "/pypi/simple/'"},
		{"npm", "npm", []string{"config", "get", "registry", "--globalconfig", at("etc/npmrc")}, nil, d.url + "/npm/"},
		{"go", "go", []string{"env", "GOPROXY"}, []string{"GOENV=" + at(home+"/.config/go/env"), "GOPROXY="}, d.url + "/go|direct"},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.program)
			out := must(t, dir, c.env, c.program, c.line...)
			assert.Contains(t, out, c.want)
		})
	}
	t.Run("dnf", func(t *testing.T) { // asks for the repository where it was told
		need(t, "dnf")
		out, _ := try(t, dir, nil, "dnf", "--setopt=reposdir="+at("etc/yum.repos.d"), "--setopt=cachedir="+at("cache"), "--setopt=persistdir="+at("persist"), "--setopt=logdir="+dir, "--setopt=pluginpath=/none",
			"--releasever=42", "--forcearch=x86_64", "repolist", "-v")
		assert.Contains(t, out, "repo 'fedora': repomd.xml parser error", "it got what only the cache has there")
		os.RemoveAll(at("cache"))
		os.RemoveAll(at("persist"))
	})
	t.Run("maven", func(t *testing.T) { // asks the mirror of the settings for a parent
		need(t, "mvn")
		put(t, []byte(`<project><modelVersion>4.0.0</modelVersion><parent><groupId>org.example</groupId><artifactId>none</artifactId><version>1</version><relativePath/></parent><artifactId>x</artifactId></project>`), dir, "pom.xml")
		out, err := try(t, dir, nil, "mvn", "-B", "-s", at(home+"/.m2/settings.xml"), "-Dmaven.repo.local="+filepath.Join(dir, "m2"), "validate")
		require.Error(t, err)
		assert.Contains(t, out, "cache-proxy ("+d.url+"/maven/)")
		assert.Positive(t, mirror.asked("/maven/org/example/none/1/none-1.pom"))
	})
	t.Run("cargo", func(t *testing.T) { // asks the replaced source for a crate
		need(t, "cargo")
		put(t, []byte("[package]\nname = \"machine\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nabc = \"2\"\n"), dir, "crate/Cargo.toml")
		put(t, nil, dir, "crate/src/lib.rs")
		put(t, mustRead(t, at(home+"/.cargo/config.toml")), dir, "cargo/config.toml")
		user, err := os.UserHomeDir()
		require.NoError(t, err)
		out, err := try(t, filepath.Join(dir, "crate"), []string{"CARGO_HOME=" + filepath.Join(dir, "cargo"), "CARGO_NET_RETRY=0", "RUSTUP_HOME=" + filepath.Join(user, ".rustup")}, "cargo", "fetch")
		require.Error(t, err)
		assert.Positive(t, mirror.asked("/cargo/3/a/abc"), "%s", out)
	})
	assert.Contains(t, string(mustRead(t, at("etc/apk/repositories"))), d.url+"/alpine/v3.23/main\n", "no apk is here to ask")
	assert.JSONEq(t, `{"registry-mirrors": ["`+d.url+`"], "insecure-registries": ["`+strings.TrimPrefix(d.url, "http://")+`"], "log-level": "warn"}`, string(mustRead(t, at("etc/docker/daemon.json"))))

	must(t, dir, nil, "sh", at("var/lib/cache-proxy-setup/setup.sh"), "--root", root, "--undo")
	assert.Equal(t, before, everything(t, root))
}

// machineRoot is a root directory with configuration of every client.
func machineRoot(t *testing.T, root string) string {
	t.Helper()
	for _, program := range []string{"pip", "npm", "go", "cargo", "mvn", "docker"} {
		name := put(t, nil, root, "usr/bin", program)
		require.NoError(t, os.Chmod(name, 0o755))
	}
	for name, text := range map[string]string{
		"etc/os-release":                          "ID=fedora\nVERSION_ID=42\n",
		"etc/apt/sources.list.d/debian.sources":   "Types: deb\nURIs: http://own.example.org/debian\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
		"etc/yum.repos.d/fedora.repo":             "[fedora]\nname=Fedora\nmetalink=http://own.example.org/metalink?repo=fedora-$releasever\n#baseurl=http://own.example.org/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/\ngpgcheck=0\n",
		"etc/apk/repositories":                    "http://own.example.org/alpine/v3.23/main\n",
		"etc/apk/arch":                            "x86_64\n",
		"etc/pacman.conf":                         "[options]\nArchitecture = x86_64\n[core]\nInclude = " + root + "/etc/pacman.d/mirrorlist\n",
		"etc/pacman.d/mirrorlist":                 "Server = http://own.example.org/archlinux/$repo/os/$arch\n",
		"etc/pip.conf":                            "[global]\ntimeout = 60\n",
		"etc/npmrc":                               "fund=false\n",
		"etc/docker/daemon.json":                  "{\"log-level\": \"warn\"}\n",
		"usr/share/keyrings/of-nobody.gpg":        "",
		"var/lib/apt/lists/partial/.keep":         "",
		"var/cache/apt/archives/partial/.keep":    "",
		"var/lib/dpkg/status":                     "",
		"etc/apt/preferences.d/.keep":             "",
		"etc/apt/trusted.gpg.d/of-nobody-too.gpg": "",
	} {
		put(t, []byte(text), root, name)
	}
	return root
}

// everything is mode, owner, time and content of all files of a tree but what apt
// itself wrote, and all directories.
func everything(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		below := strings.TrimPrefix(name, root)
		if strings.HasPrefix(below, "/var/lib/apt/") || strings.HasPrefix(below, "/var/cache/apt/") {
			return nil
		}
		owner := info.Sys().(*syscall.Stat_t)
		all[below] = fmt.Sprintf("%v %d:%d", info.Mode(), owner.Uid, owner.Gid)
		if info.Mode().IsRegular() {
			all[below] += fmt.Sprintf(" %s %q", info.ModTime().Format(time.RFC3339Nano), mustRead(t, name))
		}
		return nil
	}))
	return all
}
