package cacheproxy

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withTypes lets the configuration name types that there is no module for yet.
func withTypes(t *testing.T, types ...HubType) {
	t.Helper()
	for _, name := range types {
		if _, ok := hubs[name]; !ok {
			hubs[name] = module{new: newFiles}
			t.Cleanup(func() { delete(hubs, name) })
		}
	}
}

func TestHubProblems(t *testing.T) {
	withTypes(t, "apt", "rpm", "go", "oci")
	const mirror = "upstream: [{" + server + "}]"
	for _, c := range []struct{ name, text, want string }{
		{"no name", "hubs: [{path: /x}]", "config.yaml:1: hubs[0].name: required"},
		{"empty name", "hubs:\n- path: /x\n  name: ''", "config.yaml:3: hubs[0].name: required"},
		{"name with a path", "hubs: [{name: ../x}]", `config.yaml:1: hubs[0].name: "../x" is no name: at most 64 of a-z 0-9 . _ -, a letter or digit first`},
		{"name with capitals", "hubs: [{name: NPM}]", `config.yaml:1: hubs[0].name: "NPM" is no name: at most 64 of a-z 0-9 . _ -, a letter or digit first`},
		{"hidden name", "hubs: [{name: .temp}]", `config.yaml:1: hubs[0].name: ".temp" is no name: at most 64 of a-z 0-9 . _ -, a letter or digit first`},
		{"default", "hubs: [{name: default}]", `config.yaml:1: hubs[0].name: "default" is the hub of the section upstream`},
		{"reserved", "hubs: [{name: debug, path: /d}]", `config.yaml:1: hubs[0].name: "debug" is reserved`},
		{"same name", "hubs:\n- name: npm\n- name: npm\n  path: /y", "config.yaml:3: hubs[1].name: npm is hubs[0] already"},
		{"same path", "hubs:\n- name: npm\n- name: y\n  path: /npm/", "config.yaml:4: hubs[1].path: /npm is hubs[0] already"},
		{"same host", "hubs:\n- {name: a, hosts: [x.example.org]}\n- {name: b, hosts: [y.example.org, X.Example.Org.]}", "config.yaml:3: hubs[1].hosts[1]: x.example.org is hubs[0] already"},
		{"host twice", "hubs: [{name: a, hosts: [x, x]}]", "config.yaml:1: hubs[0].hosts[1]: x is hubs[0] already"},
		{"host with scheme", "hubs: [{name: a, hosts: ['http://x']}]", `config.yaml:1: hubs[0].hosts[0]: "http://x" is no name of a host such as pypi.example.org`},
		{"host with space", "hubs: [{name: a, hosts: 'x y'}]", `config.yaml:1: hubs[0].hosts: "x y" is no name of a host such as pypi.example.org`},
		{"host with slash", "hubs: [{name: a, hosts: [x/y]}]", `config.yaml:1: hubs[0].hosts[0]: "x/y" is no name of a host such as pypi.example.org`},
		{"host with port", "hubs: [{name: a, hosts: ['x:80']}]", `config.yaml:1: hubs[0].hosts[0]: "x:80" has a port, which makes no difference to hubs`},
		{"port", "hubs: [{name: a, port: 80}]", "config.yaml:1: hubs[0].port: unknown key; hubs share the addresses of listen, and differ by path and hosts"},
		{"path of the root", "hubs: [{name: a, path: /}]", "config.yaml:1: hubs[0].path: a hub cannot be mounted at /, which is the hub of the section upstream; give it hosts instead"},
		{"own path", "hubs: [{name: a, path: /-/a}]", "config.yaml:1: hubs[0].path: /-/a is below /-/, which is the proxy's own"},
		{"all of the own paths", "hubs: [{name: a, path: /-/}]", "config.yaml:1: hubs[0].path: /- is below /-/, which is the proxy's own"},
		{"path of the profiler", "hubs: [{name: a, path: /debug/pprof}]", "config.yaml:1: hubs[0].path: /debug/pprof is below /debug/, which is reserved"},
		{"relative path", "hubs: [{name: a, path: a}]", `config.yaml:1: hubs[0].path: "a" is no path of plain segments such as /pypi`},
		{"climbing path", "hubs: [{name: a, path: /a/../b}]", `config.yaml:1: hubs[0].path: "/a/../b" is no path of plain segments such as /pypi`},
		{"escaped path", "hubs: [{name: a, path: /a%20b}]", `config.yaml:1: hubs[0].path: "/a%20b" is no path of plain segments such as /pypi`},
		{"doubled slash", "hubs: [{name: a, path: /a//b}]", `config.yaml:1: hubs[0].path: "/a//b" is no path of plain segments such as /pypi`},
		{"collision", mirror + "\nhubs:\n- name: npm\n  path: /registry", "config.yaml:4: hubs[0].path: the section upstream has mirrors, and may store /npm/… where hub npm stores its files; leave path at /npm, or move those mirrors to a hub of their own"},
		{"unknown type", "hubs: [{name: a, type: pipy}]", `config.yaml:1: hubs[0].type: "pipy" is none of ` + known()},
		{"rollout", "hubs: [{name: a, rollout: beta}]", `config.yaml:1: hubs[0].rollout: "beta" is none of modular, dual or legacy-only`},
		{"upstream", "hubs: [{name: a, upstream: [{server: 'ftp://x'}]}]", `config.yaml:1: hubs[0].upstream[0].server: scheme "ftp" is neither http nor https`},
		{"password alone", "hubs: [{name: a, upstream: [{" + server + ", password: hunter2}]}]", "config.yaml:1: hubs[0].upstream[0].password: without username"},
		{"cache", "hubs: [{name: a, cache: {timeout: soon}}]", `config.yaml:1: hubs[0].cache.timeout: "soon" is no duration such as 90s, 10m, 24h, 7d or never`},
		{"race", "hubs: [{name: a, race: {mode: x}}]", `config.yaml:1: hubs[0].race.mode: "x" is none of adaptive, all or ordered`},
		{"unknown option", "hubs: [{name: a, options: {learn-files-too: true}}]", "config.yaml:1: hubs[0].options.learn-files-too: unknown key"},
		{"hosts to learn of a type without links", "hubs: [{name: a, type: apt, options: {learn-files: true}}]", "config.yaml:1: hubs[0].options.learn-files: hubs of type apt have no such option, only those of type pypi, npm, cargo, composer, helm, conda, nuget, pub, terraform do"},
		{"option of another type", "hubs:\n- name: a\n  options:\n    sumdb: [sum.example.org]", "config.yaml:4: hubs[0].options.sumdb: hubs of type files have no such option, only those of type go do"},
		{"second hosts of a type without links", "hubs: [{name: a, options: {files: {x: 'https://x'}}}]", "config.yaml:1: hubs[0].options.files: hubs of type files have no such option, only those of type pypi, npm, cargo, composer, helm, conda, nuget, pub, terraform do"},
		{"query of a type that knows it", "hubs: [{name: a, type: apt, options: {ignore-query: true}}]", "config.yaml:1: hubs[0].options.ignore-query: hubs of type apt have no such option, only those of type files do"},
		{"hold without parts", "hubs: [{name: a, type: apk, options: {hold: 1m}}]", "config.yaml:1: hubs[0].options.hold: hubs of type apk have no such option, only those of type apt, rpm, pacman, flatpak do"},
		{"hold for nothing", "hubs: [{name: a, type: apt, options: {hold: 0s}}]", "config.yaml:1: hubs[0].options.hold: 0s is no time to wait"},
		{"alias", "hubs: [{name: a, type: npm, options: {files: {A/B: 'https://x'}}}]", `config.yaml:1: hubs[0].options.files."A/B": "A/B" is no alias: at most 64 of a-z 0-9 . _ -, a letter or digit first`},
		{"second host", "hubs: [{name: a, type: npm, options: {files: {x: 'file:///etc'}}}]", `config.yaml:1: hubs[0].options.files.x: "file:///etc" has no host`},
		{"second host of nothing", "hubs: [{name: a, type: npm, options: {files: {x: }}}]", "config.yaml:1: hubs[0].options.files.x: required"},
		{"second host's scheme", "hubs: [{name: a, type: npm, options: {files: {x: 'ftp://x'}}}]", `config.yaml:1: hubs[0].options.files.x: scheme "ftp" is neither http nor https`},
		{"second host's password", "hubs: [{name: a, type: npm, options: {files: {x: 'https://me:hunter2@x'}}}]", `config.yaml:1: hubs[0].options.files.x: has credentials; a second host gets none`},
		{"absent", "hubs: [{name: a, options: {absent: [404, 500]}}]", "config.yaml:1: hubs[0].options.absent[1]: 500 is no status code from 400 to 499"},
		{"expired", "hubs: [{name: a, type: apt, options: {expired: drop}}]", `config.yaml:1: hubs[0].options.expired: "drop" is unknown, only serve is known`},
		{"metalink", "hubs: [{name: a, type: rpm, options: {metalink: no}}]", `config.yaml:1: hubs[0].options.metalink: "no" is none of proxy or pass`},
		{"verify by nothing", "hubs: [{name: a, type: go, options: {verify: sumdb}}]", "config.yaml:1: hubs[0].options.verify: there is no sumdb to verify by"},
		{"sumdb without name", "hubs: [{name: a, type: go, options: {sumdb: [{url: 'https://x'}]}}]", "config.yaml:1: hubs[0].options.sumdb[0].name: required"},
		{"sumdb's name", "hubs: [{name: a, type: go, options: {sumdb: ['https://x']}}]", `config.yaml:1: hubs[0].options.sumdb[0]: "https://x" is no name such as sum.example.org`},
		{"sumdb twice", "hubs: [{name: a, type: go, options: {sumdb: [x, x]}}]", "config.yaml:1: hubs[0].options.sumdb[1]: x is listed twice"},
		{"pattern", "hubs: [{name: a, type: go, options: {private: ['[']}}]", `config.yaml:1: hubs[0].options.private[0]: "[" is no pattern such as example.org/private or *.corp.example.org`},
		{"direct", "hubs: [{name: a, type: go, upstream: [{server: direct}]}]", `config.yaml:1: hubs[0].upstream[0].server: "direct" is no absolute URL such as https://mirrors.example.org/base/; version control is not run here, but clients may: GOPROXY=http://HOST/a,direct`},
		{"direct elsewhere", "hubs: [{name: a, type: npm, upstream: [{server: direct}]}]", `config.yaml:1: hubs[0].upstream[0].server: "direct" is no absolute URL such as https://mirrors.example.org/base/`},
		{"two defaults", "hubs: [{name: a, type: oci, options: {default: true}}, {name: b, type: oci, options: {default: true}}]", "config.yaml:1: hubs[1].options.default: hubs[0] is the default already"},
		{"registry twice", "hubs: [{name: a, type: oci, options: {ns: x}}, {name: b, type: oci, options: {ns: [x]}}]", "config.yaml:1: hubs[1].options.ns[0]: x is hubs[0] already"},
		{"public url", "public-url: ftp://x", `config.yaml:1: public-url: scheme "ftp" is neither http nor https`},
		{"public password", "public-url: https://me:hunter2@x", "config.yaml:1: public-url: has credentials, which every client would see"},
		{"trusted proxies", "trusted-proxies: [x]", `config.yaml:1: trusted-proxies[0]: "x" is no CIDR such as 10.0.0.0/8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parse("config.yaml", []byte(c.text))
			require.Error(t, err)
			assert.Equal(t, c.want, err.Error())
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// known are the types as an error lists them.
func known() string {
	var z HubType
	_, list, _ := bytes.Cut([]byte(z.set("?").Error()), []byte("none of "))
	return string(list)
}

// TestHubsInherit: sections of a hub override the whole's key by key, wherever it stands.
func TestHubsInherit(t *testing.T) {
	c, warnings := must(t, `
hubs:
- {name: a, upstream: [{`+server+`}]}
- name: b
  path: /deep/b/
  hosts: B.Example.Org.
  cache: {timeout: 1s, stale-if-error: }
  race: {mode: all}
  upstream: [{`+server+`}]
- name: c
  cache: {policies: [{match: x, refresh-after: never}]}
cache: {timeout: 2h, negative: 5s, policies: [{match: y, refresh-after: 1h}]}
race: {mode: ordered}
`)
	require.Len(t, warnings, 1)
	assert.Equal(t, "config.yaml:10: hubs[2].upstream: no upstream: nothing can be fetched", warnings[0].String())
	a, b, third := c.Hubs[0], c.Hubs[1], c.Hubs[2]
	assert.Equal(t, c.Cache, a.Cache)
	assert.Equal(t, RaceOrdered, a.Race.Mode)
	assert.Equal(t, "/a", a.Path)
	assert.Equal(t, HubFiles, a.Type)
	assert.Equal(t, RolloutLegacyOnly, a.Rollout, "files is what the others fall back to")

	assert.Equal(t, "/deep/b", b.Path)
	assert.Equal(t, []string{"b.example.org"}, b.Hosts)
	assert.Equal(t, Duration(time.Second), b.Cache.Timeout)
	assert.Equal(t, Never, b.Cache.StaleIfError)
	assert.Equal(t, Duration(5*time.Second), b.Cache.Negative)
	assert.Equal(t, c.Cache.Policies, b.Cache.Policies)
	assert.Equal(t, RaceAll, b.Race.Mode)

	assert.Equal(t, "x", third.Cache.Policies[0].Match.String())
	assert.Equal(t, "y", c.Cache.Policies[0].Match.String())
	assert.Equal(t, Duration(2*time.Hour), third.Cache.Timeout)

	assert.Len(t, c.Served(), 3, "no default hub without its upstreams")
	c, _ = must(t, "upstream: [{"+server+"}]\nhubs: [{name: a}]")
	assert.Equal(t, "default", c.Served()[0].Name)
	c, _ = must(t, "")
	assert.Len(t, c.Served(), 1, "nothing but what is stored")
}

func TestRollouts(t *testing.T) {
	withTypes(t, "apt")
	for _, test := range []struct {
		text    string
		rollout Rollout
		module  HubType
	}{
		{"", RolloutLegacyOnly, HubFiles},
		{"rollout: modular", RolloutLegacyOnly, HubFiles},
		{"type: apt", RolloutModular, "apt"},
		{"type: apt, rollout: ", RolloutModular, "apt"},
		{"type: apt, rollout: dual", RolloutDual, "apt"},
		{"type: apt, rollout: legacy-only", RolloutLegacyOnly, HubFiles},
	} {
		c, _ := must(t, "hubs: [{name: a, "+test.text+"}]")
		assert.Equal(t, test.rollout, c.Hubs[0].Rollout, test.text)
		assert.Equal(t, test.module, c.Hubs[0].Module(), test.text)
	}
}

func TestHubOptions(t *testing.T) {
	withTypes(t, "apt", "rpm", "go", "oci")
	text := `
public-url: https://proxy.example.org/cache/
trusted-proxies: [10.0.0.0/8]
hubs:
- {name: a, type: apt, options: {expired: serve, hold: 1m}}
- {name: r, type: rpm}
- {name: r2, type: rpm, options: {metalink: pass}}
- {name: g, type: go, options: {verify: sumdb, private: corp.example.org/*, sumdb: [sum.example.org, {name: other, url: 'https://m.example.org/other'}]}}
- {name: o, type: oci, options: {ns: [docker.example.org, 'r.example.org:5000'], default: true, library: true, auth-hosts: Auth.example.org}}
- {name: n, type: npm, options: {learn-files: true, files: {f: 'https://f.example.org/x/'}}}
- {name: f, options: {ignore-query: true, absent: [403]}}
- {name: c, type: cran, options: {by-user-agent: true}}
- {name: t, type: terraform, options: {hosts: Registry.example.org}}
`
	c, _ := must(t, text)
	assert.Equal(t, "https://proxy.example.org/cache", c.PublicURL.String())
	assert.Equal(t, ExpiredServe, c.Hubs[0].Options.Expired)
	assert.Equal(t, "https://f.example.org/x/", c.Hubs[5].Options.Files["f"].String())
	assert.Equal(t, time.Minute, time.Duration(c.Hubs[0].Options.Hold))
	assert.Equal(t, 10*time.Minute, time.Duration(c.Hubs[1].Options.Hold))
	assert.Zero(t, c.Hubs[3].Options.Hold)
	assert.Equal(t, MetalinkProxy, c.Hubs[1].Options.Metalink)
	assert.Equal(t, MetalinkPass, c.Hubs[2].Options.Metalink)
	assert.Equal(t, "https://sum.example.org", c.Hubs[3].Options.Sumdb[0].URL.String())
	assert.Equal(t, "https://m.example.org/other", c.Hubs[3].Options.Sumdb[1].URL.String())
	assert.Equal(t, []string{"docker.example.org", "r.example.org:5000"}, c.Hubs[4].Options.NS)
	assert.Equal(t, []string{"auth.example.org"}, c.Hubs[4].Options.AuthHosts)
	assert.True(t, c.Hubs[4].Options.Library)
	assert.True(t, c.Hubs[5].Options.LearnFiles)
	assert.True(t, c.Hubs[7].Options.ByUserAgent)
	assert.Equal(t, []string{"registry.example.org"}, c.Hubs[8].Options.Hosts)

	var out, twice bytes.Buffer
	require.NoError(t, c.WriteYAML(&out))
	again, _ := must(t, out.String())
	require.NoError(t, again.WriteYAML(&twice))
	assert.Equal(t, out.String(), twice.String())
	assert.Equal(t, c.Hubs[3].Options.Sumdb, again.Hubs[3].Options.Sumdb)
}
