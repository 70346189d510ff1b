package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func TestBundle(t *testing.T) {
	from := filled(t)
	from.put("tools", "/new", "content of march", newYear.AddDate(0, 2, 0))
	dir := t.TempDir()
	everything, march := filepath.Join(dir, "all.tar"), filepath.Join(dir, "march.tar")

	status, _, stderr := from.run("export", everything)
	require.Equal(t, exitOK, status, stderr)
	assert.Contains(t, stderr, "6 entries")
	status, out, stderr := from.run("export", "--json", "--since", "2026-02-01", march, "tools:/n")
	require.Equal(t, exitOK, status, stderr)
	assert.JSONEq(t, `{"entries": 1, "bytes": 16}`, out)

	to := newShop(t)
	status, out, stderr = to.run("import", "--json", march)
	require.Equal(t, exitOK, status, stderr)
	assert.JSONEq(t, `{"entries": 1, "bytes": 16}`, out)
	status, out, stderr = to.run("import", "--json", everything)
	require.Equal(t, exitOK, status, stderr)
	assert.JSONEq(t, `{"entries": 5, "bytes": 3020, "skipped": 1}`, out)

	list := func(s *shop) string {
		_, out, _ := s.run("ls", "--long")
		return strings.ReplaceAll(out, "  -  ", "")
	}
	assert.Contains(t, list(to), "tools:/bare")
	before, after := list(from), list(to)
	for line := range strings.Lines(after) {
		if !strings.Contains(line, "/bare") { // which has a digest now
			assert.Contains(t, before, strings.TrimSpace(line))
		}
	}
	text, err := os.ReadFile(to.file("debian/pool/a.deb"))
	require.NoError(t, err)
	assert.Equal(t, strings.Repeat("a", 3000), string(text))
	status, _, stderr = to.run("verify")
	assert.Equal(t, exitOK, status, stderr)
}

func TestBundleDamage(t *testing.T) {
	from := filled(t)
	name := filepath.Join(t.TempDir(), "b.tar")
	status, _, stderr := from.run("export", name)
	require.Equal(t, exitOK, status, stderr)
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		stderr string
	}{
		{"cut short", func(b []byte) []byte { return b[:len(b)/2] }, "unexpected EOF"},
		{"without its end", func(b []byte) []byte { return b[:bytes.Index(b, []byte(bundleEnd))] }, "cut short"},
		{"another byte", func(b []byte) []byte { return bytes.Replace(b, []byte("aaaa"), []byte("aaba"), 1) }, "content is sha256:"},
		{"no bundle", func([]byte) []byte { return []byte("hello") }, "no bundle"},
		{"a version to come", func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":2`), 1) }, "version 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := newShop(t)
			bad := filepath.Join(t.TempDir(), "bad.tar")
			require.NoError(t, os.WriteFile(bad, c.change(bytes.Clone(whole)), 0o600))
			status, _, stderr := to.run("import", bad)
			assert.Equal(t, exitFailed, status)
			assert.Contains(t, stderr, c.stderr)
			if _, err := os.Stat(to.data); err == nil {
				status, out, _ := to.run("verify")
				assert.Equal(t, exitOK, status, out)
			}
		})
	}
	from.held()
	status, _, stderr = from.run("import", name)
	assert.Equal(t, exitFailed, status)
	assert.Contains(t, stderr, "in use by another cache-proxy", "while a server runs")

	require.NoError(t, os.WriteFile(from.file("debian/pool/a.deb"), bytes.Repeat([]byte("b"), 3000), 0o600))
	status, _, stderr = from.run("export", name)
	assert.Equal(t, exitFailed, status, "something was left out")
	assert.Contains(t, stderr, "a.deb is damaged")
	assert.Contains(t, stderr, "4 entries")
}

func TestParseSince(t *testing.T) {
	now := newYear
	for _, c := range []struct {
		in   string
		want time.Time
	}{
		{"", time.Time{}},
		{"2025-12-01", time.Date(2025, 12, 1, 0, 0, 0, 0, time.Local)},
		{"2025-12-01T10:00:00Z", time.Date(2025, 12, 1, 10, 0, 0, 0, time.UTC)},
		{"7d", now.AddDate(0, 0, -7)},
		{"36h", now.Add(-36 * time.Hour)},
	} {
		got, err := parseSince(c.in, now)
		assert.NoError(t, err, c.in)
		assert.True(t, c.want.Equal(got), "%s: %v", c.in, got)
	}
	_, err := parseSince("yesterday", now)
	assert.ErrorContains(t, err, `"yesterday" is no date`)
}

// kept is a taker in memory.
type kept map[cacheproxy.Key]string

func (kept) Open(context.Context, cacheproxy.Key) (*cacheproxy.Entry, io.ReadSeekCloser, error) {
	return nil, nil, os.ErrNotExist
}

func (k kept) Put(_ context.Context, e *cacheproxy.Entry, content io.Reader) error {
	text, err := io.ReadAll(content)
	k[e.Key] = string(text)
	return err
}

// FuzzBundle: whatever a bundle says, nothing is kept under what is no key, and what
// is kept has the length that was told.
func FuzzBundle(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(f, writeMember(w, bundleHead, bundle{Version: bundleVersion}))
	require.NoError(f, writeMember(w, "0/"+bundleEntry, cacheproxy.Entry{Key: cacheproxy.Key{Hub: "h", Path: "/p"}, Status: 200, Size: 2, Digest: "sha256:00"}))
	require.NoError(f, writeMember(w, "0/"+bundleContent, 12))
	require.NoError(f, writeMember(w, bundleEnd, tally{Entries: 1}))
	require.NoError(f, w.Close())
	to := kept{}
	_, err := importBundle(f.Context(), to, bytes.NewReader(b.Bytes()), bar{})
	require.NoError(f, err)
	require.Len(f, to, 1)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		to := kept{}
		_, _ = importBundle(t.Context(), to, bytes.NewReader(text), bar{})
		for key := range to {
			assert.NotEmpty(t, key.Hub)
			assert.True(t, strings.HasPrefix(key.Path, "/"))
		}
	})
}
