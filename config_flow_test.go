package cacheproxy

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/filter"
)

// problemOf is the only problem of a configuration.
func problemOf(t *testing.T, text string) string {
	t.Helper()
	_, _, err := parse("config.yaml", []byte(text))
	require.Error(t, err)
	return err.Error()
}

// TestFilterProblems: E019, and that each option is as strict as all others.
func TestFilterProblems(t *testing.T) {
	counter := "filters:\n- {kind: HeaderCounter, name: c, headers: [Cookie]}\n"
	secret := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(secret, []byte("a:{SHA}x\n"), 0o600))
	tests := []struct{ name, text, want string }{
		{"unknown kind", "filters:\n- name: c\n  kind: HeaderCounted", `config.yaml:3: filters[0].kind: "HeaderCounted" is none of`},
		{"no kind", "filters:\n- name: c", "config.yaml:2: filters[0].kind: required"},
		{"no name", "filters:\n- {kind: Mock, rules: [{}]}", "config.yaml:2: filters[0].name: required"},
		{"unknown option", "filters:\n- kind: HeaderCounter\n  name: c\n  headers: [A]\n  header: [B]", "config.yaml:5: filters[0].header: unknown key"},
		{"option twice", "filters:\n- kind: HeaderCounter\n  name: c\n  headers: [A]\n  headers: [B]", "config.yaml:5: "},
		{"option missing", "filters:\n- {kind: HeaderCounter, name: c}", "config.yaml:2: filters[0].headers: required"},
		{"option of another shape", "filters:\n- {kind: HeaderCounter, name: c, headers: {A: b}}", "config.yaml:2: filters[0].headers"},
		{"END is no name", "filters:\n- {kind: HeaderCounter, name: END, headers: [A]}", "config.yaml:2: filters[0].name: END is reserved"},
		{"cache is no name", "filters:\n- {kind: HeaderCounter, name: cache, headers: [A]}", "filters[0].name: cache is reserved"},
		{"a name with blanks", "filters:\n- {kind: HeaderCounter, name: a b, headers: [A]}", `filters[0].name: "a b" is no name`},
		{"name twice", counter + "- {kind: HeaderCounter, name: c, headers: [A]}\n", "config.yaml:3: filters[1].name: c is the name of another"},
		{"no such filter", counter + "flow:\n- filter: d", `config.yaml:4: flow[0].filter: there is no filter "d"`},
		{"step without filter", counter + "flow:\n- alias: d", `flow[0].filter: required`},
		{"no such result", counter + "flow:\n- filter: c\n  jumpIf: {nope: END}", "config.yaml:5: flow[0].jumpIf.nope: c has no such result: it has invalidHeader"},
		{"no such target", counter + "flow:\n- filter: c\n  jumpIf: {invalidHeader: d}", `config.yaml:5: flow[0].jumpIf.invalidHeader: there is no step "d"`},
		{"backwards", counter + "flow:\n- filter: cache\n- filter: c\n  jumpIf: {invalidHeader: cache}", "flow[1].jumpIf.invalidHeader: cache is no later step"},
		{"to itself", counter + "flow:\n- filter: c\n  jumpIf: {invalidHeader: c}", "flow[0].jumpIf.invalidHeader: c is no later step"},
		{"a step twice", counter + "flow: [{filter: c}, {filter: c}]", "flow[1]: c is step [0] already; give this one an alias"},
		{"the cache twice", counter + "flow: [{filter: cache}, {filter: cache}]", "flow[1]: the cache is step [0] already"},
		{"alias END", counter + "flow: [{filter: c, alias: END}]", "flow[0].alias: END is reserved"},
		{"alias of the cache", counter + "flow: [{filter: cache, alias: x}]", "flow[0].alias: the cache has no other name"},
		{"in a hub", counter + "hubs:\n- name: h\n  flow:\n  - filter: x", `config.yaml:6: hubs[0].flow[0].filter: there is no filter "x"`},
		{"result of the cache", counter + "flow: [{filter: cache, jumpIf: {invalid: END}}]", "flow[0].jumpIf.invalid: cache has no such result: it has clientError, serverError, internalError"},
		{"field names", "filters: [{kind: HeaderCounter, name: c, headers: [A, 'B:']}]", `filters[0].headers[1]: "B:" is no field name`},
		{"validator status", "filters: [{kind: Validator, name: c, headers: {A: {}}, status: 302}]", "filters[0].status: 302 is no status from 400 to 499"},
		{"validator regexp", "filters: [{kind: Validator, name: c, headers: {A: {regexp: '('}}}]", "filters[0].headers.A.regexp: missing closing"},
		{"adaptor of nothing", "filters: [{kind: RequestAdaptor, name: c}]", "filters[0]: changes nothing"},
		{"adaptor of framing", "filters: [{kind: RequestAdaptor, name: c, header: {set: {Range: x}}}]", "filters[0].header.set: Range is set by the proxy itself"},
		{"adaptor of values", "filters: [{kind: RequestAdaptor, name: c, header: {add: {A: \"x\\n\"}}}]", "filters[0].header.add: the value of A has control characters"},
		{"adaptor of a path", "filters: [{kind: RequestAdaptor, name: c, path: {add-prefix: x}}]", `filters[0].path.add-prefix: "x" does not begin with a slash`},
		{"adaptor of two paths", "filters: [{kind: RequestAdaptor, name: c, path: {add-prefix: /x, replace: /y}}]", "filters[0].path.replace: not together with others"},
		{"adaptor without regexp", "filters: [{kind: RequestAdaptor, name: c, path: {regexp-replace: {replace: x}}}]", "filters[0].path.regexp-replace.regexp: required"},
		{"response of nothing", "filters: [{kind: ResponseAdaptor, name: c}]", "filters[0]: changes nothing"},
		{"response of the cache's", "filters: [{kind: ResponseAdaptor, name: c, header: {del: [ETag]}}]", "filters[0].header.del: ETag is set by the proxy itself"},
		{"nobody refused", "filters: [{kind: ClientNetworks, name: c}]", "filters[0]: refuses nobody"},
		{"no network", "filters: [{kind: ClientNetworks, name: c, allow: [10.0.0.1/8]}]", `filters[0].allow[0]: "10.0.0.1/8" has bits beyond its mask`},
		{"no such file", "filters: [{kind: BasicAuth, name: c, htpasswd: /nowhere/users}]", "filters[0].htpasswd: open /nowhere/users"},
		{"not bcrypt", "filters: [{kind: BasicAuth, name: c, htpasswd: " + secret + "}]", "users:1: the hash of a is not bcrypt's"},
		{"a realm with quotes", "filters: [{kind: TokenAuth, name: c, realm: 'a\"b', tokens: [{name: a, token: b}]}]", "filters[0].realm"},
		{"a token twice", "filters: [{kind: TokenAuth, name: c, tokens: [{name: a, token: b}, {name: c, token: b}]}]", "filters[0].tokens[1].token: is another one's already"},
		{"no key", "filters: [{kind: JWT, name: c}]", "filters[0]: want exactly one of"},
		{"a short secret", "filters: [{kind: JWT, name: c, secret: short}]", "filters[0].secret: is shorter than 32 bytes"},
		{"a key as a secret", "filters: [{kind: JWT, name: c, jwks: 'https://example.org/', algorithms: HS256}]", "HS256 and secret need each other"},
		{"an unknown algorithm", "filters: [{kind: JWT, name: c, jwks: 'https://example.org/', algorithms: none}]", `"none" is none of`},
		{"no issuer", "filters: [{kind: JWT, name: c, discover: true}]", "filters[0].issuer"},
		{"jwks of another scheme", "filters: [{kind: JWT, name: c, jwks: 'ftp://example.org/'}]", "filters[0].jwks"},
		{"no public key", "filters: [{kind: JWT, name: c, public-key: " + secret + "}]", "is no PEM file"},
		{"leeway", "filters: [{kind: JWT, name: c, jwks: 'https://example.org/', leeway: 2h}]", "filters[0].leeway"},
		{"no rate", "filters: [{kind: RateLimiter, name: c, requests: -1}]", "filters[0].requests: must be more than 0"},
		{"rate in no time", "filters: [{kind: RateLimiter, name: c, requests: 1, per: 0s}]", "filters[0].per"},
		{"rate by nothing known", "filters: [{kind: RateLimiter, name: c, requests: 1, by: [city]}]", `filters[0].by: "city" is none of`},
		{"rate without room", "filters: [{kind: RateLimiter, name: c, requests: 1, clients: 0}]", "filters[0].clients"},
		{"a negative burst", "filters: [{kind: RateLimiter, name: c, requests: 1, burst: -1}]", "filters[0].burst"},
		{"nothing denied", "filters: [{kind: AllowDeny, name: c}]", "filters[0]: denies nothing"},
		{"denied with success", "filters: [{kind: AllowDeny, name: c, deny: x, status: 204}]", "filters[0].status: 204 is no status"},
		{"no pattern", "filters: [{kind: AllowDeny, name: c, deny: ['pkg:nosuchtype/x']}]", "filters[0].deny[0]: "},
		{"cooldown without end", "filters: [{kind: Cooldown, name: c, min-age: never}]", "filters[0].min-age"},
		{"an exception without reason", "filters: [{kind: Cooldown, name: c, min-age: 7d, exceptions: [{package: x}]}]", "filters[0].exceptions[0].reason: required"},
		{"an end that is none", "filters: [{kind: Cooldown, name: c, min-age: 7d, exceptions: [{package: x, reason: y, until: soon}]}]", `exceptions[0].until: "soon" is no time`},
		{"hook without URL", "filters: [{kind: Webhook, name: c}]", "filters[0].url: required"},
		{"hook of another scheme", "filters: [{kind: Webhook, name: c, url: 'ftp://example.org'}]", "filters[0].url"},
		{"hook for ever", "filters: [{kind: Webhook, name: c, url: 'http://example.org', timeout: never}]", "filters[0].timeout"},
		{"no audit file", "filters: [{kind: Audit, name: c}]", "filters[0].file: required"},
		{"credentials for all", "filters: [{kind: CORS, name: c, origins: '*', credentials: true}]", "filters[0].origins[0]: * may not be together"},
		{"no origin", "filters: [{kind: CORS, name: c, origins: example.org}]", "filters[0].origins[0]"},
		{"cors max-age", "filters: [{kind: CORS, name: c, origins: '*', max-age: never}]", "filters[0].max-age"},
		{"mock status", "filters: [{kind: Mock, name: c, rules: [{answer: {status: 100}}]}]", "filters[0].rules[0].answer.status"},
		{"mock header", "filters: [{kind: Mock, name: c, rules: [{answer: {headers: {Content-Length: 1}}}]}]", "filters[0].rules[0].answer.headers"},
		{"fallback status", "filters: [{kind: Fallback, name: c, statuses: [200]}]", "filters[0].statuses: 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Contains(t, problemOf(t, tt.text), tt.want) })
	}
}

