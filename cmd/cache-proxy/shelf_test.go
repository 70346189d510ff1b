package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A shop is a configuration with a hub tools and a default one, and its store.
type shop struct {
	t      *testing.T
	config string
	data   string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	return &shop{t, write(t, "storage: {local: {path: '"+data+"', max-size: 0, min-free: 0}}\nadmin: {listen: ''}\nupstream: [{server: 'http://127.0.0.1:1'}]\n"+
		"hubs: [{name: tools, upstream: [{server: 'http://127.0.0.1:1'}]}]\n"), data}
}

// held is the store, open for changes until the test is over or it is closed.
func (s *shop) held() *cacheproxy.Shelf {
	s.t.Helper()
	c, _, err := cacheproxy.Load(s.config)
	require.NoError(s.t, err)
	shelf, err := cacheproxy.HoldShelf(c, cacheproxy.Options{})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { shelf.Close() })
	return shelf
}

// put stores content.
func (s *shop) put(hub, path, content string, at time.Time) {
	s.t.Helper()
	shelf := s.held()
	require.NoError(s.t, shelf.Put(s.t.Context(), &cacheproxy.Entry{Key: cacheproxy.Key{Hub: hub, Path: path}, Status: 200, Size: -1, Received: at, Stored: at}, strings.NewReader(content)))
	require.NoError(s.t, shelf.Close())
}

// file is one below the data directory.
func (s *shop) file(name string) string { return filepath.Join(s.data, filepath.FromSlash(name)) }

// run runs a command with the configuration.
func (s *shop) run(args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	var out, err bytes.Buffer
	status = run(append(args, "--config", s.config), &out, &err)
	return status, out.String(), err.String()
}

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// filled is a shop with five entries, one of them put there by hand.
func filled(t *testing.T) *shop {
	s := newShop(t)
	s.put("default", "/debian/pool/a.deb", strings.Repeat("a", 3000), newYear)
	s.put("default", "/debian/dists/stable/Release", "release", newYear)
	s.put("tools", "/go/go1.tgz", "tool", newYear)
	s.put("tools", "/x?v=1", "query", newYear)
	require.NoError(t, os.WriteFile(s.file("tools/bare"), []byte("bare"), 0o600))
	return s
}

func TestLs(t *testing.T) {
	s := filled(t)
	for _, c := range []struct {
		name string
		args []string
		keys []string
	}{
		{"all", nil, []string{"default:/debian/dists/stable/Release", "default:/debian/pool/a.deb", "tools:/bare", "tools:/go/go1.tgz", "tools:/x?v=1"}},
		{"a hub", []string{"tools"}, []string{"tools:/bare", "tools:/go/go1.tgz", "tools:/x?v=1"}},
		{"the default hub", []string{"default"}, []string{"default:/debian/dists/stable/Release", "default:/debian/pool/a.deb"}},
		{"a prefix", []string{"default:/debian/p"}, []string{"default:/debian/pool/a.deb"}},
		{"a path of clients", []string{"/tools/go/"}, []string{"tools:/go/go1.tgz"}},
		{"a URL", []string{"http://cache.lan:8881/debian/dists"}, []string{"default:/debian/dists/stable/Release"}},
		{"nothing", []string{"tools:/nothing"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, out, stderr := s.run(append([]string{"ls"}, c.args...)...)
			require.Equal(t, exitOK, status, stderr)
			var keys []string
			for line := range strings.Lines(out) {
				fields := strings.Fields(line)
				keys = append(keys, fields[len(fields)-1])
			}
			assert.Equal(t, c.keys, keys)
		})
	}
	_, out, _ := s.run("ls", "tools:/go")
	assert.Contains(t, out, "4 B")
	_, out, _ = s.run("ls", "--long", "tools:/go")
	assert.Regexp(t, ` 200 +sha256:[0-9a-f]{64} `, out)
	_, out, _ = s.run("ls", "--json", "tools:/go")
	var e cacheproxy.Entry
	require.NoError(t, json.Unmarshal([]byte(out), &e))
	assert.Equal(t, cacheproxy.Key{Hub: "tools", Path: "/go/go1.tgz"}, e.Key)

	status, _, stderr := s.run("ls", "a/b")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "neither HUB")
	status, _, stderr = newShop(t).run("ls")
	assert.Equal(t, exitFailed, status)
	assert.Contains(t, stderr, "no server has run on")
}

