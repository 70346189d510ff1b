package main

import (
	"os"
	"path/filepath"
	"slices"
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
		"etc/apt/sources.list.d/security.sources": "Types: deb\nuris: http://one.example.org/debian-security\n# one more\n http://two.example.org/debian-security/\nSuites: x\n\nTypes: deb\nEnabled: no\nURIs: http://off.example.org/debian\n",
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
		"root/.config/composer/config.json":       `{"repositories": {"house": {"type": "composer", "url": "https://composer.example.org/"}, "git": {"type": "vcs", "url": "https://git.example.org/x"}, "packagist": false}}`,
		"etc/gemrc":                               "---\n:sources:\n- https://gems.example.org/\n- https://house.example.org/gems/\ngem: --no-document\n",
		"root/.bundle/config":                     "---\nBUNDLE_MIRROR__HTTPS://GEMS__EXAMPLE__ORG/: \"https://bundle.example.org\"\nBUNDLE_JOBS: \"4\"\n",
		"root/.config/helm/repositories.yaml":     "apiVersion: \"\"\nrepositories:\n- caFile: \"\"\n  name: stable\n  password: hunter2\n  url: https://charts.example.org/stable\n- name: own\n  url: oci://charts.example.org/own\n",
		"root/.condarc":                           "channels:\n  - defaults\ndefault_channels:\n  - https://conda.example.org/pkgs/main\n  - https://conda.example.org/pkgs/r\ncustom_channels:\n  conda-forge: https://conda.example.org/cloud\nproxy_servers:\n  https: http://proxy.example.org:3128\n",
		"root/.nuget/NuGet/NuGet.Config":          `<?xml version="1.0"?><configuration><packageSources><clear/><add key="a" value="https://nuget.example.org/v3/index.json" protocolVersion="3"/><add key="old" value="https://nuget.example.org/api/v2"/></packageSources></configuration>`,
		"etc/R/Rprofile.site":                     "options(repos = c(CRAN = \"https://cran.example.org/\"))\n",
		"root/.terraformrc":                       "provider_installation {\n  network_mirror {\n    url = \"https://terraform.example.org/providers/\"\n  }\n}\n",
		"root/.config/rebar3/rebar.config":        "{rebar_packages_cdn, \"https://hex.example.org\"}.\n",
		"var/lib/flatpak/repo/config":             "[core]\nrepo_version=1\n\n[remote \"flathub\"]\nurl=https://flatpak.example.org/repo/\ngpg-verify=true\n",
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
		"pypi pypi":                       {"https://pip.example.org/root"},
		"npm npm":                         {"https://npm.example.org"},
		"npm-corp npm":                    {"https://corp.example.org/npm"},
		"go go":                           {"https://go.example.org"},
		"cargo cargo":                     {"https://crates.example.org/index"},
		"maven maven":                     {"https://maven.example.org/public"},
		"oci oci":                         {"https://docker.example.org"},

		"composer composer":                        {"https://composer.example.org"},
		"rubygems rubygems":                        {"https://gems.example.org", "https://bundle.example.org"},
		"rubygems-house-example-org-gems rubygems": {"https://house.example.org/gems"},
		"helm-stable helm":                         {"https://charts.example.org/stable"},
		"conda conda":                              {"https://conda.example.org/pkgs"},
		"conda-conda-example-org-cloud conda":      {"https://conda.example.org/cloud"},
		"nuget nuget":                              {"https://nuget.example.org"},
		"cran cran":                                {"https://cran.example.org"},
		"terraform terraform":                      {"https://terraform.example.org/providers"},
		"hex hex":                                  {"https://hex.example.org"},
		"flathub flatpak":                          {"https://flatpak.example.org/repo"},
	} {
		assert.Subset(t, got[hub], want, hub)
		if slices.Contains([]string{"pypi", "npm", "go", "cargo", "maven", "oci", "composer", "rubygems", "helm", "conda", "nuget", "cran", "terraform", "hex", "flatpak"}, hub[strings.LastIndexByte(hub, ' ')+1:]) {
			assert.Equal(t, want, got[hub], "of what has the same content nothing is known")
		}
		delete(got, hub)
	}
	assert.Empty(t, got, "nothing else")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.NotContains(t, string(text)+stderr.String(), "hunter2")
	assert.NotContains(t, string(text), "off.example.org")
	assert.Contains(t, string(text), "  # - server: \"https://mirrors.aliyun.com/pypi\"\n", "to be uncommented by who knows")
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

