package cacheproxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const server = "server: https://mirrors.example.org"

func TestProblems(t *testing.T) { // B45
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "a: [", "config.yaml:1: did not find expected node content"},
		{"tab", "upstream:\n\t- x", "config.yaml:2: found character that cannot start any token"},
		{"not a mapping", "- a", "config.yaml:1: want a mapping, have a list"},
		{"second document", "misc: {}\n---\nmisc: {}", "config.yaml:2: a second document; only one is read"},
		{"unknown key", "cahce: {}", "config.yaml:1: cahce: unknown key; did you mean cache?"},
		{"underscores", "misc:\n  chunk_bytes: 1", "config.yaml:2: misc.chunk_bytes: unknown key; did you mean chunk-bytes?"},
		{"unknown below", "upstream:\n- " + server + "\n  min-content-type: x", "config.yaml:3: upstream[0].min-content-type: unknown key"},
		{"odd key", "\"a b\\n\": 1", `config.yaml:1: "a b\n": unknown key`},
		{"key that is a list", "[a]: 1", "config.yaml:1: a key that is a list"},
		{"duplicate", "misc: {}\ncache: {}\nmisc: {}", "config.yaml:3: misc: set twice, first in line 1"},
		{"duplicate below", "misc:\n  chunk-bytes: 1\n  chunk-bytes: 2", "config.yaml:3: misc.chunk-bytes: set twice, first in line 2"},
		{"old and new name", "upstream:\n- " + server + "\n  match: a\n  path: {match: b, replace: c}", "config.yaml:4: upstream[0].path.match: set twice, first in line 3"},
		{"no server", "upstream:\n- path: {match: x, replace: y}", "config.yaml:2: upstream[0].server: required"},
		{"empty server", "upstream:\n- path: {match: x, replace: y}\n  server: ''", "config.yaml:3: upstream[0].server: required"},
		{"null upstream", "upstream:\n-\n", "config.yaml:2: upstream[0]: empty"},
		{"upstream is no list", "upstream: x", `config.yaml:1: upstream: want a list, have "x"`},
		{"no scheme", "upstream: [{server: mirrors.example.org/x}]", `config.yaml:1: upstream[0].server: "mirrors.example.org/x" is no absolute URL such as https://mirrors.example.org/base/`},
		{"no host", "upstream: [{server: 'https:///x'}]", `config.yaml:1: upstream[0].server: "https:///x" has no host`},
		{"bad port", "upstream: [{server: 'https://me:hunter2@x:y'}]", `config.yaml:1: upstream[0].server: no URL: invalid port ":y" after host`},
		{"scheme", "upstream: [{server: 'ftp://mirrors.example.org'}]", `config.yaml:1: upstream[0].server: scheme "ftp" is neither http nor https`},
		{"query", "upstream: [{server: 'https://mirrors.example.org?x'}]", `config.yaml:1: upstream[0].server: "https://mirrors.example.org?x" has a query or fragment`},
		{"regexp", "upstream:\n- " + server + "\n  path:\n    match: '('\n    replace: x", "config.yaml:4: upstream[0].path.match: missing closing ): `(`"},
		{"lookahead", "cache: {policies: [{match: '(?!x)', refresh-after: 1h}]}", "config.yaml:1: cache.policies[0].match: invalid or unsupported Perl syntax: `(?!`"},
		{"policy without time", "cache: {policies: [{match: x}]}", "config.yaml:1: cache.policies[0].refresh-after: required"},
		{"policy with null time", "cache: {policies: [{match: x, refresh-after: }]}", "config.yaml:1: cache.policies[0].refresh-after: required"},
		{"duration", "cache: {timeout: 1 fortnight}", `config.yaml:1: cache.timeout: "1 fortnight" is no duration such as 90s, 10m, 24h, 7d or never`},
		{"negative duration", "cache: {timeout: -1h}", `config.yaml:1: cache.timeout: "-1h" is no duration such as 90s, 10m, 24h, 7d or never`},
		{"size", "misc: {chunk-bytes: 1 MiB}", `config.yaml:1: misc.chunk-bytes: "1 MiB" is no size such as 52428800, 512KiB or 50GiB`},
		{"share", "misc: {chunk-bytes: 10%}", `config.yaml:1: misc.chunk-bytes: "10%" is no size such as 52428800, 512KiB or 50GiB`},
		{"large share", "storage: {local: {max-size: 110%}}", `config.yaml:1: storage.local.max-size: "110%" is no share from 0% to 100%`},
		{"nothing left", "storage: {local: {min-free: 100%}}", "config.yaml:1: storage.local.min-free: leaves nothing to store in"},
		{"zero size", "misc: {chunk-bytes: 0}", "config.yaml:1: misc.chunk-bytes: must be more than 0"},
		{"endless limit", "limits: {drain: never}", "config.yaml:1: limits.drain: must be more than 0 and end"},
		{"number", "limits: {ranges: many}", `config.yaml:1: limits.ranges: "many" is no whole number`},
		{"bool", "log: {access: yes}", `config.yaml:1: log.access: "yes" is neither true nor false`},
		{"storage", "storage: {type: s3}", `config.yaml:1: storage.type: "s3" is unknown, only local is known`},
		{"race", "race: {mode: random}", `config.yaml:1: race.mode: "random" is none of adaptive, all or ordered`},
		{"level", "log: {level: loud}", `config.yaml:1: log.level: "loud" is none of trace, debug, info, warn or error`},
		{"listen", "listen: [':8881', 'x']", `config.yaml:1: listen[1]: "x" is no host:port and no unix:/path`},
		{"listen port", "listen: ':http'", `config.yaml:1: listen: ":http" has no port from 0 to 65535`},
		{"listen twice", "listen: [':1', ':1']", "config.yaml:1: listen[1]: :1 is listed twice"},
		{"admin beyond loopback", "admin: {listen: ':8882'}", "config.yaml:1: admin.token: required, since :8882 is reached from beyond this machine"},
		{"admin at an address", "admin: {listen: '192.0.2.1:8882'}", "config.yaml:1: admin.token: required, since 192.0.2.1:8882 is reached from beyond this machine"},
		{"admin at a name", "admin: {listen: 'localhost.example.org:1'}", "config.yaml:1: admin.token: required, since localhost.example.org:1 is reached from beyond this machine"},
		{"admin without port", "admin: {listen: localhost}", `config.yaml:1: admin.listen: "localhost" is no host:port and no unix:/path`},
		{"admin on the data port", "{listen: '127.0.0.1:1', admin: {listen: '127.0.0.1:1'}}", "config.yaml:1: admin.listen: 127.0.0.1:1 is in listen too: it needs an address of its own"},
		{"admin's token", "admin: {token: 'a b'}", "config.yaml:1: admin.token: has white space in it"},
		{"admin's hosts", "admin: {hosts: [a, 'b:1']}", `config.yaml:1: admin.hosts[1]: "b:1" is no host name`},
		{"cidr", "storage: {local: {accel: {trusted: [10.0.0.1/8]}}}", `config.yaml:1: storage.local.accel.trusted[0]: "10.0.0.1/8" has bits beyond its mask; meant 10.0.0.0/8?`},
		{"host", "allowed-upstreams: ['http://x']", `config.yaml:1: allowed-upstreams[0]: "http://x" is neither a CIDR nor a host suffix such as .example.org`},
		{"status", "upstream: [{" + server + ", checkers: {status-codes: [99]}}]", "config.yaml:1: upstream[0].checkers.status-codes[0]: 99 is no status code from 200 to 599"},
		{"field", "upstream: [{" + server + ", checkers: [{headers: [{name: 'a b'}]}]}]", `config.yaml:1: upstream[0].checkers[0].headers[0].name: "a b" is no field name`},
		{"own field", "upstream: [{" + server + ", headers: {host: x}}]", "config.yaml:1: upstream[0].headers.host: Host is set by the proxy itself"},
		{"field value", "upstream: [{" + server + ", headers: {x: \"a\\r\\nb\"}}]", "config.yaml:1: upstream[0].headers.x: the value has control characters in it"},
		{"token and user", "upstream: [{" + server + ", username: a, token: b}]", "config.yaml:1: upstream[0].token: not together with username"},
		{"password alone", "upstream: [{" + server + ", password: a}]", "config.yaml:1: upstream[0].password: without username"},
		{"cert alone", "upstream: [{" + server + ", client-cert: config.go}]", "config.yaml:1: upstream[0].client-cert: client-cert and client-key need each other"},
		{"no such ca", "upstream: [{" + server + ", ca: /nowhere}]", "config.yaml:1: upstream[0].ca: stat /nowhere: no such file or directory"},
		{"proxy", "upstream: [{" + server + ", proxy: 'ftp://x'}]", `config.yaml:1: upstream[0].proxy: scheme "ftp" is none of http, https or socks5`},
		{"path in name", "storage: {local: {temporary-file-pattern: ../x.*}}", `config.yaml:1: storage.local.temporary-file-pattern: "../x.*" is no name of a file`},
		{"dsn", "sentry: {dsn: hunter2}", "config.yaml:1: sentry.dsn: no DSN such as https://KEY@sentry.example.org/1"},
		{"variable", "log: {file: '${NO_SUCH_VARIABLE}'}", "config.yaml:1: log.file: environment variable NO_SUCH_VARIABLE is not set"},
		{"variable in a template", "upstream: [{" + server + ", path: {match: x, replace: '/${NO_SUCH_VARIABLE}'}}]", "config.yaml:1: upstream[0].path.replace: environment variable NO_SUCH_VARIABLE is not set, and match has no group of that name"},
		{"secret without file", "sentry: {dsn: {flie: x}}", "config.yaml:1: sentry.dsn.flie: unknown key; did you mean file?\nconfig.yaml:1: sentry.dsn.file: required"},
		{"all at once", "misc: {chunk-bytes: x}\nfoo: 1\nlog: {level: x}", `config.yaml:1: misc.chunk-bytes: "x" is no size such as 52428800, 512KiB or 50GiB
config.yaml:2: foo: unknown key
config.yaml:3: log.level: "x" is none of trace, debug, info, warn or error`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, _, err := parse("config.yaml", []byte(c.text))
			assert.Nil(t, config)
			require.Error(t, err)
			assert.Equal(t, c.want, err.Error())
			assert.NotContains(t, err.Error(), "hunter2")
			assert.IsType(t, Problems{}, err)
		})
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, []byte(text), mode))
		require.NoError(t, os.Chmod(name, mode))
		return name
	}
	for _, c := range []struct{ name, file, want string }{
		{"readable by everyone", write("open", "x", 0o644), "is readable by everyone (mode 0644); run chmod o-r on it"},
		{"empty", write("empty", "\n", 0o600), "is empty"},
		{"missing", filepath.Join(dir, "none"), "no such file"},
		{"folder", dir, "is no regular file"},
		{"large", write("large", strings.Repeat("x", maxSecret+1), 0o600), "is larger than 64KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parse("config.yaml", []byte("upstream:\n- "+server+"\n  token: {file: "+c.file+"}\n"))
			require.ErrorContains(t, err, "config.yaml:3: upstream[0].token: ")
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestAliasesDoNotExplode(t *testing.T) {
	text := "upstream:\n- &u {" + server + ", checkers: &c [" + strings.Repeat("{status-codes: [200]},", 400) + "]}\n" + strings.Repeat("- *u\n", 2000)
	_, _, err := parse("config.yaml", []byte(text))
	assert.ErrorContains(t, err, "too large, aliases counted out")

	_, _, err = parse("config.yaml", []byte("upstream: &u\n- *u\n"))
	assert.Error(t, err)
}

func TestLargeFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(name, make([]byte, maxConfig+1), 0o600))
	_, _, err := Load(name)
	assert.EqualError(t, err, name+": larger than 4MiB")
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{
		"90s": "1m30s", "10m": "10m", "24h": "1d", "7d": "7d", "1d12h": "36h", "never": "never", "60": "1m", "0": "0s", "0s": "0s", "1.5h": "1h30m0s",
	} {
		var d Duration
		if assert.NoError(t, d.set(text), text) && text != "1.5h" && text != "90s" {
			assert.Equal(t, want, d.String())
		}
		var again Duration
		require.NoError(t, again.set(d.String()))
		assert.Equal(t, d, again)
	}
	for _, text := range []string{"", "d", "1", "-1", "+1h", "1dd", "1d-1h", "999999999999d", "99999999999999999999", "forever"} {
		var d Duration
		if text == "1" {
			continue
		}
		assert.Error(t, d.set(text), text)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "52428800": 50 << 20, "512KiB": 512 << 10, "50GiB": 50 << 30, "1TiB": 1 << 40, "5MB": 5e6, "7B": 7} {
		var z, again Size
		require.NoError(t, z.set(text))
		assert.Equal(t, want, int64(z))
		require.NoError(t, again.set(z.String()))
		assert.Equal(t, z, again)
	}
	for _, text := range []string{"", "B", "-1", "+1", "1.5GiB", "1k", "9999999TiB", "10%"} {
		var z Size
		assert.Error(t, z.set(text), text)
	}
	p := Space{}
	require.NoError(t, p.set("12.5%"))
	assert.Equal(t, int64(125), p.Of(1000))
	assert.Equal(t, "12.5%", p.String())
	require.NoError(t, p.set("1KiB"))
	assert.Equal(t, int64(1024), p.Of(1000))
}

func FuzzLoad(f *testing.F) {
	f.Add(reference)
	original, err := os.ReadFile("testdata/original.yaml")
	require.NoError(f, err)
	f.Add(original)
	for _, s := range []string{"a: &a [*a]", "? [a]\n: b", "<<: {a: b}", "<<: [*x]", "upstream: !!binary aGVsbG8=", "--- \n...\n---\n", "\xff\xfe", "log: {file: '${A:-${B}}'}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, _, err := parse("config.yaml", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("either a configuration or an error: %v, %v", c, err)
		}
		if err != nil && err.Error() == "" {
			t.Fatal("an error without a word")
		}
		if c != nil {
			require.NoError(t, c.WriteYAML(&strings.Builder{}))
		}
	})
}