// TestLsBesideServer: who reads the store minds nobody who has it.
func TestLsBesideServer(t *testing.T) {
	s := filled(t)
	s.held()
	status, out, stderr := s.run("ls", "default")
	assert.Equal(t, exitOK, status, stderr)
	assert.Contains(t, out, "a.deb")
}

func TestDu(t *testing.T) {
	s := filled(t)
	for _, c := range []struct {
		name string
		args []string
		want []share
	}{
		{"by hub", nil, []share{{"default:/", 3007, 2}, {"tools:/", 13, 3}}},
		{"a hub", []string{"tools"}, []share{{"tools:/", 9, 2}, {"tools:/go/", 4, 1}}},
		{"below a path", []string{"/debian/"}, []share{{"default:/debian/pool/", 3000, 1}, {"default:/debian/dists/", 7, 1}}},
		{"deep", []string{"--depth", "9", "default"}, []share{{"default:/debian/pool/", 3000, 1}, {"default:/debian/dists/stable/", 7, 1}}},
		{"nothing", []string{"/debian/nothing/"}, []share{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, out, stderr := s.run(append([]string{"du", "--json"}, c.args...)...)
			require.Equal(t, exitOK, status, stderr)
			var got []share
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			assert.Equal(t, c.want, got)
		})
	}
	_, out, _ := s.run("du")
	assert.Regexp(t, `2\.94 KiB +2 objects +default:/\n13 B +3 objects +tools:/\n2\.95 KiB +5 objects +total\n`, out)
	for _, args := range [][]string{{"du", "nobody"}, {"ls", "nobody"}, {"ls", "--json", "nobody:/x"}, {"purge", "nobody:/x"}} {
		status, out, stderr := s.run(args...)
		assert.Equal(t, exitUsage, status, args)
		assert.Empty(t, out)
		assert.Contains(t, stderr, `nothing is stored of a hub "nobody", and the configuration has none`)
	}
	status, _, _ := s.run("ls", "tools:/nothing/here")
	assert.Equal(t, exitOK, status)
}

func TestVerify(t *testing.T) {
	s := filled(t)
	status, out, stderr := s.run("verify")
	require.Equal(t, exitOK, status, stderr)
	assert.Equal(t, "5 files, 2.95 KiB, 0 damaged, 1 without a digest\n", out)

	// A flipped bit keeps the length; a truncated file does not.
	flipped := s.file("debian/pool/a.deb")
	text, err := os.ReadFile(flipped)
	require.NoError(t, err)
	text[17] ^= 1
	f, err := os.OpenFile(flipped, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(text, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Truncate(s.file("tools/go/go1.tgz"), 2))

	status, out, _ = s.run("verify")
	assert.Equal(t, exitFailed, status)
	assert.Contains(t, out, "damaged debian/pool/a.deb: content is ")
	assert.Contains(t, out, "damaged tools/go/go1.tgz: 2 bytes, want 4")
	assert.Contains(t, out, "2 damaged")
	status, out, _ = s.run("verify", "tools:/x")
	assert.Equal(t, exitOK, status, "what is not asked about: %s", out)

	s.held() // as a server has it
	status, out, _ = s.run("verify", "--delete", "--json")
	assert.Equal(t, exitFailed, status)
	var found scrubbing
	require.NoError(t, json.Unmarshal([]byte(out), &found))
	require.Len(t, found.Damaged, 2)
	assert.True(t, found.Damaged[0].Deleted && found.Damaged[1].Deleted)
	assert.NoFileExists(t, flipped)
	assert.NoFileExists(t, s.file("tools/go/go1.tgz"))
	assert.FileExists(t, s.file("tools/bare"))
	status, _, _ = s.run("verify")
	assert.Equal(t, exitOK, status)
}