// TestInitPublic: what is known to be a mirror of a public registry has the others
// beside it.
func TestInitPublic(t *testing.T) {
	root := lay(t, map[string]string{
		"etc/pip.conf": "[global]\nindex-url = https://pypi.tuna.tsinghua.edu.cn/simple\n",
		"root/.npmrc":  "registry=https://registry.npmmirror.com.example.org/\n",
	})
	var out, stderr strings.Builder
	require.Equal(t, exitOK, run([]string{"init", "--root", root, "--output", "-"}, &out, &stderr), stderr.String())
	assert.Contains(t, out.String(), "\n  - server: \"https://pypi.tuna.tsinghua.edu.cn\"\n  - server: \"https://mirrors.aliyun.com/pypi\"\n")
	assert.Contains(t, out.String(), "\n  # - server: \"https://registry.npmmirror.com\"\n")
}

// FuzzInit: a machine's files may be anything; what is written can be read.
func FuzzInit(f *testing.F) {
	f.Add("deb [a=b] http://a.example.org/debian x y\nURIs: http://b.example.org/x\nTypes: deb\nbaseurl=https://c.example.org/$x\nregistry=http://d.example.org\nServer = http://e/$repo\n")
	f.Add(`{"registry-mirrors": ["https://docker.example.org/é"]}`)
	f.Add("repositories:\n- name: ü\n  url: http://c.example.org/x\n:sources:\n- http://g.example.org\nCRAN='http://r.example.org'\n{rebar_packages_cdn, \"http://h.example.org\"}.\n[remote \"x y\"]\nurl=http://f.example.org\n")
	f.Add(`{"repositories": [{"type": "composer", "url": "https://c.example.org"}]}`)
	f.Add(`<configuration><packageSources><add value="https://n.example.org/v3/index.json"/></packageSources></configuration>`)
	f.Fuzz(func(t *testing.T, text string) {
		var all []origin
		for kind, read := range map[cacheproxy.HubType]func([]byte, string) []origin{
			"composer": readComposer, "rubygems": readGemrc, "helm": readHelm, "conda": readCondarc, "nuget": readNuGetConfig, "cran": readRprofile, "terraform": readTerraformrc, "hex": readRebar, "flatpak": readFlatpak,
			"apt": readAptList, "rpm": readRepos, "apk": readPlain, "pacman": readMirrorlist, "pypi": readPip, "npm": readNpmrc, "go": readGoEnv, "cargo": readCargoConfig, "maven": readMavenSettings, "oci": readDaemon,
		} {
			for _, o := range read([]byte(text), "x.repo") {
				o.kind, o.from = kind, "x"
				all = append(all, o)
			}
		}
		readAptSources([]byte(text), "x")
		readBundle([]byte(text), "x")
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

func TestFromEnvironment(t *testing.T) {
	said := map[string]string{"GOPROXY": "https://go.example.org,direct", "HEX_MIRROR": "https://hex.example.org", "PUB_HOSTED_URL": "https://pub.example.org"}
	var got []string
	for _, o := range fromEnvironment(func(name string) string { return said[name] }) {
		got = append(got, string(o.kind)+" "+o.url+" "+o.from)
	}
	assert.Equal(t, []string{"go https://go.example.org GOPROXY", "hex https://hex.example.org HEX_MIRROR", "pub https://pub.example.org PUB_HOSTED_URL"}, got)
}
