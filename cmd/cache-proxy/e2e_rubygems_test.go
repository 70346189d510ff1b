//go:build e2e

package main

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testRubyGems: Bundler and gem with a repository on two mirrors, which have no
// ETag. One sends a wrong gem, which Bundler does not get to see; a version that is
// added comes by a range of one list; then both are stopped, and other machines get
// the same.
func testRubyGems(t *testing.T, p program) {
	need(t, "gem", "bundle")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	a, b := newMirror(t, www), newMirror(t, www)
	gems := &gemRepository{www: www}
	gems.add(t, "leaf", "2.0.0", "")
	gems.add(t, "lib", "1.0.0", "leaf")
	must(t, dir, nil, "gem", "generate_index", "--directory", www)
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: gems
  type: rubygems
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  cache: {policies: [{match: '^/(versions|names|info/.*|.*specs\.4\.8\.gz)$', refresh-after: 1ms}]}
log: {level: debug}
`)
	const wrong = "/gems/lib-1.0.0.gem"
	a.next(wrong, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("not what was promised")) })

	machine := func(name string) (run func(command string) string, home string) {
		home = filepath.Join(dir, name)
		put(t, []byte("source \""+d.url+"/gems/\"\ngem \"lib\"\n"), home, "Gemfile")
		env := []string{
			"BUNDLE_PATH=" + filepath.Join(home, "bundle"), "BUNDLE_APP_CONFIG=" + filepath.Join(home, "config"), "BUNDLE_USER_HOME=" + filepath.Join(home, "user"),
			"BUNDLE_RETRY=0", "GEM_HOME=" + filepath.Join(home, "gems"), "BUNDLE_SILENCE_ROOT_WARNING=1",
		}
		return func(command string) string {
			words := strings.Fields(command)
			return must(t, home, env, words[0], words[1:]...)
		}, home
	}
	whole := func(home, version string) {
		found, err := filepath.Glob(filepath.Join(home, "bundle/ruby/*/gems/lib-"+version+"/payload.rb"))
		require.NoError(t, err)
		assert.Len(t, found, 1, version)
	}
	run, first := machine("first")
	run("bundle install")
	whole(first, "1.0.0")
	assert.Equal(t, 1, a.asked(wrong), "the mirror that had it wrong")
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")

	gems.add(t, "lib", "1.1.0", "leaf")
	run("bundle update")
	whole(first, "1.1.0")
	d.logged(`path=/gems/versions .*status=206`, "what was added to the list alone")
	assert.NotRegexp(t, `path=/gems/(latest_|prerelease_)?specs`, d.log.tail(), "the old index is for who has no other")
	must(t, dir, nil, "gem", "generate_index", "--directory", www)
	run("gem fetch lib --version 1.1.0 --clear-sources --source " + d.url + "/gems/")
	sameFile(t, filepath.Join(www, "gems/lib-1.1.0.gem"), filepath.Join(first, "lib-1.1.0.gem"))
	d.noTemporary()

	a.stop()
	b.stop()
	run, second := machine("second")
	run("bundle install")
	whole(second, "1.1.0")
	run("gem fetch lib --version 1.1.0 --clear-sources --source " + d.url + "/gems/")
	sameFile(t, filepath.Join(www, "gems/lib-1.1.0.gem"), filepath.Join(second, "lib-1.1.0.gem"))
}

// A gemRepository is a folder with a compact index.
type gemRepository struct {
	www      string
	versions strings.Builder // lines of all gems
	added    int
}

// add builds a gem, with a dependency if there is one, and adds it to the index.
func (g *gemRepository) add(t *testing.T, name, version, needs string) {
	t.Helper()
	work := t.TempDir()
	spec := fmt.Sprintf("Gem::Specification.new do |s|\n s.name=%q; s.version=%q; s.summary=%[1]q; s.authors=['A']; s.files=['payload.rb']; s.homepage='https://example.org'; s.license='MIT'\n", name, version)
	line := version + " |"
	if needs != "" {
		spec += fmt.Sprintf(" s.add_dependency %q, '>= 0'\n", needs)
		line = version + " " + needs + ":>= 0|"
	}
	put(t, []byte(spec+"end\n"), work, "x.gemspec")
	put(t, []byte("# "+name), work, "payload.rb")
	must(t, work, nil, "gem", "build", "x.gemspec")
	file := name + "-" + version + ".gem"
	content := mustRead(t, work, file)
	put(t, content, g.www, "gems", file)

	info := []byte("---\n")
	if old, err := os.ReadFile(filepath.Join(g.www, "info", name)); err == nil {
		info = old
	}
	info = fmt.Appendf(info, "%schecksum:%x\n", line, sha256.Sum256(content))
	put(t, info, g.www, "info", name)
	fmt.Fprintf(&g.versions, "%s %s %x\n", name, version, md5.Sum(info))
	put(t, []byte("created_at: 2026-01-01T00:00:00Z\n---\n"+g.versions.String()), g.www, "versions")
	put(t, []byte("---\nleaf\nlib\n"), g.www, "names")
	g.added++ // a mirror that knows no entity tags tells two versions of one second apart by nothing
	at := time.Now().Add(time.Duration(g.added-100) * time.Minute)
	for _, file := range []string{"info/" + name, "versions", "names"} {
		require.NoError(t, os.Chtimes(filepath.Join(g.www, file), at, at))
	}
}
