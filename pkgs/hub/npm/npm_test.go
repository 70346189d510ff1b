package npm

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
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
		Name:    "npm",
		Mirrors: []*url.URL{{Scheme: "https", Host: "registry.example.org"}, {Scheme: "http", Host: "mirror.example.org", Path: "/npm/"}},
		Files:   map[string]*url.URL{"f": {Scheme: "https", Host: "files.example.org", Path: "/t/"}},
	})
}

func TestSuite(t *testing.T) {
	corgi := http.Header{"Accept": {"application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*"}}
	hubtest.Run(t, newHub(t),
		hubtest.Sample{Target: "/demo"},
		hubtest.Sample{Target: "/demo", Header: corgi, Forwards: []string{"Accept"}},
		hubtest.Sample{Target: "/@sc%2fdemo"},
		hubtest.Sample{Target: "/@sc/demo"},
		hubtest.Sample{Target: "/demo/latest"},
		hubtest.Sample{Target: "/@sc%2fdemo/1.0.0"},
		hubtest.Sample{Target: "/demo/-/demo-1.0.0.tgz?x=1"},
		hubtest.Sample{Target: "/@sc%2fdemo/-/demo-1.0.0.tgz"},
		hubtest.Sample{Target: "/download/@sc/demo/1.0.0/abcdef"},
		hubtest.Sample{Target: "/-/package/@sc%2fdemo/dist-tags"},
		hubtest.Sample{Target: "/-/v1/search?text=demo&size=20"},
		hubtest.Sample{Target: "/_f/f/a%2bb.tgz", Upstream: "/a%2bb.tgz"},
	)
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, target, accept string
		key, variant, class  string
		pkg, version         string
	}{
		{name: "full", target: "/demo", accept: "application/json", key: "/demo", class: "mutable", pkg: "demo"},
		{name: "no Accept", target: "/demo?write=true", key: "/demo", class: "mutable", pkg: "demo"},
		{name: "abbreviated", target: "/demo", accept: "application/vnd.npm.install-v1+json; q=1.0, */*", key: "/demo", variant: "abbreviated", class: "mutable", pkg: "demo"},
		{name: "scoped", target: "/@Sc%2fDemo", key: "/@Sc/Demo", class: "mutable", pkg: "@Sc/Demo"},
		{name: "scoped, all escaped", target: "/%40sc%2Fdemo", key: "/@sc/demo", class: "mutable", pkg: "@sc/demo"},
		{name: "version", target: "/demo/1.0.0", key: "/demo/1.0.0", class: "mutable", pkg: "demo", version: "1.0.0"},
		{name: "tag of a scoped", target: "/@sc%2fdemo/next", key: "/@sc/demo/next", class: "mutable", pkg: "@sc/demo", version: "next"},
		{name: "tarball", target: "/demo/-/demo-1.0.0-rc.1.tgz", key: "/demo/-/demo-1.0.0-rc.1.tgz", class: "immutable", pkg: "demo", version: "1.0.0-rc.1"},
		{name: "scoped tarball", target: "/@sc%2fdemo/-/demo-1.0.0.tgz", key: "/@sc/demo/-/demo-1.0.0.tgz", class: "immutable", pkg: "@sc/demo", version: "1.0.0"},
		{name: "tarball of a free name", target: "/demo/download/x.tgz", key: "/demo/download/x.tgz", class: "immutable", pkg: "demo"},
		{name: "tarball at the top", target: "/any.tgz", key: "/any.tgz", class: "immutable", pkg: "any.tgz"},
		{name: "tarball with a query", target: "/demo/-/a.tgz?token=1", key: "/demo/-/a.tgz?token=1", class: "immutable", pkg: "demo"},
		{name: "second host", target: "/_f/f/demo.tgz", key: "/_f/f/demo.tgz", class: "immutable"},
		{name: "file", target: "/download/@sc/demo/1.0.0/sum", key: "/download/@sc/demo/1.0.0/sum", class: "mutable", pkg: "download"},
		{name: "dist-tags", target: "/-/package/demo/dist-tags", key: "/-/package/demo/dist-tags", class: "mutable", pkg: "demo"},
		{name: "ping", target: "/-/ping?write=true", key: "/-/ping", class: "mutable"},
		{name: "attestations", target: "/-/npm/v1/attestations/@sc%2fdemo@1.0.0", key: "/-/npm/v1/attestations/@sc/demo@1.0.0", class: "mutable", pkg: "@sc/demo"},
		{name: "search", target: "/-/v1/search?text=a", key: "/-/v1/search?text=a", class: "passthrough"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, tt.target, nil)
			r.Header.Set("Accept", tt.accept)
			req, err := newHub(t).Parse(r)
			require.NoError(t, err)
			assert.Equal(t, exchange.Key{Hub: "npm", Path: tt.key, Variant: tt.variant}, req.Key)
			assert.Equal(t, tt.class, req.Policy.Class.String())
			assert.Equal(t, tt.pkg, req.Package)
			assert.Equal(t, tt.version, req.Version)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	h := newHub(t)
	for _, target := range []string{"/", "/@sc", "/@sc/", "/@/x", "/demo/", "/-/", "/-/x", "/_f/g/x.tgz", "/_f/https/evil.example.com/x.tgz", "/_f/https:%2f%2fevil.example.com/x.tgz"} {
		_, err := h.Parse(httptest.NewRequest(http.MethodGet, target, nil))
		assert.ErrorIs(t, err, fs.ErrNotExist, target)
	}
	for _, target := range []string{"/-/whoami", "/-/user/org.couchdb.user:a", "/-/v1/login", "/-/npm/v1/tokens"} {
		_, err := h.Parse(httptest.NewRequest(http.MethodGet, target, nil))
		var e *exchange.Error
		require.ErrorAs(t, err, &e, target)
		assert.Equal(t, http.StatusMethodNotAllowed, e.Status)
	}
}

