//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// testNPM: npm with a registry on two mirrors, and tarballs on another host. One
// mirror sends a wrong tarball, which npm does not get to see; then all are
// stopped, and another machine with an empty cache gets the same.
func testNPM(t *testing.T, p program) {
	need(t, "npm", "node")
	dir := t.TempDir()
	www, second := filepath.Join(dir, "www"), filepath.Join(dir, "second")
	a, b, files := newMirror(t, www), newMirror(t, www), newMirror(t, second)
	const (
		demo   = "/demo/-/demo-1.0.0.tgz"
		scoped = "/any-name-at-all.tgz"
		leaf   = "/l/leaf.tgz"
	)
	putTarball(t, "demo", "1.0.0", `{"@sc/lib":"^2.0.0","leaf":"*"}`, a.url, www, demo)
	putTarball(t, "@sc/lib", "2.0.0", `{}`, b.url, www, scoped)
	putTarball(t, "leaf", "3.0.0", `{}`, files.url, second, leaf)
	put(t, mustRead(t, second, "packuments/leaf"), www, "packuments/leaf")
	var audits atomic.Int32
	for _, m := range []*mirror{a, b} {
		m.files = npmRegistry(t, m.files, www, &audits)
	}
	a.next(demo, func(w http.ResponseWriter, r *http.Request) {
		content := mustRead(t, www, demo)
		content[len(content)/2] ^= 1
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Write(content)
	})
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: npm
  type: npm
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  options: {files: {f: `+files.url+`/}}
  cache: {policies: [{match: '^/(@[^/]+/)?[^/]+$', refresh-after: 1ms}]}
log: {level: debug}
`)

	machine := func(name string) (run func(args ...string) (string, error), home string) {
		home = filepath.Join(dir, name)
		put(t, []byte(`{"name":"machine","version":"1.0.0","dependencies":{"demo":"^1.0.0"}}`), home, "package.json")
		env := []string{
			"npm_config_registry=" + d.url + "/npm/", "npm_config_userconfig=" + filepath.Join(home, "npmrc"), "npm_config_cache=" + filepath.Join(home, "cache"),
			"npm_config_update_notifier=false", "npm_config_fund=false", "npm_config_fetch_retries=0", "npm_config_audit=false",
		}
		return func(args ...string) (string, error) { return try(t, home, env, "npm", args...) }, home
	}
	whole := func(home string) {
		for path, tarball := range map[string]string{"demo": filepath.Join(www, demo), "@sc/lib": filepath.Join(www, scoped), "leaf": filepath.Join(second, leaf)} {
			put(t, payloadOf(t, tarball), home, "want", path)
			sameFile(t, filepath.Join(home, "want", path), filepath.Join(home, "node_modules", path, "payload"))
		}
	}
	npm, first := machine("first")
	out, err := npm("install")
	require.NoError(t, err, out)
	whole(first)
	assert.Equal(t, 1, a.asked(demo), "the mirror that had it wrong")
	assert.Equal(t, 1, b.asked(demo), "the mirror that had it right")
	lock := mustRead(t, first, "package-lock.json")
	assert.Contains(t, string(lock), d.url+"/npm"+scoped)
	assert.Contains(t, string(lock), d.url+"/npm/_f/f"+leaf)
	assert.NotContains(t, string(lock), a.url)
	d.noTemporary()

	for _, c := range []struct {
		args, want string
		fails      bool
	}{
		{"view demo version", "1.0.0", false},
		{"view @sc/lib@latest dist.tarball", d.url + "/npm" + scoped, false},
		{"view nothing-here", "404 Not Found - GET " + d.url + "/npm/nothing-here", true},
		{"audit --audit-level=high", "a hole in demo", true},
		{"search demo --parseable", "demo", false},
		{"dist-tag ls demo", "latest: 1.0.0", false},
		{"dist-tag ls @sc/lib", "latest: 2.0.0", false},
		{"ping", "PONG", false},
		{"view demo@latest dist.integrity", "sha512-", false},
		{"whoami", "401", true},
		{"exec --yes --package=leaf -- node -e 0", "", false},
	} {
		out, err := npm(strings.Fields(c.args)...)
		assert.Equal(t, c.fails, err != nil, "npm %s:\n%s", c.args, out)
		if c.args != "whoami" {
			assert.Contains(t, out, c.want, c.args)
		}
	}
	assert.EqualValues(t, 1, audits.Load())
	_, full := d.mustGet("/npm/leaf", "Accept", "application/json")
	_, short := d.mustGet("/npm/leaf", "Accept", "application/vnd.npm.install-v1+json")
	assert.NotEqual(t, full, short)

	a.stop()
	b.stop()
	files.stop()
	npm, second2 := machine("second")
	put(t, lock, second2, "package-lock.json")
	out, err = npm("ci")
	require.NoError(t, err, out)
	whole(second2)
	npm, third := machine("third")
	out, err = npm("install")
	require.NoError(t, err, out)
	whole(third)
	out, err = npm("view", "@sc/lib", "version")
	require.NoError(t, err, out)
	assert.Contains(t, out, "2.0.0")
}

// npmRegistry answers from packuments/NAME, in both forms, and says something about
// security and search.
func npmRegistry(t *testing.T, files http.Handler, www string, audits *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		packument, err := os.ReadFile(filepath.Join(www, "packuments", filepath.FromSlash(r.URL.Path)))
		switch {
		case r.Method == http.MethodPost:
			body := io.Reader(r.Body)
			if r.Header.Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(body)
				if !assert.NoError(t, err) {
					return
				}
				body = z
			}
			asked := map[string][]string{}
			assert.NoError(t, json.NewDecoder(body).Decode(&asked))
			assert.Equal(t, []string{"1.0.0"}, asked["demo"])
			assert.Equal(t, "/-/npm/v1/security/advisories/bulk", r.URL.Path)
			audits.Add(1)
			io.WriteString(w, `{"demo":[{"id":1,"url":"https://example.org/1","title":"a hole in demo","severity":"critical","vulnerable_versions":"<2.0.0","cwe":[],"cvss":{"score":9,"vectorString":null}}]}`)
		case strings.HasPrefix(r.URL.Path, "/-/package/"):
			name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/-/package/"), "/dist-tags")
			var p struct {
				Tags json.RawMessage `json:"dist-tags"`
			}
			assert.NoError(t, json.Unmarshal(mustRead(t, www, "packuments", name), &p))
			w.Header().Set("Content-Type", "application/json")
			w.Write(p.Tags)
		case r.URL.Path == "/-/ping":
			io.WriteString(w, "{}")
		case r.URL.Path == "/-/v1/search":
			io.WriteString(w, `{"objects":[{"package":{"name":"demo","version":"1.0.0","description":"found","date":"2024-01-01T00:00:00.000Z","maintainers":[],"links":{}}}],"total":1}`)
		case err == nil && strings.Contains(r.Header.Get("Accept"), "application/vnd.npm.install-v1+json"):
			w.Header().Set("Content-Type", "application/vnd.npm.install-v1+json")
			w.Write(bytes.Replace(packument, []byte(`"readme":"long",`), nil, 1))
		case err == nil:
			w.Header().Set("Content-Type", "application/json")
			w.Write(packument)
		default:
			files.ServeHTTP(w, r)
		}
	})
}

// putTarball writes the tarball of a package to dir/path, and its packument,
// which leads to it below base.
func putTarball(t *testing.T, name, version, dependencies, base, dir, path string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	manifest := fmt.Sprintf(`{"name":%q,"version":%q,"dependencies":%s}`, name, version, dependencies)
	for _, f := range []struct{ name, text string }{
		{"package/package.json", manifest},
		{"package/payload", string(proxytest.Random(40_000, uint64(len(name))).Bytes())},
	} {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text))}))
		_, err := io.WriteString(w, f.text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	put(t, b.Bytes(), dir, path)
	sum := sha512.Sum512(b.Bytes())
	dist := fmt.Sprintf(`{"tarball":%q,"integrity":"sha512-%s"}`, base+path, base64.StdEncoding.EncodeToString(sum[:]))
	packument := fmt.Sprintf(`{"_id":%[1]q,"name":%[1]q,"readme":"long","dist-tags":{"latest":%[2]q},"versions":{%[2]q:%[3]s,"dist":%[4]s}},"time":{%[2]q:"2024-01-01T00:00:00.000Z"}}`,
		name, version, strings.TrimSuffix(manifest, "}"), dist)
	put(t, []byte(packument), dir, "packuments", name)
}

// payloadOf is what putTarball put into a tarball.
func payloadOf(t *testing.T, name string) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(mustRead(t, name)))
	require.NoError(t, err)
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		require.NoError(t, err)
		if h.Name == "package/payload" {
			content, err := io.ReadAll(r)
			require.NoError(t, err)
			return content
		}
	}
}

func mustRead(t *testing.T, elem ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(t, err)
	return content
}
