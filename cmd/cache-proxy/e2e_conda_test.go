//go:build e2e

package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testConda: rattler, the library that pixi is made of, with a channel on two
// mirrors. One sends a wrong package, which it does not get to see; then both are
// stopped, and another machine gets the same.
func testConda(t *testing.T, p program) {
	need(t, "zstd")
	python := pythonWith(t, "rattler")
	script, err := filepath.Abs("testdata/conda.py")
	require.NoError(t, err)
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	a, b := newMirror(t, www), newMirror(t, www)
	noarch := filepath.Join(www, "demo", "noarch")
	require.NoError(t, os.MkdirAll(noarch, 0o755))
	must(t, dir, nil, python, script, "build", noarch)
	must(t, noarch, nil, "zstd", "-q", "repodata.json")
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: conda
  type: conda
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
log: {level: debug}
`)
	const wrong = "/demo/noarch/lib-1.0-0.tar.bz2"
	a.next(wrong, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("not what was promised")) })
	whole := func(name string) {
		home := filepath.Join(dir, name)
		put(t, nil, home, "empty")
		must(t, home, nil, python, script, "install", d.url+"/conda/demo", filepath.Join(home, "prefix"), filepath.Join(home, "cache"), "lib")
		for _, file := range []string{"lib", "leaf"} {
			assert.Equal(t, "payload of "+file, string(mustRead(t, home, "prefix/share", file+".txt")))
		}
	}
	whole("first")
	assert.Equal(t, 1, a.asked(wrong), "the mirror that had it wrong")
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")
	assert.Equal(t, 1, a.asked("/demo/noarch/repodata.json.zst"))
	assert.Zero(t, a.asked("/demo/noarch/repodata.json"), "the packed form is the one that is asked for")
	d.noTemporary()

	a.stop()
	b.stop()
	whole("second")
}

// pythonWith is a Python of PATH that has a module; without one the test is skipped.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		python := filepath.Join(dir, "python3")
		if exec.Command(python, "-c", "import "+module).Run() == nil {
			return python
		}
	}
	t.Skipf("no python3 has the module %s", module)
	return ""
}
