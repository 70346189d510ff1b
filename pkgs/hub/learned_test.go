package hub

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLearned(t *testing.T) {
	var saved []byte
	anywhere := func(*url.URL) bool { return true }
	l, err := NewLearned(nil, anywhere, func(state []byte) { saved = state })
	require.NoError(t, err)
	mirror := &url.URL{Scheme: "https", Host: "mirror.example.org", Path: "/repo"}
	o := &Options{Name: "x", Mirrors: []*url.URL{mirror}, Learned: l}
	links := o.Links()
	path, ok := links.Map("https://CDN.example.org:443/a/b.tgz?x=1#f", nil)
	require.True(t, ok)
	alias := aliasOf(&url.URL{Scheme: "https", Host: "cdn.example.org", Path: "/"})
	assert.Equal(t, "/_f/"+alias+"/a/b.tgz?x=1#f", path)
	assert.Equal(t, `["https://cdn.example.org/"]`, string(saved))
	for _, link := range []string{"https://mirror.example.org/other/a.tgz", "ftp://cdn.example.org/a", "mailto:x@example.org", "https://me@cdn.example.org/a", "../a.tgz"} {
		_, ok := links.Map(link, nil)
		assert.False(t, ok, link)
	}
	path, _ = links.Map("../a.tgz", mirror.JoinPath("simple", "x"))
	assert.Equal(t, "/a.tgz", path, "a mirror stays one")

	for i := range 2 * maxLearned {
		links.Map(fmt.Sprintf("https://%d.example.org/a", i), nil)
	}
	assert.Len(t, l.bases, maxLearned)
	again, err := NewLearned(saved, anywhere, nil)
	require.NoError(t, err)
	assert.Equal(t, l.bases, again.bases)
	_, ok = (&Options{Learned: again}).File("/_f/"+alias+"/a", "/_f/"+alias+"/a", "")
	assert.True(t, ok)

	damaged, err := NewLearned([]byte(`["https://a.ex`), anywhere, nil)
	assert.Error(t, err)
	assert.Empty(t, damaged.bases)
	var none *Learned
	assert.Nil(t, none.Base(alias))
}

// TestMemoryBounds: a state is taken over within the bounds of a Memory.
func TestMemoryBounds(t *testing.T) {
	text := `{"sets":[`
	for i := range maxSets + 10 {
		text += fmt.Sprintf(`{"root":"/%d/InRelease","current":"sha256:00"},`, i)
	}
	text = text[:len(text)-1] + `],"pins":[{"client":"192.0.2.1","root":"/1/InRelease","digest":"sha256:00","at":"2026-01-01T00:00:00Z"},{"client":"","root":"/"}]}`
	m := NewMemory(nil)
	require.NoError(t, m.Restore([]byte(text)))
	assert.Len(t, m.sets, maxSets)
	assert.Len(t, m.pins, 1)
	assert.Error(t, NewMemory(nil).Restore([]byte("{")))
}
