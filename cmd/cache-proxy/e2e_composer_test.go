//go:build e2e

package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testComposer: Composer with a repository on two mirrors, whose dists are on
// another host. One mirror of dists sends a wrong one, which Composer does not get
// to see; then all are stopped, and another machine gets the same by its lock file.
func testComposer(t *testing.T, p program) {
	need(t, "composer", "php")
	dir := t.TempDir()
	www, zips := filepath.Join(dir, "www"), filepath.Join(dir, "zips")
	a, b, far := newMirror(t, www), newMirror(t, www), newMirror(t, zips)
	put(t, fmt.Appendf(nil, `{"packages":[],"metadata-url":"/p2/%%package%%.json","notify-batch":"%s/downloads","available-package-patterns":["acme/*"],
"search":"/search.json?q=%%query%%&type=%%type%%","security-advisories":{"metadata":false,"api-url":"/api/security-advisories/"}}`, a.url), www, "packages.json")
	const leafRef, libRef = "89e495e7941cf9e40e6980d14a16bf023ccd4c91", "0123456789abcdef0123456789abcdef01234567"
	putDist(t, www, zips, far.url, "acme/leaf", "2.1.0", leafRef, "")
	putDist(t, www, "", a.url+"/dist", "acme/lib", "1.0.0", libRef, `"acme/leaf":"^2"`)
	put(t, []byte(`{"results":[{"name":"acme/lib","description":"found","url":"","repository":""}],"total":1}`), www, "search.json")
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: php
  type: composer
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  options: {files: {zips: `+far.url+`/}}
  cache: {policies: [{match: '\.json$', refresh-after: 1ms}]}
log: {level: debug}
`)
	const wrong = "/dist/acme/lib/1.0.0.zip"
	a.next(wrong, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("not what was promised")) })
	for _, m := range []*mirror{a, b} {
		m.next("/p2/acme/none.json", http.NotFound)
	}

	machine := func(name string) (run func(args string) string, home string) {
		home = filepath.Join(dir, name)
		put(t, fmt.Appendf(nil, `{"name":"acme/machine","require":{"acme/lib":"*"},"repositories":[{"type":"composer","url":"%s/php"},{"packagist":false}],"config":{"secure-http":false}}`, d.url), home, "composer.json")
		env := []string{"COMPOSER_HOME=" + filepath.Join(home, "home"), "COMPOSER_CACHE_DIR=" + filepath.Join(home, "cache"), "COMPOSER_ALLOW_SUPERUSER=1"}
		return func(args string) string {
			return must(t, home, env, "composer", strings.Fields(args+" -n --no-ansi -vv")...)
		}, home
	}
	whole := func(home string) {
		for _, name := range []string{"acme/lib", "acme/leaf"} {
			assert.FileExists(t, filepath.Join(home, "vendor", name, "payload.php"))
		}
	}
	composer, first := machine("first")
	out := composer("update")
	whole(first)
	assert.NotContains(t, out, "Failed to download", "%s", out)
	assert.Equal(t, 1, a.asked(wrong), "the mirror that had it wrong")
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")
	assert.Equal(t, 1, far.asked("/acme/leaf/2.1.0.zip"))
	assert.FileExists(t, filepath.Join(d.data, "php/_d/acme/leaf/2.1.0.0", leafRef+".zip"))
	assert.Zero(t, a.asked("/downloads"), "what was installed is not told")

	var lock struct {
		Packages []struct {
			Dist struct {
				URL     string `json:"url"`
				Mirrors []struct {
					URL string `json:"url"`
				} `json:"mirrors"`
			} `json:"dist"`
		} `json:"packages"`
	}
	require.NoError(t, json.Unmarshal(mustRead(t, first, "composer.lock"), &lock))
	require.Len(t, lock.Packages, 2)
	for _, p := range lock.Packages {
		assert.NotContains(t, p.Dist.URL, d.url, "the lock file names the origin")
	}
	assert.Contains(t, composer("search lib"), "acme/lib")
	composer("update") // validates by date
	d.noTemporary()

	a.stop()
	b.stop()
	far.stop()
	composer, second := machine("second")
	put(t, mustRead(t, first, "composer.lock"), second, "composer.lock")
	composer("install")
	whole(second)
	composer, third := machine("third")
	composer("update")
	whole(third)
}

// putDist adds a package to a repository, whose dist lies in the folder zips under
// the URL base, or if zips is "", in the repository under its folder dist.
func putDist(t *testing.T, www, zips, base, name, version, reference, requires string) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct{ name, text string }{
		{"composer.json", fmt.Sprintf(`{"name":%q,"require":{%s}}`, name, requires)}, {"payload.php", "<?php // " + name},
	} {
		w, err := z.Create(filepath.Base(name) + "-" + version + "/" + f.name)
		require.NoError(t, err)
		w.Write([]byte(f.text))
	}
	require.NoError(t, z.Close())
	if zips == "" {
		zips = filepath.Join(www, "dist")
	}
	put(t, b.Bytes(), zips, name, version+".zip")
	put(t, fmt.Appendf(nil, `{"minified":"composer/2.0","packages":{%[1]q:[{"name":%[1]q,"version":%[2]q,"version_normalized":"%[2]s.0","require":{%[5]s},
"dist":{"type":"zip","url":"%[4]s/%[1]s/%[2]s.zip","reference":%[3]q,"shasum":"%[6]x"}}]}}`, name, version, reference, base, requires, sha1.Sum(b.Bytes())), www, "p2", name+".json")
}
