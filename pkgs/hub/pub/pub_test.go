package pub

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub() *Hub {
	return New(hub.Options{
		Name:    "pub",
		Mirrors: []*url.URL{{Scheme: "https", Host: "mirror.example.org", Path: "/dart-pub"}},
		Files:   map[string]*url.URL{"cdn": {Scheme: "https", Host: "cdn.example.org", Path: "/packages/"}},
	})
}

func parse(h *Hub, target string) (*exchange.Request, error) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, err
	}
	return h.Parse(&http.Request{URL: u})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/api/packages/left_pad", Header: http.Header{"Accept": {"application/json"}, "X-Pub-Reason": {"direct"}}},
		hubtest.Sample{Target: "/api/packages/left_pad/versions/1.0.0%2B1"},
		hubtest.Sample{Target: "/packages/left_pad/versions/1.0.0%2b1.tar.gz"},
		hubtest.Sample{Target: "/api/archives/left_pad-1.0.0.tar.gz?sig=a"},
		hubtest.Sample{Target: "/_f/cdn/left_pad-1.0.0.tar.gz?sig=a", Upstream: "/left_pad-1.0.0.tar.gz?sig=a"},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		target, key, name, version string
		class                      freshness.Class
		accept                     string
	}{
		{"/api/packages/demo?x=1", "/api/packages/demo", "demo", "", freshness.Mutable, mediaType},
		{"/api/packages/versions", "/api/packages/versions", "versions", "", freshness.Mutable, mediaType},
		{"/api/packages/demo/versions/1.0.0-dev.1", "/api/packages/demo/versions/1.0.0-dev.1", "demo", "1.0.0-dev.1", freshness.Mutable, mediaType},
		{"/api/packages/demo/advisories", "/api/packages/demo/advisories", "demo", "", freshness.Mutable, mediaType},
		{"/api/search?q=a", "/api/search?q=a", "", "", freshness.Passthrough, mediaType},
		{"/api/archives/demo-1.0.0-dev.1.tar.gz", "/api/archives/demo-1.0.0-dev.1.tar.gz", "demo", "1.0.0-dev.1", freshness.Immutable, ""},
		{"/packages/demo/versions/1.0.0.tar.gz?a=b", "/packages/demo/versions/1.0.0.tar.gz?a=b", "demo", "1.0.0", freshness.Immutable, ""},
		{"/_f/cdn/wherever?a", "/_f/cdn/wherever?a", "", "", freshness.Immutable, ""},
		{"/_f/cdn/demo-1.0.0.tar.gz", "/_f/cdn/demo-1.0.0.tar.gz", "demo", "1.0.0", freshness.Immutable, ""},
	} {
		t.Run(test.target, func(t *testing.T) {
			req, err := parse(newHub(), test.target)
			require.NoError(t, err)
			assert.Equal(t, exchange.Key{Hub: "pub", Path: test.key}, req.Key)
			assert.Equal(t, test.class, req.Policy.Class)
			assert.Equal(t, [2]string{test.name, test.version}, [2]string{req.Package, req.Version})
			assert.Equal(t, test.accept, req.Header.Get("Accept"))
		})
	}
	for _, target := range []string{
		"/", "/api/packages/", "/api/packages", "/api/packages/demo/", "/api/packages/demo/versions", "/api/packages/demo/versions/",
		"/api/packages/demo/versions/1/x", "/api/packages/demo/likes", "/api/account", "/demo.zip", "/.tar.gz", "/_f/other/demo-1.tar.gz", "/_f/cdn",
	} {
		_, err := parse(newHub(), target)
		assert.ErrorContains(t, err, "no path", target)
	}
	_, err := parse(newHub(), "/api/packages/versions/new")
	var stated *exchange.Error
	require.ErrorAs(t, err, &stated)
	assert.Equal(t, http.StatusMethodNotAllowed, stated.Status)
}

var sum = strings.Repeat("0a", 32)

