//go:build e2e

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A guest is a client of an ecosystem whose hub has a member of the house and a
// public one.
type guest struct {
	kind    string // of the hub
	private string // the pattern that names what is the house's alone
	merges  bool   // versions of one package out of two members
	audits  string // in the path by which the client tells what is installed; "": it does not

	named   func(name string) string // a package of holdings in this ecosystem
	add     func(t *testing.T, m *mirror, name, version string)
	install func(t *testing.T, hub, home, name, version string) (out string, err error) // version "": which the client likes
	has     func(t *testing.T, home, name string) (version string)                      // that was installed
	lists   func(t *testing.T, hub, home, name string) string                           // the versions that the client sees; nil: it has no such command
}

// holdings are what the two members have. The public one has everything of the
// house too, newer, as somebody might have who wishes that it is taken.
var holdings = []struct {
	house         bool
	name, version string
}{
	{true, "house-lib", "1.0.0"},
	{true, "inner", "1.0.0"}, // which no pattern names
	{true, "both", "1.0.0"},  // which is shared
	{false, "house-lib", "1.9.0"},
	{false, "house-none", "1.9.0"},
	{false, "inner", "1.9.0"},
	{false, "both", "1.2.0"},
	{false, "leaf", "1.0.0"},
}

// testMembers: real clients of a hub that has a private member beside a public one
// get each package of the right one, and the public one is never asked about a
// private name, by no byte of any request: not by index, file, audit or header, and not for a name that
// nobody has.
func testMembers(t *testing.T, p program) {
	for _, c := range []struct {
		name  string
		guest func(t *testing.T) guest
	}{
		{"pip", pipGuest},
		{"npm", npmGuest},
		{"go", goGuest},
		{"cargo", cargoGuest},
		{"gem", gemGuest},
		{"composer", composerGuest},
		{"nuget", nugetGuest},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testGuest(t, p, c.guest(t))
		})
	}
}

func testGuest(t *testing.T, p program, g guest) {
	dir := t.TempDir()
	house, public := newMirror(t, filepath.Join(dir, "house")), newMirror(t, filepath.Join(dir, "public"))
	for _, h := range holdings {
		m := public
		if h.house {
			m = house
		}
		g.add(t, m, g.named(h.name), h.version)
	}
	house.files = unaudited(house.files)
	w := &witness{}
	public.files = w.watch(public.files)
	shared := ""
	if g.merges {
		shared = ", shared: ['" + g.named("both") + "']"
	}
	d := p.start(t, dir, fmt.Sprintf(`listen: 127.0.0.1:0
hubs:
- name: h
  type: %s
  upstream:
  - {server: %s, member: house, private: ['%s']%s}
  - {server: %s, member: public}
log: {level: debug}
`, g.kind, house.url, g.private, shared, public.url))

	machines := 0
	install := func(name, version string) (got, out string, err error) {
		machines++
		home := filepath.Join(dir, fmt.Sprint("machine", machines))
		require.NoError(t, os.MkdirAll(home, 0o755))
		if out, err = g.install(t, d.url+"/h", home, g.named(name), version); err == nil {
			got = g.has(t, home, g.named(name))
		}
		return got, out, err
	}
	for _, c := range []struct{ name, version, want, why string }{
		{"house-lib", "", "1.0.0", "the house's, though the public one's is newer"},
		{"inner", "", "1.0.0", "what the house has is the house's, if no pattern names it"},
		{"leaf", "", "1.0.0", "the public one's"},
	} {
		got, out, err := install(c.name, c.version)
		if assert.NoError(t, err, "%s:\n%s", c.name, out) {
			assert.Equal(t, c.want, got, c.why)
		}
	}
	for _, c := range []struct{ name, version, why string }{
		{"house-none", "", "the public one's alone, and private"},
		{"house-lib", "1.9.0", "likewise"},
	} {
		_, out, err := install(c.name, c.version)
		assert.Error(t, err, "%s, %s:\n%s", c.name, c.why, out)
	}
	if g.merges {
		for _, version := range []string{"1.0.0", "1.2.0"} {
			got, out, err := install("both", version)
			if assert.NoError(t, err, "both %s:\n%s", version, out) {
				assert.Equal(t, version, got)
			}
		}
	}
	if g.merges && g.lists != nil {
		out := g.lists(t, d.url+"/h", filepath.Join(dir, "machine1"), g.named("both"))
		assert.Contains(t, out, "1.0.0")
		assert.Contains(t, out, "1.2.0")
	}
	assert.NotEmpty(t, w.about("leaf"), "of what it was asked there is a record")
	if g.audits != "" {
		assert.NotEmpty(t, w.about("post "+g.audits), "audits too")
	}
	assert.Empty(t, w.about("house"), "the public one has heard of a private name")
	d.noTemporary()
}

// A witness has a record of all that a mirror was asked.
type witness struct {
	mu    sync.Mutex
	asked []string // guarded by mu; whole requests, in small letters, escapes undone, bodies unpacked
}

// watch is next with everything written down.
func (w *witness) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
				body, err = io.ReadAll(z)
			}
		}
		text := fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", r.Header, " ", string(body), " ", err)
		for _, undo := range []func(string) (string, error){url.PathUnescape, url.QueryUnescape} {
			if plain, err := undo(text); err == nil && plain != text {
				text += " " + plain
			}
		}
		w.mu.Lock()
		w.asked = append(w.asked, strings.ToLower(text))
		w.mu.Unlock()
		next.ServeHTTP(rw, r)
	})
}

// unaudited is next without an answer to what clients tell, so that others are told.
func unaudited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// about is what was asked in which text occurs.
func (w *witness) about(text string) (found []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.asked {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// onlyVersion is the version in the name of the one file that pattern matches,
// whose star stands for it.
func onlyVersion(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, found, 1, pattern)
	before, after, _ := strings.Cut(pattern, "*")
	return strings.TrimSuffix(strings.TrimPrefix(found[0], before), after)
}
