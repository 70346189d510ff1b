package rpm

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const metalinkText = `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" xmlns:mm0="http://fedorahosted.org/mirrormanager">
 <files><file name="repomd.xml"><mm0:timestamp>1</mm0:timestamp><size>9</size>
  <verification><hash type="md5">00</hash><hash type="sha256">AA</hash></verification>
  <mm0:alternates><mm0:alternate><verification><hash type="sha256">bb</hash></verification></mm0:alternate></mm0:alternates>
  <resources maxconnections="1">
   <url protocol="http" location="DE">http://far.example.org/9/repodata/repomd.xml</url>
   <url protocol="http">http://near.example.org/fedora/9/repodata/repomd.xml</url>
   <url protocol="rsync">rsync://near.example.org/fedora/9/repodata/repomd.xml</url>
  </resources></file></files>
</metalink>
`

func linked(t *testing.T) *Hub {
	t.Helper()
	near, err := url.Parse("http://near.example.org/fedora/")
	require.NoError(t, err)
	h, err := New(hub.Options{Name: "fedora", Mirrors: []*url.URL{near}}, Options{})
	require.NoError(t, err)
	return h
}

func TestMetalink(t *testing.T) {
	h := linked(t)
	root, hashes, err := h.readMetalink([]byte(metalinkText))
	require.NoError(t, err)
	assert.Equal(t, "/9/repodata/repomd.xml", root)
	assert.Equal(t, []string{"aa", "bb"}, hashes)

	here := func(link string) string { return h.here(link, "http://proxy/fedora") }
	var out bytes.Buffer
	require.NoError(t, metalink(&out, []byte(metalinkText), here))
	before, _, _ := strings.Cut(metalinkText, "<url")
	assert.True(t, strings.HasPrefix(out.String(), before), "what is no link stays")
	assert.Equal(t, 1, strings.Count(out.String(), "<url"))
	assert.Contains(t, out.String(), ">http://proxy/fedora/9/repodata/repomd.xml</url>")
	assert.True(t, strings.HasSuffix(out.String(), "</resources></file></files>\n</metalink>\n"))

	assert.ErrorIs(t, metalink(&out, []byte("<metalink><url>http://far.example.org/x</url></metalink>"), here), errForeign)
	assert.Error(t, metalink(&out, []byte("<html></html>"), here))
}

func TestMirrorList(t *testing.T) {
	h := linked(t)
	here := func(link string) string { return h.here(link, "http://proxy/fedora") }
	var out bytes.Buffer
	require.NoError(t, mirrorList(&out, []byte("# a comment\nhttp://far.example.org/9/\nhttp://near.example.org/fedora/9/\nhttp://near.example.org/fedora/9/x/\n"), here))
	assert.Equal(t, "# a comment\nhttp://proxy/fedora/9/\n", out.String())
	assert.ErrorIs(t, mirrorList(&out, []byte("http://far.example.org/9/\n"), here), errForeign)
}

func FuzzMetalink(f *testing.F) {
	f.Add([]byte(metalinkText))
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		_ = metalink(&out, text, func(link string) string { return "http://proxy/" })
		_ = mirrorList(&out, text, func(link string) string { return "http://proxy/" })
	})
}
