package cacheproxy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// must parses text, which is without fault.
func must(t testing.TB, text string) (*Config, []Warning) {
	t.Helper()
	c, warnings, err := parse("config.yaml", []byte(text))
	require.NoError(t, err)
	return c, warnings
}

func TestLoadOriginal(t *testing.T) {
	c, warnings, err := Load("testdata/original.yaml")
	require.NoError(t, err)
	assert.Empty(t, warnings)
	assert.Len(t, c.Upstream, 22)
	assert.Len(t, c.Cache.Policies, 7)
	assert.Equal(t, Size(31457280), c.Misc.FirstChunkBytes)
	assert.Equal(t, Never, c.Cache.Policies[0].RefreshAfter)
	assert.Equal(t, Duration(24*time.Hour), c.Cache.Policies[6].RefreshAfter)
	assert.Equal(t, "X-Accel-Path", c.Storage.Local.Accel.EnableByHeader)

	octets := c.Upstream[2].Checkers
	require.Len(t, octets, 1, "a mapping is a list of one (T01)")
	assert.Equal(t, []int{200}, octets[0].StatusCodes)
	assert.Equal(t, "application/octet-stream", octets[0].Headers[0].Match.String())
	chaotic := c.Upstream[20]
	assert.True(t, chaotic.AllowedRedirect.MatchString("https://builds.example.org/x/chaotic-aur/y"))
	assert.False(t, chaotic.Checkers[0].Headers[0].Match.IsSet())
	assert.Equal(t, 10, c.Upstream[21].PriorityGroups[0].Priority)
	assert.Equal(t, []Checker{{StatusCodes: []int{200}}}, c.Upstream[0].Checkers)
}

func TestLoadMissing(t *testing.T) {
	_, _, err := Load("/nowhere/none.yaml")
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "/nowhere/none.yaml")
}

func TestEmptyIsDefault(t *testing.T) {
	for _, text := range []string{
		"", "# nothing\n", "---\n", "~", "{}",
		"upstream:\ncache:\nmisc:\nstorage:\nlimits:\nlog:\nrace:\nsentry:\nadmin:\nlisten:\n",
		"storage: {local: }", "storage: {type: local, local: {path: , accel: , max-size: ~}}",
	} {
		c, warnings := must(t, text)
		c.file, c.lines = "", nil
		assert.Equal(t, defaults(), c, text)
		assert.Len(t, warnings, 1, "no upstream")
	}
	c, _ := must(t, "storage: {local: {path: /t}}")
	want := defaults()
	want.Storage.Local.Path = "/t"
	c.file, c.lines = "", nil
	assert.Equal(t, want, c, "a section in part keeps the other defaults (M025)")
}

func TestReference(t *testing.T) {
	c := Default()
	assert.NotEmpty(t, c.Upstream)
	assert.NotEmpty(t, c.Cache.Policies)
	c.Upstream, c.Cache.Policies = nil, nil
	c.AllowedUpstreams, c.TrustedProxies, c.Hubs = nil, nil, nil
	c.TLS.Listen, c.TLS.ACME.Hosts, c.Admin.Hosts, c.Forward.Connect = nil, nil, nil, nil
	c.file, c.lines = "", nil
	assert.Equal(t, defaults(), c, "config.yaml says what the defaults are")

	text := string(reference)
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if _, scalar := reflect.New(typ).Interface().(setter); scalar || typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			name, _ := tag(typ.Field(i))
			if name == "" {
				continue
			}
			assert.Regexp(t, `(?m)(^|[\s#{,-])`+regexp.QuoteMeta(name)+`:(\s|$)`, text, "%v.%s", typ, name)
			walk(typ.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[Config]())
}

// TestReferenceWithComments loads the reference with its commented-out keys in force.
func TestReferenceWithComments(t *testing.T) {
	text := regexp.MustCompile(`(?m)^  # ([a-z-]+: )`).ReplaceAllString(string(reference), "  $1")
	c, _ := must(t, text)
	want := Default()
	require.NotEqual(t, string(reference), text)
	for _, u := range c.Upstream {
		if len(u.Headers) == 0 {
			u.Headers = nil
		}
	}
	c.Upstream[0].Headers = nil
	c.lines, want.lines = nil, nil
	assert.Equal(t, want, c)
}

// TestReferenceHub loads the reference with its example of a hub in force.
func TestReferenceHub(t *testing.T) {
	before, example, ok := strings.Cut(string(reference), "\nhubs: []\n\n")
	require.True(t, ok)
	example, _, ok = strings.Cut(example, "\n#\n")
	require.True(t, ok)
	text := before + "\n" + regexp.MustCompile(`(?m)^# `).ReplaceAllString(example, "")
	c, _ := must(t, text)
	want := Hub{Name: "releases", Path: "/releases", Hosts: []string{"releases.example.org"}}
	want.setDefaults(c)
	want.Upstream, want.Rollout = c.Hubs[0].Upstream, RolloutLegacyOnly
	want.Cache.Timeout, want.Race.Mode = Duration(10*time.Minute), RaceOrdered
	want.Options.Absent = []int{}
	assert.Equal(t, []Hub{want}, c.Hubs)
}

