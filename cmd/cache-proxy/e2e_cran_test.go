//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testCRAN: R with a repository on two mirrors. One of them sends a wrong package,
// which R, that checks nothing, does not get to see; each form of the index is used.
// Then both are stopped, and another machine with nothing gets the same.
func testCRAN(t *testing.T, p program) {
	need(t, "R", "Rscript")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	contrib := filepath.Join(www, "src/contrib")
	require.NoError(t, os.MkdirAll(contrib, 0o755))
	for _, c := range []struct{ name, version, imports string }{{"leaf", "1.0", ""}, {"demo", "1.1", "Imports: leaf\n"}, {"demo", "1.0", ""}} {
		src := filepath.Join(dir, "build", c.name)
		put(t, fmt.Appendf(nil, "Package: %s\nVersion: %s\nTitle: T\nDescription: D.\nAuthor: A\nMaintainer: A <a@example.org>\nLicense: GPL-2\n%s", c.name, c.version, c.imports), src, "DESCRIPTION")
		put(t, []byte("export(f)\n"), src, "NAMESPACE")
		put(t, fmt.Appendf(nil, "f <- function() %q\n", c.name+" "+c.version), src, "R/f.R")
		out, err := try(t, contrib, nil, "R", "CMD", "build", src)
		require.NoError(t, err, out)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(contrib, "Archive/demo"), 0o755))
	require.NoError(t, os.Rename(filepath.Join(contrib, "demo_1.0.tar.gz"), filepath.Join(contrib, "Archive/demo/demo_1.0.tar.gz")))
	out, err := try(t, contrib, nil, "Rscript", "-e", `tools::write_PACKAGES(".", type="source")`)
	require.NoError(t, err, out)

	a, b := newMirror(t, www), newMirror(t, www)
	const wrong = "/src/contrib/demo_1.1.tar.gz"
	a.next(wrong, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("not what was promised")) })
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: cran
  type: cran
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
log: {level: debug}
`)

	whole := func(name string) {
		home := filepath.Join(dir, name)
		for _, lib := range []string{"lib", "got", "tmp"} {
			require.NoError(t, os.MkdirAll(filepath.Join(home, lib), 0o755))
		}
		script := put(t, fmt.Appendf(nil, `
options(repos = c(CRAN = %[1]q), warn = 2)
install.packages("demo", lib = "lib", quiet = TRUE)
stopifnot(demo::f() == "demo 1.1")
for (p in c("demo", "leaf")) download.packages(p, "got", quiet = TRUE)
for (f in c("PACKAGES.gz", "PACKAGES")) download.file(paste0(%[1]q, "/src/contrib/", f), file.path("got", f), quiet = TRUE)
download.file(paste0(%[1]q, "/src/contrib/demo_1.0.tar.gz"), "got/demo_1.0.tar.gz", quiet = TRUE)
`, d.url+"/cran"), home, "install.R")
		out, err := try(t, home, []string{"R_LIBS=" + filepath.Join(home, "lib")}, "Rscript", "--vanilla", script)
		require.NoError(t, err, out)
		for _, file := range []string{"demo_1.1.tar.gz", "leaf_1.0.tar.gz", "PACKAGES.gz", "PACKAGES"} {
			sameFile(t, filepath.Join(contrib, file), filepath.Join(home, "got", file))
		}
		sameFile(t, filepath.Join(contrib, "Archive/demo/demo_1.0.tar.gz"), filepath.Join(home, "got/demo_1.0.tar.gz"))
	}
	whole("first")
	assert.Equal(t, 1, a.asked("/src/contrib/PACKAGES.rds"))
	assert.Equal(t, 1, a.asked(wrong))
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")
	d.noTemporary()

	a.stop()
	b.stop()
	whole("second")
}
