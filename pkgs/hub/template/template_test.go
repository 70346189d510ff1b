package template

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

var mirror = &url.URL{Scheme: "https", Host: "mirror.example.org", Path: "/repo"}

func newHub() *Hub {
	cdn := map[string]*url.URL{"cdn": {Scheme: "https", Host: "cdn.example.org"}}
	return New(hub.Options{Name: "template", Mirrors: []*url.URL{mirror}, Files: cdn})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/index/demo"},
		hubtest.Sample{Target: "/files/a%2b/demo-1.0.tgz"},
		hubtest.Sample{Target: "/_f/cdn/demo-2.0.tgz", Upstream: "/demo-2.0.tgz"},
	)
	for _, target := range []string{"/", "/index/", "/index/a/b", "/files/", "/files/a/", "/_f/other/x", "/other"} {
		_, err := newHub().Parse(&http.Request{URL: &url.URL{Path: target}})
		assert.Error(t, err, target)
	}
}

const (
	sum    = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	index1 = "1.0 " + sum + " ../files/a%2b/demo-1.0.tgz\n" +
		"2.0 " + sum + " https://cdn.example.org/demo-2.0.tgz\n" +
		"3.0 " + sum + " https://elsewhere.example/demo-3.0.tgz\n"
)

func TestCopy(t *testing.T) {
	h := newHub()
	from := mirror.JoinPath("/index/demo")
	taught := map[string]exchange.Digest{}
	var b strings.Builder
	teach := func(path string, f exchange.Fact) { taught[path] = f.Digest }
	require.NoError(t, h.copy(&b, strings.NewReader(index1), hub.NewCopy(h.links, "http://proxy/t", from, teach)))
	assert.Equal(t, "1.0 "+sum+" http://proxy/t/files/a%2b/demo-1.0.tgz\n"+
		"2.0 "+sum+" http://proxy/t/_f/cdn/demo-2.0.tgz\n"+
		"3.0 "+sum+" https://elsewhere.example/demo-3.0.tgz\n", b.String())
	assert.Equal(t, map[string]exchange.Digest{
		"/files/a+/demo-1.0.tgz": "sha256:" + sum, "/_f/cdn/demo-2.0.tgz": "sha256:" + sum,
	}, taught)
	assert.Error(t, h.copy(&b, strings.NewReader("<html>please log in to go on</html>"), hub.NewCopy(h.links, "", from, nil)))
}

func TestIndex(t *testing.T) {
	h := newHub()
	req, err := h.Parse(&http.Request{URL: &url.URL{Path: "/index/a+b"}})
	require.NoError(t, err)
	assert.Equal(t, "a+b", req.Package)
	assert.Same(t, req, h.Index(req))
	assert.Equal(t, "/index/demo", h.Index(&exchange.Request{Package: "demo"}).Key.Path)
	for _, name := range []string{"", "a/b", ".."} {
		assert.Nil(t, h.Index(&exchange.Request{Package: name}), name)
	}
}

func FuzzCopy(f *testing.F) {
	f.Add(index1)
	h := newHub()
	f.Fuzz(func(t *testing.T, text string) {
		var b strings.Builder
		if h.copy(&b, strings.NewReader(text), hub.NewCopy(h.links, "http://proxy/t", mirror, nil)) == nil {
			assert.Equal(t, len(strings.Fields(text)), len(strings.Fields(b.String())))
		}
	})
}