// A configuration that is printed is read as the same again, but for its secrets.
func TestFiltersPrinted(t *testing.T) {
	text := `
filters:
- {kind: Validator, name: v, headers: {A: {values: [x], regexp: '^y'}, B: {}}}
- {kind: Cooldown, name: c, min-age: 36h, packages: [left, 'pkg:npm/%40a/*@1.*'], exceptions: [{package: x, reason: y, until: 2030-01-02}]}
- {kind: ClientNetworks, name: n, allow: [10.0.0.0/8], unix: false}
- {kind: Webhook, name: w, url: 'https://example.org/x', token: hunter2}
- {kind: RequestAdaptor, name: r, path: {regexp-replace: {regexp: a, replace: $1}}}
flow: [{filter: v, jumpIf: {invalid: END}}, {filter: c, alias: d}]
hubs: [{name: h, flow: []}]
`
	c, _ := must(t, text)
	assert.Equal(t, 36*time.Hour, reflect.ValueOf(c.Filters[1].Options).Elem().FieldByName("MinAge").Interface())
	var out strings.Builder
	require.NoError(t, c.WriteYAML(&out))
	assert.NotContains(t, out.String(), "hunter2")
	again, _ := must(t, strings.Replace(out.String(), "******", "hunter2", 1))
	assert.Equal(t, c.Filters, again.Filters)
	assert.Equal(t, c.Flow, again.Flow)
	assert.Empty(t, again.Hubs[0].Flow)
}

