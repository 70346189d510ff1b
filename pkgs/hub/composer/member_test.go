package composer

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// TestIndex: whether a member has a package tells its document of releases, which is
// where packages.json says.
func TestIndex(t *testing.T) {
	other := "/meta/%package%.json"
	elsewhere := "/_f/api/p2/%package%.json"
	for _, test := range []struct {
		name, target string
		template     *string
		want         string // "": there is none
	}{
		{"a document", "/p2/a/b.json", nil, "/p2/a/b.json"},
		{"one of branches", "/meta/a/b~dev.json", nil, "/meta/a/b.json"},
		{"a dist", "/_d/a/B/1.0.0.0/" + ref + ".zip", nil, "/p2/a/b.json"},
		{"a dist, by packages.json", "/_d/a/b/1.0.0.0/" + ref + ".zip", &other, "/meta/a/b.json"},
		{"documents on a second host", "/_d/a/b/1.0.0.0/" + ref + ".zip", &elsewhere, ""},
		{"the root", "/packages.json", nil, ""},
		{"a search", "/search.json?q=a/b", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHub(nil)
			h.template.Store(test.template)
			req, err := parse(t, h, test.target)
			require.NoError(t, err)
			index := h.Index(req)
			if test.want == "" {
				assert.Nil(t, index)
				return
			}
			require.NotNil(t, index)
			assert.Equal(t, exchange.Key{Hub: "composer", Path: test.want}, index.Key)
			assert.Equal(t, req.Package, index.Package)
			assert.Equal(t, index.Key, h.Index(index).Key, "of itself it is that")
		})
	}
}

func TestOwned(t *testing.T) {
	m, err := hub.NewMembers([]hub.Member{{Name: "corp", Private: []string{"acme/*", "b/secret"}}, {Name: "public"}}, nil)
	require.NoError(t, err)
	h := newHub(nil)
	assert.Empty(t, h.owned("/p2/acme/x.json"), "nobody has private names")
	h.hub.Members = m
	for path, want := range map[string]string{
		"/p2/acme/x.json": "acme/x", "/p2/b%2Fsecret~dev.json": "b/secret", "/b/secret/9.json": "b/secret", "/p2/b/other.json": "", "/": "", "/acme": "",
	} {
		assert.Equal(t, want, h.owned(path), path)
	}
	assert.Equal(t, "x=b%2Fother&y", string(h.audited([]byte("x=b%2Fother&p[0]=acme%2Fx&y&p[1]=b/secret"))))
}