// TestReferenceOptions: the reference says of every option which types have it.
func TestReferenceOptions(t *testing.T) {
	_, list, ok := strings.Cut(string(reference), "\n#   options:\n")
	require.True(t, ok)
	said := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#     ([a-z-]+): .*?# (?:([a-z, ]+): )?`).FindAllStringSubmatch(list, -1) {
		said[m[1]] = strings.ReplaceAll(m[2], " ", "")
	}
	want := map[string]string{}
	for i := range reflect.TypeFor[HubOptions]().NumField() {
		f := reflect.TypeFor[HubOptions]().Field(i)
		name, _ := tag(f)
		want[name] = f.Tag.Get("hub")
	}
	assert.Equal(t, want, said)
}

// asked are the URLs that a path is asked for, in the order of the mirrors.
func asked(c *Config, path string) []string {
	var all []string
	for _, u := range c.Upstream {
		if m := u.Path.Match.FindStringSubmatchIndex(path); m != nil {
			mapped := u.Path.Match.ExpandString(nil, u.Path.Replace, path, m)
			all = append(all, strings.TrimSuffix(u.Server.String(), "/")+"/"+strings.TrimPrefix(string(mapped), "/"))
		}
	}
	return all
}

func TestReferenceMapsPaths(t *testing.T) {
	const aliyun, tencent, ustc, tuna = "https://mirrors.aliyun.com", "https://mirrors.tencent.com", "https://mirrors.ustc.edu.cn", "https://mirrors.tuna.tsinghua.edu.cn"
	every := []string{aliyun, tencent, ustc, tuna}
	c := Default()
	for prefix, mirrors := range map[string][]string{
		"debian": every, "debian-security": every, "ubuntu": every, "ubuntu-ports": every, "ubuntu-releases": every,
		"kali": every, "docker-ce": every, "alpine": every, "archlinux": every, "archlinuxcn": every,
		"centos": every, "centos-vault": every, "fedora": every, "epel": every, "gnu": every,
		"manjaro": {aliyun, ustc, tuna}, "msys2": {aliyun, ustc, tuna}, "almalinux": {aliyun, ustc, tuna},
		"centos-stream": {aliyun, ustc, tuna}, "rpmfusion": {aliyun, ustc, tuna},
		"elrepo": {aliyun, tuna}, "remi": {aliyun, tuna}, "tailscale": {ustc},
		"rocky":       {aliyun + "/rockylinux/x/y.rpm", tencent, ustc},
		"rust-static": {aliyun + "/rustup/x/y.rpm", ustc, tuna + "/rustup/x/y.rpm"},
		"chaotic-aur": {"https://cdn-mirror.chaotic.cx", "https://geo-mirror.chaotic.cx"},
	} {
		path := "/" + prefix + "/x/y.rpm"
		var want []string
		for _, m := range mirrors {
			if !strings.HasSuffix(m, "/x/y.rpm") {
				m += path
			}
			want = append(want, m)
		}
		assert.Equal(t, want, asked(c, path), prefix)
		assert.Empty(t, asked(c, "/other"+path), "anchored (T23)")
		assert.Empty(t, asked(c, "/"+prefix+"-other/x"), prefix)
	}
	for _, path := range []string{"simple/left-pad/", "packages/ab/cd/left_pad-1.0-py3-none-any.whl"} {
		assert.Equal(t, []string{aliyun + "/pypi/" + path, tencent + "/pypi/" + path, tuna + "/pypi/web/" + path}, asked(c, "/pypi/"+path))
	}
	assert.Empty(t, asked(c, "/"))
}

func TestReferencePolicies(t *testing.T) {
	c := Default()
	for path, want := range map[string]Duration{
		"/debian/pool/main/a/apt/apt_2.6_amd64.deb":                  Never,
		"/debian/dists/bookworm/InRelease":                           Duration(time.Minute),
		"/debian/dists/bookworm/main/by-hash/SHA256/0123abc":         Never,
		"/debian-security/dists/bookworm-security/InRelease":         Duration(time.Minute),
		"/debian-security/README":                                    Duration(time.Hour),
		"/chaotic-aur/x86_64/foo-1-1-x86_64.pkg.tar.zst":             Never, // T25
		"/chaotic-aur/x86_64/foo-1-1-x86_64.pkg.tar.zst.sig":         Never,
		"/archlinux/core/os/x86_64/core.db":                          Duration(time.Minute),
		"/archlinux/core/os/x86_64/core.db.tar.gz":                   Duration(time.Minute),
		"/archlinux/extra/os/x86_64/extra.files.tar.gz.sig":          Duration(time.Minute),
		"/alpine/v3.20/main/x86_64/APKINDEX.tar.gz":                  Duration(time.Minute),
		"/alpine/v3.20/main/x86_64/musl-1.2.5-r0.apk":                Never,
		"/fedora/repodata/repomd.xml":                                Duration(time.Minute),
		"/fedora/repodata/" + strings.Repeat("0a", 32) + "-p.xml.gz": Never,
		"/pypi/simple/left-pad/":                                     Duration(time.Hour),
		"/pypi/packages/ab/left_pad.whl":                             Never,
		"/rust-static/dist/2024-05-02/rustc.tar.xz":                  Never,
		"/rust-static/dist/channel-rust-stable.toml":                 Duration(time.Hour),
	} {
		got := c.Cache.Timeout
		for _, p := range c.Cache.Policies {
			if p.Match.MatchString(path) {
				got = p.RefreshAfter
				break
			}
		}
		assert.Equal(t, want, got, path)
	}
}

