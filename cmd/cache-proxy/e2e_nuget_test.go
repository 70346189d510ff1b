//go:build e2e

package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testNuGet: NuGet's command line with a feed on two mirrors and a search on a
// second host. It installs a package and what that needs, all by links of the hub;
// then the mirrors are stopped, and another machine with nothing gets the same.
func testNuGet(t *testing.T, p program) {
	program := nugetExe(t)
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	a, b, s := newMirror(t, www), newMirror(t, www), newMirror(t, filepath.Join(dir, "search"))
	var past atomic.Int64 // requests that have passed the proxy by
	for _, m := range []*mirror{a, b, s} {
		files := m.files
		m.files = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.UserAgent(), "NuGet") {
				past.Add(1)
			}
			files.ServeHTTP(w, r)
		})
	}
	put(t, fmt.Appendf(nil, `{"version":"3.0.0","resources":[
		{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl"},{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl/3.0.0-rc"},
		{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl/3.4.0"},{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl/Versioned","clientVersion":"4.3.0-alpha"},
		{"@id":"%[1]s/flat/","@type":"PackageBaseAddress/3.0.0"},{"@id":"%[1]s/push","@type":"PackagePublish/2.0.0"},
		{"@id":"%[2]s/query","@type":"SearchQueryService"},{"@id":"%[2]s/query","@type":"SearchQueryService/3.0.0-rc"},
		{"@id":"%[2]s/query","@type":"SearchQueryService/Versioned","clientVersion":"4.3.0-alpha"}]}`, a.url, s.url), www, "v3/index.json")
	putNuGet(t, www, a.url, "Leaf", "1.0.0", "")
	putNuGet(t, www, a.url, "Demo.Core", "1.2.0", "Leaf")
	put(t, fmt.Appendf(nil, `{"totalHits":1,"data":[{"@id":"%[1]s/reg/demo.core/index.json","registration":"%[1]s/reg/demo.core/index.json","id":"Demo.Core","version":"1.2.0","description":"found","versions":[{"version":"1.2.0","downloads":1,"@id":"%[1]s/reg/demo.core/1.2.0.json"}]}]}`, a.url), dir, "search/query")
	const registration = "/reg/demo.core/index.json"
	a.next(registration, func(w http.ResponseWriter, r *http.Request) { // as some hives have it, whatever is asked for
		text, err := os.ReadFile(filepath.Join(www, registration))
		if assert.NoError(t, err) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", "application/json")
			z := gzip.NewWriter(w)
			z.Write(text)
			z.Close()
		}
	})
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: nuget
  type: nuget
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  options: {files: {search: `+s.url+`}}
log: {level: debug}
`)

	whole := func(name string) {
		home := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(home, 0o755))
		feed := d.url + "/nuget/v3/index.json"
		out, err := try(t, home, nil, "mono", program, "install", "Demo.Core", "-Source", feed, "-OutputDirectory", "out", "-NonInteractive")
		require.NoError(t, err, out)
		for _, c := range []struct{ id, version string }{{"Demo.Core", "1.2.0"}, {"Leaf", "1.0.0"}} {
			full := c.id + "." + c.version
			sameFile(t, filepath.Join(www, "flat", strings.ToLower(c.id), c.version, strings.ToLower(full)+".nupkg"), filepath.Join(home, "out", full, full+".nupkg"))
		}
		out, err = try(t, home, nil, "mono", program, "search", "demo", "-Source", feed, "-NonInteractive")
		require.NoError(t, err, out)
		assert.Contains(t, out, "Demo.Core")
	}
	whole("first")
	assert.Equal(t, 1, a.asked("/v3/index.json"))
	assert.Equal(t, 1, a.asked("/flat/leaf/1.0.0/leaf.1.0.0.nupkg"))
	assert.NotZero(t, s.asked("/query"))
	d.noTemporary()

	a.stop()
	b.stop()
	s.stop()
	whole("second")
	assert.Zero(t, past.Load(), "no link leads past the proxy")
}

// nugetExe is NuGet's command line, which runs on mono.
func nugetExe(t *testing.T) string {
	t.Helper()
	need(t, "mono")
	exe := os.Getenv("NUGET_EXE")
	if exe == "" {
		cache, err := os.UserCacheDir()
		require.NoError(t, err)
		exe = filepath.Join(cache, "cache-proxy", "nuget", "node_modules", "nuget-exe", "nuget-5.8.0.exe")
	}
	if _, err := os.Stat(exe); err != nil {
		t.Skipf("NuGet's command line is not installed: %v", err)
	}
	return exe
}

// putNuGet adds a package to a feed at url, with a dependency if there is one.
func putNuGet(t *testing.T, www, url, id, version, needs string) {
	t.Helper()
	dependencies, group := "", ""
	if needs != "" {
		dependencies = fmt.Sprintf(`<dependency id="%s" version="1.0.0" />`, needs)
		group = fmt.Sprintf(`{"id":%q,"range":"[1.0.0, )","registration":"%s/reg/%s/index.json"}`, needs, url, strings.ToLower(needs))
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct{ name, text string }{
		{id + ".nuspec", fmt.Sprintf(`<?xml version="1.0"?><package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"><metadata><id>%s</id><version>%s</version><authors>a</authors><description>d</description><dependencies>%s</dependencies></metadata></package>`, id, version, dependencies)},
		{"lib/net45/x.txt", id},
		{"[Content_Types].xml", `<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="nuspec" ContentType="application/octet" /><Default Extension="txt" ContentType="application/octet" /></Types>`},
	} {
		w, err := z.Create(f.name)
		require.NoError(t, err)
		_, err = io.WriteString(w, f.text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	lower := strings.ToLower(id)
	put(t, b.Bytes(), www, "flat", lower, version, lower+"."+version+".nupkg")
	put(t, fmt.Appendf(nil, `{"versions":[%q]}`, version), www, "flat", lower, "index.json")
	leaf := fmt.Sprintf(`{"@id":"%[1]s/reg/%[2]s/%[3]s.json","registration":"%[1]s/reg/%[2]s/index.json","packageContent":"%[1]s/flat/%[2]s/%[3]s/%[2]s.%[3]s.nupkg","catalogEntry":{"@id":"%[1]s/catalog/%[2]s.%[3]s.json","id":"%[4]s","version":"%[3]s","listed":true,"packageContent":"%[1]s/flat/%[2]s/%[3]s/%[2]s.%[3]s.nupkg","dependencyGroups":[{"dependencies":[%[5]s]}]}}`, url, lower, version, id, group)
	put(t, []byte(leaf), www, "reg", lower, version+".json")
	put(t, fmt.Appendf(nil, `{"@id":"%[1]s/reg/%[2]s/index.json","count":1,"items":[{"@id":"%[1]s/reg/%[2]s/index.json#page","count":1,"lower":"%[3]s","upper":"%[3]s","parent":"%[1]s/reg/%[2]s/index.json","items":[%[4]s]}]}`, url, lower, version, leaf), www, "reg", lower, "index.json")
}
