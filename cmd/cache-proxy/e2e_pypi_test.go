//go:build e2e

package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// testPyPI: pip with an index on two mirrors, and some of its files on another
// host. One mirror sends a wrong wheel, which pip does not get to see; then all
// are stopped, and another machine with nothing gets the same. The wheel is small, so that nothing
// of it was sent by the time that it is found wrong.
func testPyPI(t *testing.T, p program) {
	need(t, "pip")
	for _, form := range []string{"html", "json"} {
		t.Run(form, func(t *testing.T) { testPyPIForm(t, p, form == "json") })
	}
}

func testPyPIForm(t *testing.T, p program, json bool) {
	dir := t.TempDir()
	www, second := filepath.Join(dir, "www"), filepath.Join(dir, "second")
	a, b, files := newMirror(t, www), newMirror(t, www), newMirror(t, second)
	const (
		demo = "/packages/ab/demo_hub-1.0+local-py3-none-any.whl"
		dep  = "/aa/dep.hub-2.0-py3-none-any.whl"
		lazy = "/packages/lazy_hub-3.0-py3-none-any.whl"
		far  = "/packages/far_hub-4.0-py3-none-any.whl"
	)
	putWheel(t, "demo-hub", "1.0+local", "dep-hub>=2", true, www, demo)
	putWheel(t, "dep-hub", "2.0", "", true, second, dep)
	putWheel(t, "lazy-hub", "3.0", "demo-hub", false, www, lazy)
	putWheel(t, "far-hub", "4.0", "lazy-hub", false, www, far)
	page := func(name, link, file string, metadata bool) {
		sum := func(name string) string {
			content, err := os.ReadFile(name)
			require.NoError(t, err)
			return fmt.Sprintf("%x", sha256.Sum256(content))
		}
		hash := sum(file)
		if json {
			core := ""
			if metadata {
				core = `"core-metadata":{"sha256":"` + sum(file+".metadata") + `"},"dist-info-metadata":{"sha256":"` + sum(file+".metadata") + `"},`
			}
			put(t, []byte(`{"meta":{"api-version":"1.1"},"name":"`+name+`","files":[{`+core+`"filename":"`+filepath.Base(file)+
				`","hashes":{"sha256":"`+hash+`"},"requires-python":">=3","url":"`+link+`","yanked":false}]}`), www, "simple", name, "index.json")
			return
		}
		core := ""
		if metadata {
			core = ` data-core-metadata="sha256=` + sum(file+".metadata") + `" data-dist-info-metadata="sha256=` + sum(file+".metadata") + `"`
		}
		put(t, []byte(`<!DOCTYPE html><html><body><a href="`+link+`#sha256=`+hash+`" data-requires-python="&gt;=3"`+core+`>`+filepath.Base(file)+`</a></body></html>`),
			www, "simple", name, "index.html")
	}
	page("demo-hub", "../.."+strings.ReplaceAll(demo, "+", "%2B"), filepath.Join(www, demo), true)
	page("dep-hub", files.url+dep, filepath.Join(second, dep), true)
	page("lazy-hub", b.url+lazy, filepath.Join(www, lazy), false)
	page("far-hub", a.url+far, filepath.Join(www, far), false)
	for _, m := range []*mirror{a, b} {
		m.files = byAccept(m.files, www)
	}
	a.next(demo, func(w http.ResponseWriter, r *http.Request) {
		content, err := os.ReadFile(filepath.Join(www, demo))
		assert.NoError(t, err)
		content[len(content)/2] ^= 1
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Write(content)
	})
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: pypi
  type: pypi
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  options: {files: {f: `+files.url+`/}}
  cache: {policies: [{match: '^/simple/', refresh-after: 1ms}]}
log: {level: debug}
`)

	whole := func(machine string, extra ...string) (out string) {
		home := filepath.Join(dir, machine)
		put(t, nil, home, "pip.conf")
		args := append([]string{"download", "--isolated", "--no-cache-dir", "--retries", "0", "-v", "--index-url", d.url + "/pypi/simple/", "-d", home}, extra...)
		out = must(t, home, []string{"PIP_CONFIG_FILE=/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK=1"}, "pip", args...)
		sameFile(t, filepath.Join(www, demo), filepath.Join(home, filepath.Base(demo)))
		sameFile(t, filepath.Join(second, dep), filepath.Join(home, filepath.Base(dep)))
		return out
	}
	out := whole("first", "Demo.Hub")
	assert.Contains(t, out, "/pypi/_f/f"+dep+".metadata")
	assert.Equal(t, 1, a.asked(demo), "the mirror that had it wrong")
	assert.Equal(t, 1, b.asked(demo), "the mirror that had it right")
	assert.Equal(t, 1, files.asked(dep+".metadata"))

	out = whole("lazy", "--use-feature=fast-deps", "lazy-hub")
	assert.Contains(t, out, "Obtaining dependency information from lazy-hub 3.0")
	d.logged(`path=/pypi`+lazy+` .*status=206`, "the end of the wheel alone")
	assert.Equal(t, 1, files.asked(dep))
	d.noTemporary()
	t.Run("uv", func(t *testing.T) { testUV(t, d, www, far) })

	a.stop()
	b.stop()
	files.stop()
	whole("second", "demo_hub")
	whole("third", "--use-feature=fast-deps", "lazy-hub")
	resp, _ := d.mustGet("/pypi/simple/demo-hub/", "Accept", "application/vnd.pypi.simple.v1+json, text/html; q=0.1")
	assert.Equal(t, "STALE", resp.Header.Get("X-Cache"))
	if json {
		assert.Equal(t, "application/vnd.pypi.simple.v1+json", resp.Header.Get("Content-Type"))
	}
}

// testUV: uv, which resolves by the ends of wheels where an index has no metadata
// of them, and then installs them whole.
func testUV(t *testing.T, d *daemon, www, far string) {
	need(t, "uv", "python3")
	home := t.TempDir()
	install := func(extra ...string) string {
		args := append([]string{"pip", "install", "--no-config", "--no-cache", "--no-python-downloads", "--python", "python3", "--default-index", d.url + "/pypi/simple/",
			"--target", filepath.Join(home, "target")}, extra...)
		return must(t, home, []string{"UV_HTTP_RETRIES=0"}, "uv", args...)
	}
	out := install("--dry-run", "Far.Hub")
	for _, name := range []string{"far-hub==4.0", "lazy-hub==3.0", "demo-hub==1.0+local", "dep-hub==2.0"} {
		assert.Contains(t, out, name)
	}
	d.logged(`path=/pypi`+far+` .*status=206`, "the end of the wheel alone")
	install("far-hub")
	payload, err := os.ReadFile(filepath.Join(home, "target", "far_hub", "payload"))
	require.NoError(t, err)
	assert.Equal(t, proxytest.Random(int64(len(payload)), 3).Bytes(), payload)
	assert.Len(t, payload, 1<<20)
}

// byAccept serves the pages that there are as JSON to those who ask for it.
func byAccept(files http.Handler, www string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := filepath.Join(www, filepath.FromSlash(r.URL.Path), "index.json")
		if _, err := os.Stat(page); err == nil && strings.Contains(r.Header.Get("Accept"), "application/vnd.pypi.simple.v1+json") {
			w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
			http.ServeFile(w, r, page)
			return
		}
		files.ServeHTTP(w, r)
	})
}

// putWheel writes a wheel: with its metadata beside it, or one so large that its
// end alone is worth asking for.
func putWheel(t *testing.T, name, version, requires string, metadata bool, elem ...string) {
	t.Helper()
	payload := int64(1 << 20)
	if metadata {
		payload = 40_000
	}
	file := strings.ReplaceAll(name, "-", "_")
	info := file + "-" + version + ".dist-info/"
	text := "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"
	if requires != "" {
		text += "Requires-Dist: " + requires + "\n"
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct{ name, text string }{
		{file + "/__init__.py", ""},
		{file + "/payload", string(proxytest.Random(payload, 3).Bytes())},
		{info + "METADATA", text},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", file + "/__init__.py,,\n" + file + "/payload,,\n"},
	} {
		w, err := z.Create(f.name)
		require.NoError(t, err)
		_, err = fmt.Fprint(w, f.text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	path := put(t, b.Bytes(), elem...)
	if metadata {
		put(t, []byte(text), path+".metadata")
	}
}