func TestOldNames(t *testing.T) {
	c, warnings := must(t, `upstream:
- server: https://mirrors.example.org
  match: /debian/(.*)
  replace: /$1
storage:
  accel:
    enable-by-header: X-Accel-Path
    response-with-headers: [X-Sendfile]
  local:
`)
	assert.Equal(t, "/debian/(.*)", c.Upstream[0].Path.Match.String())
	assert.Equal(t, "/$1", c.Upstream[0].Path.Replace)
	assert.Equal(t, "X-Accel-Path", c.Storage.Local.Accel.EnableByHeader)
	assert.Equal(t, []string{"X-Sendfile"}, c.Storage.Local.Accel.RespondWithHeaders)
	var text []string
	for _, w := range warnings {
		text = append(text, w.String())
	}
	assert.Equal(t, []string{
		"config.yaml:3: upstream[0].match: old name of upstream[0].path.match",
		"config.yaml:4: upstream[0].replace: old name of upstream[0].path.replace",
		"config.yaml:6: storage.accel: old name of storage.local.accel",
		"config.yaml:8: storage.local.accel.response-with-headers: old name of storage.local.accel.respond-with-headers",
	}, text)
}

func TestUpstream(t *testing.T) {
	t.Setenv("MIRROR", "mirrors.example.org")
	t.Setenv("EMPTY", "")
	secret := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(secret, []byte("hunter2\n"), 0o600))
	c, warnings := must(t, fmt.Sprintf(`
upstream:
- &first
  server: https://me:pass%%20word@${MIRROR}/base/
  path: {match: '^/(?P<name>\w+)/(.*)', replace: '/${name}/${2}/${EMPTY:-x}'}
- server: 'http://${MIRROR:-other.example.org}:8080'
  token: {file: %s}
  headers: {x-extra: a}
- <<: *first
  priority-groups: [{match: /dists/, priority: -1}]
`, secret))
	assert.Empty(t, warnings)
	first := c.Upstream[0]
	assert.Equal(t, "https://mirrors.example.org/base/", first.Server.URL.String())
	assert.Equal(t, "me", first.Username)
	assert.Equal(t, "pass word", first.Password.Value())
	assert.Equal(t, "/${name}/${2}/x", first.Path.Replace)
	assert.Equal(t, 64, first.MaxConnections)
	assert.Equal(t, "http://mirrors.example.org:8080", c.Upstream[1].Server.String())
	assert.Equal(t, "hunter2", c.Upstream[1].Token.Value())
	assert.Equal(t, "a", c.Upstream[1].Headers["X-Extra"].Value())
	assert.Equal(t, -1, c.Upstream[2].PriorityGroups[0].Priority)
	assert.Equal(t, first.Server, c.Upstream[2].Server)

	_, warnings = must(t, `upstream: [{server: https://mirrors.example.org, path: {match: '/(.*)', replace: '/$1x'}}, {server: https://b.example.org, path: {match: /x, replace: ''}}]`)
	require.Len(t, warnings, 2)
	assert.Equal(t, "config.yaml:1: upstream[0].path.replace: match has no group 1x, so $1x is empty; ${1}x is group 1 and an x", warnings[0].String())
	assert.Equal(t, "config.yaml:1: upstream[1].path: match or replace is empty, so that every path is asked for, unchanged", warnings[1].String())
}

func TestSecretsAreNotShown(t *testing.T) {
	c, _ := must(t, `
upstream:
- server: https://me:hunter2@mirrors.example.org
  headers: {X-Key: hunter2}
  proxy: socks5://me:hunter2@127.0.0.1:1080
- {server: https://mirrors.example.org, token: hunter2}
sentry: {dsn: 'https://hunter2@sentry.example.org/1'}
`)
	var out bytes.Buffer
	require.NoError(t, c.WriteYAML(&out))
	all := out.String() + fmt.Sprintf("%v %+v %#v", c, c, c.Upstream)
	j, err := yaml.Marshal(c.Upstream[1].Token)
	require.NoError(t, err)
	assert.NotContains(t, all+string(j), "hunter2")
	assert.Contains(t, out.String(), "first-chunk-bytes: 52428800 # 50MiB")
}

// TestWriteYAML: what is written, apart from secrets, is read as the same again.
func TestWriteYAML(t *testing.T) {
	for name, c := range map[string]*Config{"default": Default(), "empty": defaults()} {
		var out bytes.Buffer
		require.NoError(t, c.WriteYAML(&out))
		again, _ := must(t, out.String())
		var twice bytes.Buffer
		require.NoError(t, again.WriteYAML(&twice))
		assert.Equal(t, out.String(), twice.String(), name)
	}
}
