package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A tree is an origin with the files of a map. It counts what it is asked for.
type tree struct {
	files map[string]string

	mu    sync.Mutex
	asked map[string]int
}

func (o *tree) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked[r.URL.Path]++
	o.mu.Unlock()
	text, ok := o.files[r.URL.Path]
	text = strings.ReplaceAll(text, "{self}", "http://"+r.Host)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if strings.HasPrefix(text, "{") {
		w.Header().Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(text, "<") {
		w.Header().Set("Content-Type", "text/html")
	}
	w.Header().Set("Etag", `"1"`)
	fmt.Fprint(w, text)
}

// running is a server with hubs of some types before an origin, and its shop.
func running(t *testing.T, files map[string]string, kinds ...string) (s *shop, origin *tree, base string, stop func() error) {
	t.Helper()
	origin = &tree{files: files, asked: map[string]int{}}
	upstream := httptest.NewServer(origin)
	t.Cleanup(upstream.Close)
	data := filepath.Join(t.TempDir(), "data")
	var hubs []string
	for _, kind := range kinds {
		hubs = append(hubs, fmt.Sprintf("{name: my%s, type: %s, upstream: [{server: '%s/%s'}]}", kind, kind, upstream.URL, kind))
	}
	s = &shop{t, write(t, "storage: {local: {path: '"+data+"', max-size: 0, min-free: 0}}\nadmin: {listen: ''}\nlog: {level: error}\nhubs: ["+strings.Join(hubs, ", ")+"]\n"), data}
	c, _, err := cacheproxy.Load(s.config)
	require.NoError(t, err)
	server, err := cacheproxy.New(c, cacheproxy.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	return s, origin, front.URL, server.Close
}

func sum256(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func integrity(s string) string {
	sum := sha512.Sum512([]byte(s))
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestPrefetch(t *testing.T) {
	crate := "crate content"
	files := map[string]string{
		"/files/a":                               "a",
		"/files/b":                               "b",
		"/npm/@s/p/-/p-1.0.0.tgz":                "scoped",
		"/npm/q/-/q-2.0.0.tgz":                   "q",
		"/go/example.org/!big/@v/v1.0.0.info":    `{"Version":"v1.0.0"}`,
		"/go/example.org/!big/@v/v1.0.0.mod":     "module example.org/Big",
		"/go/example.org/!big/@v/v1.0.0.zip":     "zip",
		"/go/example.org/dep/@v/v0.1.0.mod":      "module example.org/dep",
		"/pypi/simple/my-name/":                  `<!DOCTYPE html><a href="../../f/my_name-1.0-py3-none-any.whl#sha256=` + sum256("wheel") + `">w</a><a href="../../f/my_name-1.0.tar.gz#sha256=` + sum256("sdist") + `">s</a><a href="../../f/my_name-2.0.tar.gz">s</a>`,
		"/pypi/f/my_name-1.0-py3-none-any.whl":   "wheel",
		"/pypi/f/my_name-1.0.tar.gz":             "sdist",
		"/cargo/de/mo/demo":                      `{"name":"demo","vers":"1.0.0","deps":[],"cksum":"` + sum256(crate) + `","features":{},"yanked":false}`,
		"/cargo/dl/demo/1.0.0/download":          crate,
		"/maven/org/example/lib/1.0/lib-1.0.pom": "<project/>",
		"/maven/org/example/lib/1.0/lib-1.0.jar": "jar",
	}
	s, origin, base, stop := running(t, files, "files", "npm", "pypi", "go", "cargo", "maven")
	files["/cargo/config.json"] = `{"dl":"` + configured(t, s, "mycargo") + `/dl/{crate}/{version}/download"}`
	dir := lay(t, map[string]string{
		"package-lock.json": `{"lockfileVersion":3,"packages":{"":{"name":"me"},"node_modules/@s/p":{"version":"1.0.0","resolved":"https://registry.example.org/@s/p/-/p-1.0.0.tgz","integrity":"` + integrity("scoped") + `"},
			"node_modules/q":{"version":"2.0.0"},"node_modules/local":{"resolved":"packages/local","link":true},"packages/local":{"version":"1.0.0"}}}`,
		"go.sum":           "example.org/Big v1.0.0 h1:abc=\nexample.org/Big v1.0.0/go.mod h1:def=\nexample.org/dep v0.1.0/go.mod h1:ghi=\n",
		"requirements.txt": "--index-url x\n# comment\nMy.Name[extra]==1.0 ; python_version > '3' \\\n  --hash=sha256:" + sum256("wheel") + "  # why\n",
		"Cargo.lock":       "version = 4\n\n[[package]]\nname = \"demo\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\nchecksum = \"" + sum256(crate) + "\"\n\n[[package]]\nname = \"me\"\nversion = \"0.1.0\"\n",
		"bom.json":         `{"bomFormat":"CycloneDX","components":[{"purl":"pkg:maven/org.example/lib@1.0?type=jar"},{"purl":"pkg:deb/debian/curl@7"},{"components":[{"purl":"pkg:pypi/my-name@1.0"}]}]}`,
		"spdx.json":        `{"spdxVersion":"SPDX-2.3","packages":[{"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/%40s/p@1.0.0"}]}]}`,
		"list":             "# files\n/myfiles/a\nhttp://cache.example.org:8881/myfiles/b\n",
	})
	var want []string
	for _, c := range []struct {
		name    string
		args    []string
		stored  []string // key paths that are new
		skipped int
	}{
		{"npm", []string{"package-lock.json"}, []string{"mynpm:/@s/p/-/p-1.0.0.tgz", "mynpm:/q/-/q-2.0.0.tgz"}, 0},
		{"go", []string{"go.sum"}, []string{"mygo:/example.org/!big/@v/v1.0.0.info", "mygo:/example.org/!big/@v/v1.0.0.mod", "mygo:/example.org/!big/@v/v1.0.0.zip", "mygo:/example.org/dep/@v/v0.1.0.mod"}, 0},
		{"pypi", []string{"requirements.txt"}, []string{"mypypi:/f/my_name-1.0-py3-none-any.whl"}, 0},
		{"cargo", []string{"Cargo.lock"}, []string{"mycargo:/_dl/demo/1.0.0/" + sum256(crate), "mycargo:/de/mo/demo"}, 0},
		{"cyclonedx", []string{"bom.json"}, []string{"mymaven:/org/example/lib/1.0/lib-1.0.jar", "mymaven:/org/example/lib/1.0/lib-1.0.pom", "mypypi:/f/my_name-1.0.tar.gz"}, 1},
		{"spdx, and nothing new", []string{"spdx.json"}, nil, 0},
		{"list and URL", []string{"list", "/myfiles/a"}, []string{"myfiles:/a", "myfiles:/b"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"prefetch", "--json", "--server", base}
			for _, a := range c.args {
				if !strings.HasPrefix(a, "/") {
					a = filepath.Join(dir, a)
				}
				args = append(args, a)
			}
			status, out, stderr := s.run(args...)
			require.Equal(t, exitOK, status, out+stderr)
			var done fetching
			require.NoError(t, json.Unmarshal([]byte(out), &done))
			assert.Len(t, done.Skipped, c.skipped)
			want = append(want, c.stored...)
			// Again, from the disk.
			origin.mu.Lock()
			clear(origin.asked)
			origin.mu.Unlock()
			status, out, stderr = s.run(args...)
			require.Equal(t, exitOK, status, out+stderr)
			assert.Empty(t, origin.asked)
		})
	}
	require.NoError(t, stop())
	got := s.keys()
	for _, key := range want {
		assert.Contains(t, got, key)
	}
	assert.NotContains(t, got, "mypypi:/f/my_name-2.0.tar.gz")
}

// configured is the base URL of a hub's only upstream.
func configured(t *testing.T, s *shop, name string) string {
	t.Helper()
	c, _, err := cacheproxy.Load(s.config)
	require.NoError(t, err)
	for _, h := range c.Hubs {
		if h.Name == name {
			return h.Upstream[0].Server.String()
		}
	}
	t.Fatal(name)
	return ""
}

func TestPrefetchFailures(t *testing.T) {
	s, _, base, _ := running(t, map[string]string{"/npm/p/-/p-1.0.0.tgz": "right", "/files/a": "a"}, "files", "npm")
	dir := lay(t, map[string]string{
		"package-lock.json": `{"lockfileVersion":1,"dependencies":{"p":{"version":"1.0.0","resolved":"http://x/p/-/p-1.0.0.tgz","integrity":"` + integrity("wrong") + `"}}}`,
		"loose.txt":         "name>=1\n",
		"other.json":        `{"a":1}`,
		"empty.txt":         "",
	})
	for _, c := range []struct {
		name   string
		args   []string
		status int
		text   string
	}{
		{"wrong content", []string{"package-lock.json"}, exitFailed, "the lock file wants sha512:"},
		{"absent", []string{"/myfiles/none"}, exitFailed, "status 404"},
		{"some", []string{"/myfiles/none", "/myfiles/a"}, exitFailed, "1 fetched, 0 had"},
		{"not pinned", []string{"loose.txt"}, exitUsage, "no version pinned"},
		{"unknown JSON", []string{"other.json"}, exitUsage, "neither a package-lock.json"},
		{"nothing to do", []string{"empty.txt"}, exitOK, "0 fetched"},
		{"no file", []string{"nowhere.txt"}, exitUsage, "no such file"},
		{"no such hub", []string{"--hub", "nobody", "/x"}, exitUsage, `no hub "nobody"`},
		{"no server", []string{"--server", "nobody", "/x"}, exitUsage, "is no http URL"},
		{"bad pattern", []string{"--only", "(", "/x"}, exitUsage, "--only: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(dir)
			status, out, stderr := s.run(append([]string{"prefetch", "--server", base}, c.args...)...)
			assert.Equal(t, c.status, status, out+stderr)
			assert.Contains(t, out+stderr, c.text)
		})
	}
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{":8881": "127.0.0.1:8881", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", "cache.lan:1": "cache.lan:1", "192.0.2.1:1": "192.0.2.1:1"} {
		assert.Equal(t, want, reachable(in), in)
	}
}

func TestReadPURL(t *testing.T) {
	for _, c := range []struct {
		in   string
		want want
	}{
		{"pkg:npm/%40angular/core@12.3.1", want{kind: "npm", name: "@angular/core", version: "12.3.1"}},
		{"pkg:npm/@angular/core@12.3.1", want{kind: "npm", name: "@angular/core", version: "12.3.1"}},
		{"pkg:golang/example.org/a/b@v1.2.0#sub", want{kind: "go", name: "example.org/a/b", version: "v1.2.0"}},
		{"pkg:maven/org.x/y@1?type=pom", want{kind: "maven", name: "org.x:y", version: "1", url: "pom"}},
		{"pkg:PyPI/Django@1.11", want{kind: "pypi", name: "Django", version: "1.11"}},
	} {
		got, err := readPURL(c.in)
		assert.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	for _, bad := range []string{"", "npm/x@1", "pkg:npm", "pkg:/x", "pkg:maven/y@1", "pkg:npm/%zz@1"} {
		_, err := readPURL(bad)
		assert.Error(t, err, bad)
	}
}

// FuzzReadLock: every lock file is foreign.
func FuzzReadLock(f *testing.F) {
	for _, seed := range []string{
		`{"lockfileVersion":3,"packages":{"node_modules/a":{"version":"1","integrity":"sha512-AAAA"}}}`,
		`{"lockfileVersion":1,"dependencies":{"a":{"version":"1","dependencies":{"b":{"version":"2"}}}}}`,
		`{"bomFormat":"CycloneDX","components":[{"purl":"pkg:npm/a@1"}]}`,
		`{"spdxVersion":"SPDX-2.3","packages":[{"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/a@1"}]}]}`,
		"example.org/a v1.0.0 h1:x=\n", "a==1\nb\n", "[[package]]\nname = \"a\"\n", "a==1 --hash=sha256:00\n", "/a\n",
		`{"content-hash":"x","packages":[{"name":"a/b","version":"1","dist":{"type":"zip","reference":"0"}}]}`,
		`{"R":{},"Packages":{"a":{"Package":"a","Version":"1","Source":"Repository"}}}`,
		`{"version":1,"dependencies":{"net8.0":{"a":{"type":"Direct","resolved":"1"}}}}`,
		gemfileLock, mixLock, pubspecLock, terraformLock, "{\"1.2.0\",[{<<\"a\">>,{pkg,<<\"a\">>,<<\"1\">>},0}]}.\n",
		"@EXPLICIT\nhttps://a.example.org/c/noarch/a-1-0.conda#00\n", "- conda: https://a.example.org/c/noarch/a-1-0.conda\n  sha256: 00\n",
		"dependencies:\n- name: a\n  version: 1\ndigest: sha256:" + strings.Repeat("0", 64) + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := readLock(text)
		if err != nil {
			assert.Empty(t, all)
		}
	})
}

// FuzzReadPage: so is every page.
func FuzzReadPage(f *testing.F) {
	f.Add([]byte(`<a href="x-1.whl#sha256=00" data-core-metadata='true'>x</a>`), "text/html")
	f.Add([]byte(`{"files":[{"filename":"x-1.whl","url":"x","hashes":{"sha256":"00"},"core-metadata":true}]}`), "application/vnd.pypi.simple.v1+json")
	f.Fuzz(func(t *testing.T, text []byte, contentType string) {
		files, err := readPage(text, contentType)
		if err != nil {
			assert.Empty(t, files)
		}
	})
}

func TestReadPages(t *testing.T) {
	want := []pageFile{{"x-1.whl", "../x-1.whl", "sha256:00", true}, {"x-1.tar.gz", "x-1.tar.gz", "", false}}
	for kind, text := range map[string]string{
		"text/html":                           `<a href="../x-1.whl#sha256=00" data-core-metadata='sha256=11'>x</a> <A rel=a href='x-1.tar.gz'>y</A> <a name="z">`,
		"application/vnd.pypi.simple.v1+json": `{"files":[{"filename":"x-1.whl","url":"../x-1.whl","hashes":{"sha256":"00"},"core-metadata":{"sha256":"11"}},{"filename":"x-1.tar.gz","url":"x-1.tar.gz","hashes":{},"core-metadata":false}]}`,
	} {
		got, err := readPage([]byte(text), kind)
		require.NoError(t, err)
		assert.Equal(t, want, got, kind)
	}
}
