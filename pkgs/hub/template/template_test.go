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
	return New(hub.Options{Name: "template", Mirrors: []*url.URL{mirror}, Files: cdn}, nil)
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
	sum   = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	index = "1.0 " + sum + " ../files/a%2b/demo-1.0.tgz\n" +
		"2.0 " + sum + " https://cdn.example.org/demo-2.0.tgz\n" +
		"3.0 " + sum + " https://elsewhere.example/demo-3.0.tgz\n"
)

func TestIndex(t *testing.T) {
	from := mirror.JoinPath("/index/demo")
	var b strings.Builder
	require.NoError(t, newHub().edit(&b, strings.NewReader(index), "http://proxy/t", from))
	assert.Equal(t, "1.0 "+sum+" http://proxy/t/files/a%2b/demo-1.0.tgz\n"+
		"2.0 "+sum+" http://proxy/t/_f/cdn/demo-2.0.tgz\n"+
		"3.0 "+sum+" https://elsewhere.example/demo-3.0.tgz\n", b.String())

	taught := map[string]exchange.Digest{}
	require.NoError(t, newHub().facts(strings.NewReader(index), from, func(path string, f exchange.Fact) { taught[path] = f.Digest }))
	assert.Equal(t, map[string]exchange.Digest{
		"/files/a+/demo-1.0.tgz": "sha256:" + sum, "/_f/cdn/demo-2.0.tgz": "sha256:" + sum,
	}, taught)
	assert.Error(t, newHub().edit(&b, strings.NewReader("<html>please log in to go on</html>"), "", from))
}

func FuzzEdit(f *testing.F) {
	f.Add(index)
	f.Fuzz(func(t *testing.T, text string) {
		var b strings.Builder
		if newHub().edit(&b, strings.NewReader(text), "http://proxy/t", mirror) == nil {
			assert.Equal(t, len(strings.Fields(text)), len(strings.Fields(b.String())))
		}
	})
}