func TestCopy(t *testing.T) {
	const (
		own   = `https://mirror.example.org/dart-pub/packages/demo/versions/1.0.0%2b1.tar.gz`
		cdn   = `http:\/\/CDN.example.org/packages/demo-2.0.0.tar.gz?sig=a&b`
		other = `https://elsewhere.example/demo-3.0.0.tar.gz`
		odd   = `https://mirror.example.org/dart-pub/admin/`
		api   = `https://mirror.example.org/dart-pub/api/search`
	)
	text := `{"name":"demo", "latest":{"archive_sha256":"` + sum + `","archive_url":"` + own + `","pubspec":{"archive_url":"` + own + `","n":1e400}},` +
		` "versions":[{"archive_url":"` + cdn + `","archive_sha256":"` + strings.ToUpper(sum) + `"},{"archive_url":"` + other + `","archive_sha256":"` + sum + `"},` +
		`{"archive_url":"` + odd + `"},{"archive_url":"` + api + `"},{"archive_url":null},{"archive_sha256":"` + sum + `"},{"archive_url":"` + own + `?x"}],"archive_url":"/a.tar.gz"}`
	want := strings.NewReplacer(
		`"archive_url":"`+own+`","pubspec":{"archive_url":"`+own, `"archive_url":"http://proxy/pub/packages/demo/versions/1.0.0%2b1.tar.gz","pubspec":{"archive_url":"`+own,
		cdn, `http://proxy/pub/_f/cdn/demo-2.0.0.tar.gz?sig=a\u0026b`,
		own+`?x`, `http://proxy/pub/packages/demo/versions/1.0.0%2b1.tar.gz?x`,
	).Replace(text)
	var b strings.Builder
	taught := map[string]exchange.Digest{}
	h, teach := newHub(), func(path string, f exchange.Fact) { taught[path] = f.Digest }
	require.NoError(t, h.copy(&b, strings.NewReader(text), hub.NewCopy(h.links, "http://proxy/pub", nil, teach)))
	got := strings.ReplaceAll(b.String(), `sig=a&b`, `sig=a\u0026b`) // either is the same text
	assert.Equal(t, want, got)
	assert.Equal(t, map[string]exchange.Digest{
		"/packages/demo/versions/1.0.0+1.tar.gz": exchange.Digest("sha256:" + sum), "/_f/cdn/demo-2.0.0.tar.gz?sig=a&b": exchange.Digest("sha256:" + sum),
	}, taught)

	// One version by itself.
	clear(taught)
	require.NoError(t, h.copy(io.Discard, strings.NewReader(`{"archive_url":"`+own+`","archive_sha256":"`+sum+`"}`), hub.NewCopy(h.links, "", nil, teach)))
	assert.Len(t, taught, 1)

	for _, bad := range []string{"", "<html>", `{"versions":[{"archive_url":"`, text + "}", text[:len(text)-1]} {
		assert.Error(t, h.copy(io.Discard, strings.NewReader(bad), hub.NewCopy(h.links, "", nil, nil)), bad)
	}
}

func TestRefusal(t *testing.T) {
	contentType, body := newHub().Refusal(http.StatusBadGateway, `no "mirror"`)
	assert.Equal(t, mediaType, contentType)
	assert.JSONEq(t, `{"error":{"code":"BadGateway","message":"no \"mirror\""}}`, string(body))
}

func FuzzCopy(f *testing.F) {
	f.Add(`{"latest":{"archive_url":"https://mirror.example.org/dart-pub/a-1.tar.gz","archive_sha256":"` + sum + `"},"versions":[{}]}`)
	f.Add(`{"archive_url":"https://cdn.example.org/packages/a-1.tar.gz","archive_sha256":"` + sum + `"}`)
	h := newHub()
	f.Fuzz(func(t *testing.T, text string) {
		var b strings.Builder
		err := h.copy(&b, strings.NewReader(text), hub.NewCopy(h.links, "http://proxy/pub", nil, func(path string, fact exchange.Fact) {
			req, err := parse(h, path)
			require.NoError(t, err)
			assert.Equal(t, path, req.Key.Path)
			assert.Len(t, fact.Digest.Hex(), 64)
		}))
		if err == nil && json.Valid([]byte(text)) {
			assert.True(t, json.Valid([]byte(b.String())), b.String())
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/api/packages/a", "/api/packages/a/versions/1", "/api/archives/a-1.tar.gz?x", "/_f/cdn/a.tar.gz?%", "/api/search?q=%"} {
		f.Add(seed)
	}
	h := newHub()
	f.Fuzz(func(t *testing.T, target string) { hubtest.Reparse(t, h, target) })
}
