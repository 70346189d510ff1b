package pypi

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub(t testing.TB) *Hub {
	t.Helper()
	return New(hub.Options{
		Name:    "pypi",
		Mirrors: []*url.URL{{Scheme: "https", Host: "index.example.org"}, {Scheme: "https", Host: "mirror.example.org", Path: "/pypi/web"}},
		Files:   map[string]*url.URL{"f": {Scheme: "https", Host: "files.example.org", Path: "/packages/"}},
	})
}

const pipAccepts = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"

func TestSuite(t *testing.T) {
	accept := []string{"Accept"}
	hubtest.Run(t, newHub(t),
		hubtest.Sample{Target: "/simple/"},
		hubtest.Sample{Target: "/simple/demo/", Header: http.Header{"Accept": {pipAccepts}}, Forwards: accept},
		hubtest.Sample{Target: "/simple/De_mo.x/", Upstream: "/simple/de-mo-x/", Header: http.Header{"Accept": {"text/html"}}, Forwards: accept},
		hubtest.Sample{Target: "/simple/demo"},
		hubtest.Sample{Target: "/packages/ab/cd/demo-1.0%2blocal-py3-none-any.whl"},
		hubtest.Sample{Target: "/packages/demo-1.0.tar.gz?x=1"},
		hubtest.Sample{Target: "/_f/f/ab/demo-1.0-py3-none-any.whl.metadata", Upstream: "/ab/demo-1.0-py3-none-any.whl.metadata"},
		hubtest.Sample{Target: "/pypi/demo/json"},
		hubtest.Sample{Target: "/integrity/demo/1.0/demo-1.0.tar.gz/provenance"},
	)
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, target, accept string
		key, variant, class  string
		pkg, version         string
	}{
		{name: "listing", target: "/simple/", key: "/simple/", class: "mutable"},
		{name: "html", target: "/simple/demo/", accept: "text/html", key: "/simple/demo/", class: "mutable", pkg: "demo"},
		{name: "json", target: "/simple/demo/", accept: pipAccepts, key: "/simple/demo/", variant: "json", class: "mutable", pkg: "demo"},
		{name: "another spelling", target: "/simple/Zope.__Interface-X/", key: "/simple/zope-interface-x/", class: "mutable", pkg: "zope-interface-x"},
		{name: "no slash", target: "/simple/Demo", key: "/simple/Demo", class: "passthrough"},
		{name: "a query of a page", target: "/simple/demo/?evil=1", key: "/simple/demo/", class: "mutable", pkg: "demo"},
		{name: "wheel", target: "/packages/demo_x-1.0%2Bl-1-py3-none-any.whl", key: "/packages/demo_x-1.0+l-1-py3-none-any.whl", class: "immutable", pkg: "demo-x", version: "1.0+l"},
		{name: "metadata", target: "/_f/f/demo-1.0-py3-none-any.whl.metadata", key: "/_f/f/demo-1.0-py3-none-any.whl.metadata", class: "immutable", pkg: "demo", version: "1.0"},
		{name: "sdist", target: "/_f/f/de-mo-1.0-2.tar.gz", key: "/_f/f/de-mo-1.0-2.tar.gz", class: "immutable", pkg: "de-mo-1-0", version: "2"},
		{name: "signature", target: "/_f/f/demo-1.0.tar.gz.asc", key: "/_f/f/demo-1.0.tar.gz.asc", class: "mutable"},
		{name: "file beside a page", target: "/simple/demo/demo-1.0.zip", key: "/simple/demo/demo-1.0.zip", class: "immutable", pkg: "demo", version: "1.0"},
		{name: "document", target: "/pypi/Demo/1.0/json", key: "/pypi/Demo/1.0/json", class: "mutable", pkg: "demo"},
		{name: "provenance", target: "/integrity/a/1/b/provenance", accept: "application/vnd.pypi.integrity.v1+json", key: "/integrity/a/1/b/provenance", variant: "integrity", class: "mutable", pkg: "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, tt.target, nil)
			r.Header.Set("Accept", tt.accept)
			req, err := newHub(t).Parse(r)
			require.NoError(t, err)
			assert.Equal(t, exchange.Key{Hub: "pypi", Path: tt.key, Variant: tt.variant}, req.Key)
			assert.Equal(t, tt.class, req.Policy.Class.String())
			assert.Equal(t, tt.pkg, req.Package)
			assert.Equal(t, tt.version, req.Version)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	h := newHub(t)
	for _, target := range []string{
		"/", "/legacy/", "/simple/%2f/", "/simple/a%20b/", "/simple/é/", "/x", "/pypi/json", "/simple/demo/x",
		"/_f/g/x.whl", "/_f/https/evil.example.com/x.whl", "/_f/https:%2f%2fevil.example.com/x.whl", "/_f/", "/_f/f",
	} {
		_, err := h.Parse(httptest.NewRequest(http.MethodGet, target, nil))
		assert.ErrorIs(t, err, fs.ErrNotExist, target)
	}
}

func TestWantsJSON(t *testing.T) {
	tests := []struct {
		name, accept string
		want         bool
	}{
		{"nothing", "", false},
		{"pip", pipAccepts, true},
		{"uv", "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01", true},
		{"anything", "*/*", false},
		{"a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false},
		{"latest", "application/vnd.pypi.simple.latest+json", true},
		{"html first", "text/html, application/vnd.pypi.simple.v1+json; q=0.5", false},
		{"both alike", "text/html, application/vnd.pypi.simple.v1+json", true},
		{"not json", "application/vnd.pypi.simple.v1+json; q=0", false},
		{"a bad weight", "application/vnd.pypi.simple.v1+json; q=NaN", false},
		{"another json", "application/json", false},
		{"case", "Application/VND.pypi.simple.v1+JSON;Q=0.3", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, wantsJSON([]string{tt.accept})) })
	}
}

// Whatever else a client accepts, there are two representations (B17).
func TestVariants(t *testing.T) {
	h := newHub(t)
	keys := map[exchange.Key]http.Header{}
	for _, accept := range []string{"", "*/*", "text/html", "evil/1", "evil/2", htmlType, jsonType, pipAccepts, jsonType + ", text/html;q=0.5", jsonType + ";q=0.1, text/html;q=0.9"} {
		r := httptest.NewRequest(http.MethodGet, "/simple/demo/", nil)
		r.Header.Set("Accept", accept)
		req, err := h.Parse(r)
		require.NoError(t, err)
		if seen, ok := keys[req.Key]; ok {
			assert.Equal(t, seen, req.Header, "equal keys are sent upstream alike")
		}
		keys[req.Key] = req.Header
	}
	assert.Len(t, keys, 2)
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/simple/", "/simple/A_b/", "/simple/x", "/_f/f/a%2fb.whl?x", "/pypi/a/json", "/a.whl.metadata"} {
		f.Add(seed, pipAccepts)
	}
	h := newHub(f)
	f.Fuzz(func(t *testing.T, target, accept string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		header := http.Header{"Accept": {accept}}
		req, err := h.Parse(&http.Request{URL: u, Header: header})
		if err != nil {
			return
		}
		u, err = url.ParseRequestURI(req.Key.Path)
		require.NoError(t, err)
		again, err := h.Parse(&http.Request{URL: u, Header: header})
		require.NoError(t, err)
		assert.Equal(t, req.Key, again.Key)
	})
}
