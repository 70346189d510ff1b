//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// excused are cases of the suite's cut of 2021 that fail, and why they should.
var excused = map[string]string{
	"age-parse-nonnumeric":        ageParsing,
	"age-parse-negative":          ageParsing,
	"age-parse-float":             ageParsing,
	"age-parse-prefix-twoline":    ageParsing,
	"age-parse-dup-0":             ageParsing,
	"age-parse-dup-0-twoline":     ageParsing,
	"age-parse-dup-old":           ageParsing,
	"age-parse-parameter":         ageParsing,
	"age-parse-numeric-parameter": ageParsing,

	"stale-close-must-revalidate":  badGateway,
	"stale-close-proxy-revalidate": badGateway,
	"stale-close-no-cache":         badGateway,
	"stale-close-s-maxage=2":       badGateway,

	"headers-store-Transfer-Encoding": "the origin names a transfer coding that nobody knows, so that the length of its response is unknown (RFC 9112 §6.1)",

	"surrogate-max-age":                            surrogates,
	"surrogate-max-age-max":                        surrogates,
	"surrogate-max-age-max-plus":                   surrogates,
	"surrogate-max-age-me-target":                  surrogates,
	"surrogate-max-age-other-target":               surrogates,
	"surrogate-max-age-age":                        surrogates,
	"surrogate-max-age-0":                          surrogates,
	"surrogate-max-age-extension":                  surrogates,
	"surrogate-max-age-case-insensitive":           surrogates,
	"surrogate-max-age-expires":                    surrogates,
	"surrogate-max-age-cc-max-age-invalid-expires": surrogates,
	"surrogate-max-age-0-expires":                  surrogates,
	"surrogate-max-age-short-cc-max-age":           surrogates,
	"surrogate-max-age-long-cc-max-age":            surrogates,
	"surrogate-no-store-cc-fresh":                  surrogates,
	"surrogate-fresh-cc-nostore":                   surrogates,

	"vary-normalise-lang-select": "a match by the Content-Language of the response: two values of Accept-Language that mean the same say so themselves (RFC 9111 §4.1)",
	"conditional-lm-fresh-no-lm": "asks since before the response was made, which then is modified (RFC 9111 §4.3.2)",

	"partial-store-partial-reuse-partial":           shortPart,
	"partial-store-partial-reuse-partial-byterange": shortPart,
	"partial-store-partial-reuse-partial-absent":    shortPart,
	"partial-store-partial-reuse-partial-suffix":    shortPart,
	"partial-store-partial-complete":                "no strong validator vouches that the rest is of the same content (RFC 9110 §15.3.7.3)",
}

// Why several fail.
const (
	ageParsing = "RFC 9111 §5.1, which is younger: the first member counts, and what is no number is ignored"
	badGateway = "takes any response without the origin's fields for a stored one, the 502 included that is right here"
	surrogates = "Surrogate-Control of 2001 is not supported, its successor CDN-Cache-Control (RFC 9213) is"
	shortPart  = "the origin sends five bytes and says that they are six"
)

// A conformanceCase is what the suite says of one of its tests.
type conformanceCase struct {
	ID          string
	Kind        string   `json:"kind"` // required, optimal or check
	DependsOn   []string `json:"depends_on"`
	BrowserOnly bool     `json:"browser_only"`
}

// listCases prints the suite's tests.
const listCases = `
const at = process.argv[1]
const suites = (await import(at + '/tests/index.mjs')).default
try { suites.push((await import(at + '/tests/surrogate-control.mjs')).default) } catch {}
console.log(JSON.stringify(suites.flatMap(s => s.tests).map(t =>
	({ID: t.id, kind: t.kind || 'required', depends_on: t.depends_on || [], browser_only: !!t.browser_only}))))`

// TestConformance runs the public conformance suite for HTTP caches through a hub
// of type http. The suite is where CACHE_TESTS says, or where .ci/run puts it.
func TestConformance(t *testing.T) {
	need(t, "node")
	suite := conformanceSuite(t)
	p := build(t)
	node := func(args ...string) *exec.Cmd {
		cmd := exec.Command("node", args...)
		cmd.Dir = suite
		cmd.Stderr = os.Stderr
		return cmd
	}
	out, err := node("--input-type=module", "-e", listCases, suite).Output()
	require.NoError(t, err)
	var cases []conformanceCase
	require.NoError(t, json.Unmarshal(out, &cases))

	port := freePort(t)
	origin := node("server/server.mjs")
	origin.Env = append(os.Environ(), "npm_config_protocol=http", "npm_config_port="+port, "npm_config_pidfile="+filepath.Join(t.TempDir(), "pid"))
	require.NoError(t, origin.Start())
	t.Cleanup(func() {
		origin.Process.Kill()
		origin.Wait()
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", "localhost:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "the suite's origin listens")

	d := p.start(t, t.TempDir(), "listen: 127.0.0.1:0\nlog: {access: false}\nhubs:\n- {name: o, type: http, upstream: [{server: \"http://localhost:"+port+"\"}]}\n")
	client := node("--no-warnings", "cli.mjs")
	client.Env = append(os.Environ(), "npm_config_base="+d.url+"/o", "npm_package_config_id=")
	out, err = client.Output()
	require.NoError(t, err)
	results := map[string]any{} // true, or the name and the message of an error
	require.NoError(t, json.Unmarshal(out[bytes.IndexByte(out, '{'):], &results))

	passed, all := map[string]int{}, map[string]int{}
	for _, c := range cases {
		if c.BrowserOnly || c.Kind == "check" {
			continue
		}
		all[c.Kind]++
		if !conforms(c, cases, results) {
			if _, ok := excused[c.ID]; !ok {
				t.Errorf("%s %s: %v", c.Kind, c.ID, results[c.ID])
			}
			continue
		}
		passed[c.Kind]++
		if _, ok := excused[c.ID]; ok {
			t.Logf("%s passes: it needs no excuse", c.ID)
		}
	}
	t.Logf("required: %d of %d, optimal: %d of %d", passed["required"], all["required"], passed["optimal"], all["optimal"])
	assert.GreaterOrEqual(t, passed["required"], 144)
	assert.GreaterOrEqual(t, passed["optimal"], 79)
}

// conforms says whether a case has passed, and all that it depends on.
func conforms(c conformanceCase, cases []conformanceCase, results map[string]any) bool {
	for _, id := range c.DependsOn {
		i := slices.IndexFunc(cases, func(other conformanceCase) bool { return other.ID == id })
		if i < 0 || !conforms(cases[i], cases, results) {
			return false
		}
	}
	return results[c.ID] == true
}

// conformanceSuite is the directory of the suite; without one the test is skipped.
func conformanceSuite(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("CACHE_TESTS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		require.NoError(t, err)
		dir = filepath.Join(cache, "cache-proxy", "http-cache-tests", "node_modules", "http-cache-tests")
	}
	if _, err := os.Stat(filepath.Join(dir, "cli.mjs")); err != nil {
		t.Skipf("the conformance suite is not installed: %v", err)
	}
	return dir
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
