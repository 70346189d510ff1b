//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

// testHelm: helm with a repository on two mirrors, one of whose charts is on another
// host. One mirror sends a wrong chart, which helm does not get to see; then all are
// stopped, and another machine gets the same. helm itself packs and indexes.
func testHelm(t *testing.T, p program) {
	need(t, "helm")
	dir := t.TempDir()
	www, far := filepath.Join(dir, "www"), filepath.Join(dir, "far")
	a, b, second := newMirror(t, www), newMirror(t, www), newMirror(t, far)
	chart := func(to, name, version string) {
		put(t, fmt.Appendf(nil, "apiVersion: v2\nname: %s\nversion: %s\ndescription: a chart\n", name, version), dir, "src", name, "Chart.yaml")
		put(t, []byte("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n"), dir, "src", name, "templates/x.yaml")
		must(t, dir, nil, "helm", "package", filepath.Join("src", name), "-d", to)
	}
	chart(www, "demo", "1.0.0")
	chart(www, "demo", "2.0.0+build.1")
	chart(far, "other", "0.1.0")
	must(t, dir, nil, "helm", "repo", "index", far, "--url", second.url)
	must(t, dir, nil, "helm", "repo", "index", www, "--url", a.url, "--merge", filepath.Join(far, "index.yaml"))
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: charts
  type: helm
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  options: {files: {far: `+second.url+`/}}
log: {level: debug}
`)
	const wrong = "/demo-1.0.0.tgz"
	a.next(wrong, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("not what was promised")) })
	whole := func(name string) {
		home := filepath.Join(dir, name)
		put(t, nil, home, "empty")
		helm := func(args ...string) string { return must(t, home, nil, "helm", args...) }
		helm("repo", "add", "hub", d.url+"/charts")
		helm("repo", "update")
		assert.Contains(t, helm("search", "repo", "hub/"), "hub/other")
		helm("pull", "hub/demo", "--version", "1.0.0")
		helm("pull", "hub/demo")
		helm("pull", "hub/other")
		sameFile(t, filepath.Join(www, "demo-1.0.0.tgz"), filepath.Join(home, "demo-1.0.0.tgz"))
		sameFile(t, filepath.Join(www, "demo-2.0.0+build.1.tgz"), filepath.Join(home, "demo-2.0.0+build.1.tgz"))
		sameFile(t, filepath.Join(far, "other-0.1.0.tgz"), filepath.Join(home, "other-0.1.0.tgz"))
		assert.Contains(t, helm("template", "hub/other"), "ConfigMap")
	}
	whole("first")
	assert.Equal(t, 1, a.asked(wrong), "the mirror that had it wrong")
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")
	assert.Equal(t, 1, second.asked("/other-0.1.0.tgz"))
	d.noTemporary()

	a.stop()
	b.stop()
	second.stop()
	whole("second")
}
