package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lay writes files below a folder.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	return root
}

// keys are those that the shop has.
func (s *shop) keys() []string {
	_, out, _ := s.run("ls")
	var keys []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		keys = append(keys, fields[len(fields)-1])
	}
	return keys
}

func TestImportTree(t *testing.T) {
	root := lay(t, map[string]string{"pool/g/g++_4:1.deb": "deb", "dists/stable/Release": "release", "a b%c": "odd"})
	s := newShop(t)
	status, _, stderr := s.run("import", root, "/debian")
	require.Equal(t, exitOK, status, stderr)
	assert.Equal(t, []string{"default:/debian/a%20b%25c", "default:/debian/dists/stable/Release", "default:/debian/pool/g/g++_4:1.deb"}, s.keys())
	status, out, stderr := s.run("import", "--json", root, "/debian")
	require.Equal(t, exitOK, status, stderr)
	assert.JSONEq(t, `{"entries": 0, "bytes": 0, "skipped": 3}`, out)

	for _, c := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"nowhere to go", []string{root}, "say below which"},
		{"no such hub", []string{root, "nobody"}, `no hub "nobody"`},
	} {
		status, _, stderr = s.run(append([]string{"import"}, c.args...)...)
		assert.Equal(t, exitUsage, status, c.name)
		assert.Contains(t, stderr, c.stderr, c.name)
	}
	config := write(t, "storage: {local: {path: '"+t.TempDir()+"'}}\nhubs: [{name: npm, type: npm, upstream: [{server: 'http://127.0.0.1:1'}]}]\n")
	status, _, stderr = (&shop{t: t, config: config}).run("import", root, "npm")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "use prefetch")
}

func TestImportCacher(t *testing.T) {
	head := func(status, length string) string {
		return "HTTP/1.1 " + status + " OK\r\nContent-Length: " + length + "\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nLast-Modified: Wed, 31 Dec 2025 00:00:00 GMT\r\nEtag: \"v1\"\r\n"
	}
	root := lay(t, map[string]string{
		"debrep/pool/a_1%3a2.deb":             "abc",
		"debrep/pool/a_1%3a2.deb.head":        head("200", "3"),
		"debrep/pool/half.deb":                "ab",
		"debrep/pool/half.deb.head":           head("200", "3"),
		"debrep/pool/absent.deb":              "",
		"debrep/pool/absent.deb.head":         head("404", "0"),
		"mirror.example.org/tools/x.tgz":      "tool",
		"mirror.example.org/tools/x.tgz.head": head("200", "4"),
		"local/y.deb":                         "local",
		"local/y.deb.head":                    head("200", "5"),
		"other.example.org/z":                 "z",
		"other.example.org/z.head":            head("200", "1"),
		"_xstore/q":                           "q",
	})
	s := newShop(t)
	s.config = write(t, "storage: {local: {path: '"+s.data+"', max-size: 0, min-free: 0}}\nupstream: [{server: 'http://127.0.0.1:1'}]\n"+
		"hubs: [{name: tools, upstream: [{server: 'http://mirror.example.org/tools'}]}]\n")
	status, _, stderr := s.run("import", "--to", "local=/internal", root)
	require.Equal(t, exitOK, status, stderr)
	assert.Equal(t, []string{"default:/debian/pool/a_1:2.deb", "default:/internal/y.deb", "tools:/x.tgz"}, s.keys())
	assert.Contains(t, stderr, "other.example.org: no hub has it: 1 files left out")
	assert.Contains(t, stderr, "not whole, or no file: 2 files left out")
	_, out, _ := s.run("ls", "--json", "tools")
	assert.Contains(t, out, `"Etag":["\"v1\""]`)
	assert.Contains(t, out, `"received":"2026-01-01T00:00:00Z"`)
}

// FuzzReadHead: no head is read that is none.
func FuzzReadHead(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
	f.Add("HTTP/1.1 200\nDate: x")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		status, _, err := readHead(strings.NewReader(text))
		if err == nil && !strings.HasPrefix(text, "HTTP/1.") {
			t.Fatalf("%d of %q", status, text)
		}
	})
}