// Whatever else a client accepts, there are two representations (B17).
func TestVariants(t *testing.T) {
	h := newHub(t)
	keys := map[exchange.Key]http.Header{}
	for _, accept := range []string{
		"", "*/*", "application/json", "text/html", "application/json; q=0.5, x/y", "evil/1", "evil/2",
		abbreviatedType, abbreviatedType + "; q=1.0, application/json; q=0.8, */*", "x/y, " + abbreviatedType,
	} {
		r := httptest.NewRequest(http.MethodGet, "/demo", nil)
		r.Header.Set("Accept", accept)
		r.Header.Set("Npm-Command", accept)
		r.Header.Set("Pacote-Integrity", "sha512-"+accept)
		req, err := h.Parse(r)
		require.NoError(t, err)
		if seen, ok := keys[req.Key]; ok {
			assert.Equal(t, seen, req.Header, "equal keys are sent upstream alike")
		}
		keys[req.Key] = req.Header
	}
	assert.Len(t, keys, 2)
}

func TestPost(t *testing.T) {
	h := newHub(t)
	r := httptest.NewRequest(http.MethodPost, "/-/npm/v1/security/advisories/bulk", nil)
	for name, value := range map[string]string{"Content-Encoding": "gzip", "Content-Type": "text/evil", "Authorization": "Bearer x", "Cookie": "a=b"} {
		r.Header.Set(name, value)
	}
	req, err := h.Post(r, []byte("zipped"))
	require.NoError(t, err)
	assert.Equal(t, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}, "Accept": {"application/json"}}, req.Header)
	assert.Equal(t, "passthrough", req.Policy.Class.String())
	assert.Equal(t, "zipped", string(req.Post))
	for _, path := range []string{"/demo", "/-/v1/login", "/-/npm/v1/security/audits/slow"} {
		_, err = h.Post(httptest.NewRequest(http.MethodPost, path, nil), nil)
		assert.ErrorIs(t, err, fs.ErrNotExist, path)
	}
}

func TestRefusal(t *testing.T) {
	mediaType, body := newHub(t).Refusal(404, `no "x"`)
	assert.Equal(t, "application/json", mediaType)
	assert.JSONEq(t, `{"error":"no \"x\""}`, string(body))
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/demo", "/@sc%2fdemo", "/@sc/demo/-/x.tgz?q", "/@a%2fb%2f@c%2fd/e", "/-/package/@a%2fb/dist-tags", "/_f/f/@a%2fb/c"} {
		f.Add(seed)
	}
	h := newHub(f)
	f.Fuzz(func(t *testing.T, target string) {
		hubtest.Reparse(t, h, target)
	})
}
