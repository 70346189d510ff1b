//go:build e2e

package main

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
)

// testGo: go with a checksum database of its own, both through the hub. One
// mirror sends a wrong zip, which go does not get to see; private modules come
// from the next proxy. Then everything is stopped, and another machine with
// nothing gets the same, and leaves for no other proxy.
func testGo(t *testing.T, p program) {
	need(t, "go")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	sums := map[string]string{}
	const branch = "v1.1.1-0.20260102030405-abcdef012345"
	for _, m := range []struct{ path, version, requires string }{
		{"example.org/Upper/dep", "v1.2.0-RC1", ""},
		{"example.org/demo", "v1.0.0", ""},
		{"example.org/demo", "v1.1.0", "require example.org/Upper/dep v1.2.0-RC1\n"},
		{"example.org/demo", branch, ""},
	} {
		putModule(t, www, sums, m.path, m.version, m.requires)
	}
	at := filepath.Join(www, "example.org/demo/@v")
	put(t, []byte("v1.0.0\nv1.1.0\n"), at, "list")
	put(t, []byte(`{"Version":"v1.1.0"}`), www, "example.org/demo/@latest")
	put(t, []byte(`{"Version":"`+branch+`"}`), at, "main.info")
	a, b, db := newMirror(t, www), newMirror(t, www), newMirror(t, "")
	const wrong = "/example.org/demo/@v/v1.1.0.zip"
	a.next(wrong, func(w http.ResponseWriter, r *http.Request) {
		content, err := os.ReadFile(filepath.Join(www, wrong))
		assert.NoError(t, err)
		content[len("PK")+100] ^= 1
		w.Write(content)
	})
	signer, verifier, err := note.GenerateKey(rand.Reader, "sum.example.org")
	require.NoError(t, err)
	db.files = sumdb.NewServer(sumdb.NewTestServer(signer, func(path, version string) ([]byte, error) {
		if text, ok := sums[path+"@"+version]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}))
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: go
  type: go
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  options: {sumdb: {name: sum.example.org, url: `+db.url+`}, verify: sumdb, private: [corp.example.org]}
  cache: {policies: [{match: '/@latest$|/@v/(list|main\.info)$', refresh-after: 1ms}]}
log: {level: debug}
`)

	second := newMirror(t, www) // of GOPROXY, behind the hub
	machine := func(name string, more ...string) (run func(args ...string) (string, error)) {
		home := filepath.Join(dir, name)
		put(t, []byte("module machine\n\ngo 1.21\n"), home, "go.mod")
		put(t, []byte("package machine\n\nimport _ \"example.org/demo\"\n"), home, "machine.go")
		env := []string{
			"GOPROXY=" + d.url + "/go", "GOSUMDB=" + verifier, "GONOSUMDB=", "GOPRIVATE=", "GONOPROXY=", "GOVCS=*:off",
			"GOPATH=" + filepath.Join(home, "gopath"), "GOMODCACHE=" + filepath.Join(home, "modcache"),
			"GOCACHE=" + filepath.Join(dir, "gocache"), "GOTOOLCHAIN=local", "GOFLAGS=-modcacherw", "GOENV=off", "GOWORK=off",
		}
		env = append(env, more...)
		return func(args ...string) (string, error) { return try(t, home, env, "go", args...) }
	}
	whole := func(name string) {
		run := machine(name)
		for _, c := range []struct{ args, want string }{
			{"get example.org/demo@v1.0.0", "added example.org/demo v1.0.0"},
			{"get example.org/demo@main", "upgraded example.org/demo v1.0.0 => " + branch},
			{"get example.org/demo@latest", "added example.org/Upper/dep v1.2.0-RC1"},
			{"list -m -versions example.org/demo", "example.org/demo v1.0.0 v1.1.0"},
			{"mod download all", ""},
			{"build ./...", ""},
			{"mod verify", "all modules verified"},
		} {
			out, err := run(strings.Fields(c.args)...)
			require.NoError(t, err, "go %s:\n%s", c.args, out)
			assert.Contains(t, out, c.want)
		}
		sameFile(t, filepath.Join(www, wrong), filepath.Join(dir, name, "modcache/cache/download", wrong))
		sums, err := os.ReadFile(filepath.Join(dir, name, "go.sum"))
		require.NoError(t, err)
		assert.Contains(t, string(sums), "example.org/demo v1.1.0 h1:")
	}
	whole("first")
	assert.Equal(t, 1, a.asked(wrong))
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")
	sameFile(t, filepath.Join(www, wrong), filepath.Join(d.data, "go", wrong))
	d.noTemporary()

	out, err := machine("other")("get", "corp.example.org/x@latest")
	require.Error(t, err)
	assert.Contains(t, out, "it is private, and nobody is asked about it here", "go shows why")
	assert.Zero(t, a.asked("/corp.example.org/x/@latest")+b.asked("/corp.example.org/x/@latest"))

	// Private modules go on to the next of GOPROXY, and past the checksum database.
	putModule(t, www, map[string]string{}, "corp.example.org/x", "v1.0.0", "")
	out, err = machine("corporate", "GOPROXY="+d.url+"/go,"+second.url, "GONOSUMDB=corp.example.org")("mod", "download", "corp.example.org/x@v1.0.0")
	require.NoError(t, err, out)
	assert.Equal(t, 1, second.asked("/corp.example.org/x/@v/v1.0.0.zip"))
	assert.Zero(t, a.asked("/corp.example.org/x/@v/v1.0.0.info")+b.asked("/corp.example.org/x/@v/v1.0.0.info"))

	resp, err := http.Head(d.url + "/go" + wrong)
	require.NoError(t, err)
	assert.EqualValues(t, len(mustRead(t, www, wrong)), resp.ContentLength)

	a.stop()
	b.stop()
	db.stop()
	whole("second")

	// A hub without mirrors is no reason for go to leave it: only "|" is.
	fetch := []string{"mod", "download", "example.org/demo@v1.9.0"}
	out, err = machine("comma", "GOPROXY="+d.url+"/go,"+second.url)(fetch...)
	require.Error(t, err)
	assert.Contains(t, out, "502 Bad Gateway")
	assert.Zero(t, second.asked("/example.org/demo/@v/v1.9.0.info"))
	_, err = machine("pipe", "GOPROXY="+d.url+"/go|"+second.url)(fetch...)
	require.Error(t, err, "it is not there either")
	assert.Equal(t, 1, second.asked("/example.org/demo/@v/v1.9.0.info"))
}

// putModule writes a version into the tree of a module proxy, and what a
// checksum database says of it into sums.
func putModule(t *testing.T, www string, sums map[string]string, path, version, requires string) {
	t.Helper()
	mod := "module " + path + "\n\ngo 1.21\n\n" + requires
	source := "package " + filepath.Base(path) + "\n"
	if requires != "" {
		source += "\nimport _ \"example.org/Upper/dep\"\n"
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	files := map[string]string{}
	for _, f := range []struct{ name, text string }{{"go.mod", mod}, {"source.go", source}} {
		name := path + "@" + version + "/" + f.name
		files[name] = f.text
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(w, f.text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	h1 := func(files map[string]string) string {
		var names []string
		for name := range files {
			names = append(names, name)
		}
		slices.Sort(names)
		sum, err := dirhash.Hash1(names, func(name string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(files[name])), nil
		})
		require.NoError(t, err)
		return sum
	}
	sums[path+"@"+version] = fmt.Sprintf("%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", path, version, h1(files), h1(map[string]string{"go.mod": mod}))

	escapedPath, err := module.EscapePath(path)
	require.NoError(t, err)
	escaped, err := module.EscapeVersion(version)
	require.NoError(t, err)
	at := filepath.Join(www, escapedPath, "@v")
	put(t, fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-02T03:04:05Z"}`, version), at, escaped+".info")
	put(t, []byte(mod), at, escaped+".mod")
	put(t, b.Bytes(), at, escaped+".zip")
}