// Nobody is shown the password in a URL of a filter's.
func TestFiltersPrintedWithoutPasswords(t *testing.T) {
	c, _ := must(t, "filters:\n- {kind: Webhook, name: w, url: 'https://me:hunter2@example.org/x'}\n- {kind: JWT, name: j, jwks: 'https://me:hunter2@example.org/y'}\n")
	var out strings.Builder
	require.NoError(t, c.WriteYAML(&out))
	assert.Contains(t, out.String(), "example.org/y")
	assert.NotContains(t, out.String(), "hunter2")
}

func TestFilterWarnings(t *testing.T) {
	_, warnings := must(t, `
filters:
- {kind: Cooldown, name: week, min-age: 7d}
- {kind: HeaderCounter, name: idle, headers: [A]}
flow: [{filter: week}]
upstream: [{server: 'http://example.org'}]
hubs:
- {name: npm, type: npm, upstream: [{server: 'http://example.org'}]}
- {name: apt, type: apt, upstream: [{server: 'http://example.org'}], flow: [{filter: week}]}
- {name: none, type: apt, upstream: [{server: 'http://example.org'}], flow: []}
`)
	var all []string
	for _, w := range warnings {
		all = append(all, w.String())
	}
	assert.ElementsMatch(t, []string{
		"config.yaml:4: filters[1]: no flow has idle: it does nothing",
		"config.yaml:5: flow[0]: week lets everything pass in hub default: type files does not tell when versions were published",
		"config.yaml:9: hubs[1].flow[0]: week lets everything pass in hub apt: type apt does not tell when versions were published",
	}, all)
}

