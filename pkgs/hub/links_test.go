package hub_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

func TestLinks(t *testing.T) {
	l := hub.NewLinks(
		[]*url.URL{mustURL(t, "https://m.example.org/base/"), mustURL(t, "http://n.example.org:8080")},
		map[string]*url.URL{"f": mustURL(t, "https://files.example.org/packages"), "sub": mustURL(t, "https://m.example.org/base/files/")},
	)
	from := mustURL(t, "https://m.example.org/base/simple/x/")
	tests := []struct {
		name, link, want string
	}{
		{"below a mirror", "https://m.example.org/base/a/b.tgz", "/a/b.tgz"},
		{"the other scheme", "http://M.example.org/base/a", "/a"},
		{"a default port", "https://m.example.org:443/base/a", "/a"},
		{"another port", "https://m.example.org:444/base/a", ""},
		{"with its port", "http://n.example.org:8080/a", "/a"},
		{"out of the base", "https://m.example.org/base/../x", ""},
		{"within the base", "https://m.example.org/base/a/./../files/x", "/_f/sub/x"},
		{"beside the base", "https://m.example.org/based/a", ""},
		{"above the base", "https://m.example.org/a", ""},
		{"a second host", "https://files.example.org/packages/1/x.whl#sha256=00", "/_f/f/1/x.whl#sha256=00"},
		{"the longest base", "https://m.example.org/base/files/x", "/_f/sub/x"},
		{"relative", "../../a/b%20c.tgz?q=1", "/a/b%20c.tgz?q=1"},
		{"relative beyond the base", "../../../x", ""},
		{"host-relative", "/base/x", "/x"},
		{"elsewhere", "https://evil.example.com/base/a", ""},
		{"with a password", "https://u:p@m.example.org/base/a", ""},
		{"no http", "ftp://m.example.org/base/a", ""},
		{"no URL", "https://[", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := l.Map(tt.link, from)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want != "", ok)
		})
	}
}

func TestFile(t *testing.T) {
	o := &hub.Options{Name: "pypi", Files: map[string]*url.URL{"f": mustURL(t, "https://files.example.org/")}}
	req, ok := o.File("/_f/f/a+b.whl", "/_f/f/a%2Bb.whl", "x=1")
	require.True(t, ok)
	assert.Equal(t, "/_f/f/a+b.whl?x=1", req.Key.Path)
	assert.Equal(t, "/a%2Bb.whl?x=1", req.Target, "as the client spelled it")
	assert.Equal(t, "f", req.Origin)
	assert.Equal(t, "immutable", req.Policy.Class.String())
	for _, path := range []string{"/_f/g/a", "/_f/f", "/_f/", "/f/a", "/_f//a"} {
		_, ok := o.File(path, path, "")
		assert.False(t, ok, path)
	}
}

func TestLocate(t *testing.T) {
	l := hub.NewLinks(
		[]*url.URL{mustURL(t, "https://m.example.org/base/")},
		map[string]*url.URL{"f": mustURL(t, "https://files.example.org/packages")},
	)
	for _, tt := range []struct{ name, link, from, origin, target string }{
		{"below a mirror", "https://m.example.org/base/a/b%2fc.zip?x=1#y", "", "", "/a/b%2fc.zip?x=1"},
		{"a second host", "https://files.example.org/packages/a.zip", "", "f", "/a.zip"},
		{"relative", "../a.zip", "https://m.example.org/base/b/c", "", "/a.zip"},
		{"relative to nothing", "../a.zip", "", "", ""},
		{"out of the base", "https://m.example.org/base/../a.zip", "", "", ""},
		{"out of the base, encoded", "https://files.example.org/packages/%2e%2e/a.zip", "", "", ""},
		{"elsewhere", "https://evil.example.com/packages/a.zip", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var from *url.URL
			if tt.from != "" {
				from = mustURL(t, tt.from)
			}
			origin, target, ok := l.Locate(tt.link, from)
			assert.Equal(t, tt.target != "", ok)
			assert.Equal(t, tt.origin, origin)
			assert.Equal(t, tt.target, target)
		})
	}
}
