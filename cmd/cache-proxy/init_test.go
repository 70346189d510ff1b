package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func TestInit(t *testing.T) {
	root := lay(t, map[string]string{
		"etc/apt/sources.list":                    "# old\ndeb http://one.example.org/debian/ stable main\ndeb [arch=amd64] https://me:hunter2@two.example.org/debian stable main\ndeb-src http://three.example.org/debian stable main\ndeb cdrom:[x]/ stable main\n",
		"etc/apt/sources.list.d/security.sources": "Types: deb\nURIs: http://one.example.org/debian-security\n http://two.example.org/debian-security/\nSuites: x\n\nTypes: deb\nEnabled: no\nURIs: http://off.example.org/debian\n",
		"etc/apt/sources.list.d/vendor.list":      "deb https://vendor.example.org/tool/apt stable main\n",
		"etc/yum.repos.d/fedora.repo":             "[fedora]\nmetalink=https://x.example.org/metalink?repo=fedora-$releasever\n[off]\nenabled=0\nbaseurl=http://off.example.org/fedora\n",
		"etc/yum.repos.d/rocky.repo":              "[baseos]\nbaseurl=http://one.example.org/pub/rocky/$releasever/BaseOS/$basearch/os/\n",
		"etc/apk/repositories":                    "https://one.example.org/alpine/v3.23/main\n@edge https://one.example.org/alpine/edge/main\n",
		"etc/pacman.d/mirrorlist":                 "#Server = https://no.example.org/x\nServer = https://one.example.org/archlinux/$repo/os/$arch\n",
		"etc/pip.conf":                            "[global]\nindex-url = https://pip.example.org/root/simple/\n",
		"root/.npmrc":                             "registry=https://npm.example.org/\n@corp:registry=https://corp.example.org/npm/\n//npm.example.org/:_authToken=hunter2\n",
		"root/.config/go/env":                     "GOPROXY=https://go.example.org,direct\n",
		"root/.cargo/config.toml":                 "[source.mirror]\nregistry = \"sparse+https://crates.example.org/index/\"\n",
		"root/.m2/settings.xml":                   "<settings><mirrors><mirror><id>a</id><url> https://maven.example.org/public </url></mirror></mirrors></settings>",
		"etc/docker/daemon.json":                  `{"registry-mirrors": ["https://docker.example.org"]}`,
	})
	name := filepath.Join(t.TempDir(), "new.yaml")
	var out, stderr strings.Builder
	require.Equal(t, exitOK, run([]string{"init", "--root", root, "--output", name}, &out, &stderr), stderr.String())
	c, warnings, err := cacheproxy.Load(name)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	got := map[string][]string{}
	for _, h := range c.Hubs {
		for _, u := range h.Upstream {
			got[h.Name+" "+string(h.Type)] = append(got[h.Name+" "+string(h.Type)], u.Server.String())
		}
	}
	for hub, want := range map[string][]string{
		"debian apt":                      {"http://one.example.org/debian", "https://two.example.org/debian", "https://mirrors.ustc.edu.cn/debian"},
		"debian-security apt":             {"http://one.example.org/debian-security", "http://two.example.org/debian-security"},
		"vendor-example-org-tool-apt apt": {"https://vendor.example.org/tool/apt"},
		"fedora rpm":                      {"https://mirrors.ustc.edu.cn/fedora"},
		"rocky rpm":                       {"http://one.example.org/pub/rocky", "https://mirrors.aliyun.com/rockylinux"},
		"alpine apk":                      {"https://one.example.org/alpine"},
		"archlinux pacman":                {"https://one.example.org/archlinux"},
		"pypi pypi":                       {"https://pip.example.org/root", "https://mirrors.aliyun.com/pypi"},
		"npm npm":                         {"https://npm.example.org", "https://registry.npmmirror.com"},
		"npm-corp npm":                    {"https://corp.example.org/npm"},
		"go go":                           {"https://go.example.org", "https://goproxy.cn"},
		"cargo cargo":                     {"https://crates.example.org/index"},
		"maven maven":                     {"https://maven.example.org/public"},
		"oci oci":                         {"https://docker.example.org"},
	} {
		assert.Subset(t, got[hub], want, hub)
		delete(got, hub)
	}
	assert.Empty(t, got, "nothing else")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.NotContains(t, string(text)+stderr.String(), "hunter2")
	assert.NotContains(t, string(text), "off.example.org")
	assert.Contains(t, stderr.String(), "the credentials for two.example.org are left out")
	assert.Contains(t, stderr.String(), "no plain http URL")

	stderr.Reset()
	assert.Equal(t, exitFailed, run([]string{"init", "--root", root, "--output", name}, &out, &stderr))
	assert.Contains(t, stderr.String(), "--force overwrites")
	assert.Equal(t, exitOK, run([]string{"init", "--root", root, "--output", name, "--force"}, &out, &stderr))
	out.Reset()
	assert.Equal(t, exitOK, run([]string{"init", "--root", root, "--output", "-"}, &out, &stderr))
	assert.Equal(t, string(text), out.String())

	stderr.Reset()
	assert.Equal(t, exitFailed, run([]string{"init", "--root", t.TempDir(), "--output", "-"}, &out, &stderr))
	assert.Contains(t, stderr.String(), "nothing was found")
}

// FuzzInit: a machine's files may be anything; what is written can be read.
func FuzzInit(f *testing.F) {
	f.Add("deb [a=b] http://a.example.org/debian x y\nURIs: http://b.example.org/x\nTypes: deb\nbaseurl=https://c.example.org/$x\nregistry=http://d.example.org\nServer = http://e/$repo\n")
	f.Add(`{"registry-mirrors": ["https://docker.example.org/é"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var all []origin
		for kind, read := range map[cacheproxy.HubType]func([]byte, string) []origin{
			"apt": readAptList, "rpm": readRepos, "apk": readPlain, "pacman": readMirrorlist, "pypi": readPip, "npm": readNpmrc, "go": readGoEnv, "cargo": readCargoConfig, "maven": readMavenSettings, "oci": readDaemon,
		} {
			for _, o := range read([]byte(text), "x.repo") {
				o.kind, o.from = kind, "x"
				all = append(all, o)
			}
		}
		readAptSources([]byte(text), "x")
		plans := plansOf(all, func(string, ...any) {})
		for _, p := range plans {
			assert.Regexp(t, `^[a-z0-9-]+$`, p.name)
			for _, u := range p.own {
				assert.NotContains(t, strconv.Quote(u), "\n")
				assert.Regexp(t, `^https?://[^/]`, u)
			}
		}
	})
}