// TestReferenceFilters loads the example of the reference.
func TestReferenceFilters(t *testing.T) {
	_, example, ok := strings.Cut(string(reference), "\n# filters:\n")
	require.True(t, ok)
	example, _, _ = strings.Cut(example, "\n\n")
	c, _ := must(t, regexp.MustCompile(`(?m)^# `).ReplaceAllString("# filters:\n"+example, ""))
	assert.Len(t, c.Flow, 3)

	_, list, ok := strings.Cut(string(reference), "\n# Kinds of filters, and what else is in one:\n")
	require.True(t, ok)
	list, _, _ = strings.Cut(list, "\n\n")
	for name, k := range filters {
		line := regexp.MustCompile(`(?m)^#   ` + name + ` +(.*)`).FindString(list)
		options := reflect.TypeOf(k.Options()).Elem()
		for i := range options.NumField() {
			option, _ := tag(options.Field(i))
			assert.Regexp(t, `[ {]`+regexp.QuoteMeta(option)+`([:,]| |$)`, line, name)
		}
	}
}

// The manual of filters has each kind with an example that loads, and names all of
// its options and results.
func TestFilterManual(t *testing.T) {
	text, err := os.ReadFile("docs/filters.md")
	require.NoError(t, err)
	manual := string(text)
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		k := filters[name]
		_, section, ok := strings.Cut(manual, "\n## "+name+"\n")
		if !assert.True(t, ok, name) {
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var walk func(reflect.Type)
		walk = func(typ reflect.Type) {
			for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
				typ = typ.Elem()
			}
			if typ.Kind() != reflect.Struct {
				return
			}
			for i := range typ.NumField() {
				if option, _ := tag(typ.Field(i)); option != "" {
					assert.Regexp(t, `\b`+regexp.QuoteMeta(option)+`\b`, section, "%s: %s", name, option)
					walk(typ.Field(i).Type)
				}
			}
		}
		walk(reflect.TypeOf(k.Options()).Elem())
		for _, r := range k.Results {
			assert.Contains(t, section, "`"+r.Name+"`", name)
		}
		_, example, ok := strings.Cut(section, "```yaml\n")
		require.True(t, ok, name)
		example, _, _ = strings.Cut(example, "```")
		users := filepath.Join(t.TempDir(), "users")
		require.NoError(t, os.WriteFile(users, nil, 0o600))
		c, _, err := parse("config.yaml", []byte(strings.ReplaceAll(example, "./users", users)))
		if assert.NoError(t, err, name) {
			assert.True(t, slices.ContainsFunc(c.Filters, func(f Filter) bool { return f.Kind == name }), name)
			assert.NotEmpty(t, c.Flow, name)
		}
	}
	assert.Contains(t, manual, filter.End)
}
