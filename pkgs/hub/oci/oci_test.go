package oci

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

var (
	sha256 = "sha256:" + strings.Repeat("a1", 32)
	sha512 = "sha512:" + strings.Repeat("b2", 64)
)

func policies() *hub.Policies {
	return &hub.Policies{Default: freshness.Policy{TTL: time.Hour, Negative: time.Minute}}
}

func newHub(t testing.TB, l *ledger.Ledger) *Hub {
	t.Helper()
	h, err := New(hub.Options{Name: "docker", Policies: policies(), Ledger: l}, Options{})
	require.NoError(t, err)
	return h
}

// TestLibrary: names of one word, but not the one that stands for any.
func TestLibrary(t *testing.T) {
	h, err := New(hub.Options{Name: "docker", Policies: policies()}, Options{Library: true})
	require.NoError(t, err)
	for path, want := range map[string]string{
		"/v2/alpine/manifests/3.22":     "/v2/library/alpine/manifests/3.22",
		"/v2/alpine/tags/list?n=2":      "/v2/library/alpine/tags/list?n=2",
		"/v2/alpine/blobs/" + sha256:    "/v2/library/alpine/blobs/" + sha256,
		"/v2/team/app/manifests/latest": "/v2/team/app/manifests/latest",
		"/v2/_/blobs/" + sha256:         "/v2/_/blobs/" + sha256,
	} {
		req := parse(t, h, http.MethodGet, path)
		assert.Equal(t, want, req.Target)
		again := parse(t, h, http.MethodGet, req.Key.Path)
		assert.Equal(t, req.Key, again.Key)
	}
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(t, nil),
		hubtest.Sample{Target: "/v2/"},
		hubtest.Sample{Target: "/v2/library/alpine/manifests/3.22"},
		hubtest.Sample{Target: "/v2/app/manifests/latest", Header: http.Header{"Accept": {types[dockerManifest].mediaType}}, Forwards: []string{"Accept"}},
		hubtest.Sample{Target: "/v2/app/manifests/" + sha256, Header: http.Header{"Accept": {"*/*"}}},
		hubtest.Sample{Target: "/v2/team/blobs/blobs/" + sha512},
		hubtest.Sample{Target: "/v2/app/tags/list?n=2&last=a%2Bb"},
		hubtest.Sample{Target: "/v2/app/tags/list?n=2&ns=registry.example.org", Upstream: "/v2/app/tags/list?n=2"},
		hubtest.Sample{Target: "/v2/app/referrers/" + sha256 + "?artifactType=x/y"},
	)
}

func TestParse(t *testing.T) {
	immutable := freshness.Policy{Class: freshness.Immutable, TTL: time.Hour}
	mutable := func(ttl time.Duration) freshness.Policy {
		return freshness.Policy{TTL: ttl, Negative: time.Minute}
	}
	for _, c := range []struct {
		name, target string
		accept       []string
		key          exchange.Key
		upstream     string
		digest       string
		policy       freshness.Policy
	}{
		{
			name: "tag", target: "/v2/team/app/manifests/v1.2_3-x",
			key: exchange.Key{Path: "/v2/team/app/manifests/v1.2_3-x"}, policy: mutable(TagTTL),
		},
		{
			name: "tag for an old client", target: "/v2/app/manifests/1", accept: []string{types[dockerManifest].mediaType},
			key: exchange.Key{Path: "/v2/app/manifests/1", Variant: "v2"}, policy: mutable(TagTTL),
		},
		{
			name: "manifest", target: "/v2/team/app/manifests/" + sha256, digest: sha256, policy: immutable,
			key: exchange.Key{Path: "/v2/_/manifests/" + sha256}, upstream: "/v2/team/app/manifests/" + sha256,
		},
		{
			name: "manifest for an old client", target: "/v2/app/manifests/" + sha256, digest: sha256, policy: immutable,
			accept: []string{types[dockerManifest].mediaType},
			key:    exchange.Key{Path: "/v2/_/manifests/" + sha256}, upstream: "/v2/app/manifests/" + sha256,
		},
		{
			name: "blob", target: "/v2/a/b/c/blobs/" + sha512, digest: sha512, policy: immutable,
			key: exchange.Key{Path: "/v2/_/blobs/" + sha512}, upstream: "/v2/a/b/c/blobs/" + sha512,
		},
		{
			name: "blob, spelled otherwise", target: "/v2/app/./blobs/sha256%3A" + sha256[7:] + "?ns=registry.example.org", digest: sha256,
			key: exchange.Key{Path: "/v2/_/blobs/" + sha256}, upstream: "/v2/app/blobs/" + sha256, policy: immutable,
		},
		{
			name: "a name of kinds", target: "/v2/blobs/manifests/tags/list/manifests/list",
			key: exchange.Key{Path: "/v2/blobs/manifests/tags/list/manifests/list"}, policy: mutable(TagTTL),
		},
		{
			name: "tags", target: "/v2/app/tags/list?ns=x&n=10", policy: mutable(listTTL),
			key: exchange.Key{Path: "/v2/app/tags/list?n=10"}, upstream: "/v2/app/tags/list?n=10",
		},
		{
			name: "referrers", target: "/v2/app/referrers/" + sha256, policy: mutable(listTTL),
			key: exchange.Key{Path: "/v2/app/referrers/" + sha256},
		},
		{
			name: "root", target: "/v2?ns=x", upstream: "/v2/",
			key: exchange.Key{Path: "/v2/"}, policy: freshness.Policy{Class: freshness.Passthrough},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, c.target, nil)
			r.Header["Accept"] = c.accept
			req, err := newHub(t, nil).Parse(r)
			require.NoError(t, err)
			c.key.Hub = "docker"
			assert.Equal(t, c.key, req.Key)
			if c.upstream == "" {
				c.upstream = c.target
			}
			assert.Equal(t, c.upstream, req.Target)
			assert.Equal(t, exchange.Digest(c.digest), req.Digest)
			assert.Equal(t, c.policy, req.Policy)
		})
	}
}

// B48: what is not of the grammar goes nowhere.
func TestRefusedPaths(t *testing.T) {
	for _, c := range []struct {
		name, path string
		status     int // 0: fs.ErrNotExist
		code       string
	}{
		{"no registry", "/v1/search", 0, ""},
		{"top", "/", 0, ""},
		{"catalog", "/v2/_catalog", 405, "UNSUPPORTED"},
		{"upload", "/v2/app/blobs/uploads/", 405, "UNSUPPORTED"},
		{"upload under way", "/v2/app/blobs/uploads/0b1c", 405, "UNSUPPORTED"},
		{"no kind", "/v2/app", 404, "NAME_UNKNOWN"},
		{"unknown kind", "/v2/app/things/1", 404, "NAME_UNKNOWN"},
		{"no name", "/v2/manifests/1", 404, "NAME_UNKNOWN"},
		{"no list", "/v2/app/tags/first", 404, "NAME_UNKNOWN"},
		{"upper case", "/v2/App/manifests/1", 400, "NAME_INVALID"},
		{"separator first", "/v2/-app/manifests/1", 400, "NAME_INVALID"},
		{"separator last", "/v2/app_/manifests/1", 400, "NAME_INVALID"},
		{"two dots", "/v2/a..b/manifests/1", 400, "NAME_INVALID"},
		{"three underscores", "/v2/a___b/manifests/1", 400, "NAME_INVALID"},
		{"mixed separators", "/v2/a-_b/manifests/1", 400, "NAME_INVALID"},
		{"encoded slash", "/v2/a%2Fb/manifests/1", 400, "NAME_INVALID"},
		{"long name", "/v2/" + strings.Repeat("a", 256) + "/manifests/1", 400, "NAME_INVALID"},
		{"any repository's tag", "/v2/_/manifests/1", 400, "NAME_INVALID"},
		{"any repository's tags", "/v2/_/tags/list", 400, "NAME_INVALID"},
		{"tag with a dash first", "/v2/app/manifests/-1", 400, "TAG_INVALID"},
		{"long tag", "/v2/app/manifests/" + strings.Repeat("a", 129), 400, "TAG_INVALID"},
		{"no tag", "/v2/app/manifests/", 400, "TAG_INVALID"},
		{"upper-case digest", "/v2/app/blobs/" + strings.ToUpper(sha256), 400, "DIGEST_INVALID"},
		{"upper-case hex", "/v2/app/blobs/sha256:" + strings.ToUpper(sha256[7:]), 400, "DIGEST_INVALID"},
		{"short digest", "/v2/app/manifests/sha256:a1", 400, "DIGEST_INVALID"},
		{"weak digest", "/v2/app/blobs/md5:" + strings.Repeat("a1", 16), 400, "DIGEST_INVALID"},
		{"weak digest of its time", "/v2/app/blobs/sha1:" + strings.Repeat("a1", 20), 400, "DIGEST_INVALID"},
		{"a tag for a blob", "/v2/app/blobs/latest", 400, "DIGEST_INVALID"},
		{"referrers of a tag", "/v2/app/referrers/latest", 400, "DIGEST_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHub(t, nil)
			req, err := h.Parse(httptest.NewRequest(http.MethodGet, c.path, nil))
			require.Error(t, err, "%+v", req)
			var e *exchange.Error
			if c.status == 0 {
				assert.ErrorIs(t, err, fs.ErrNotExist)
				return
			}
			require.True(t, errors.As(err, &e))
			assert.Equal(t, c.status, e.Status)
			_, body := h.Refusal(e.Status, e.Message)
			assert.Contains(t, string(body), `"code":"`+c.code+`"`)
		})
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "0", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "library/alpine", "x1/y-2.z"} {
		assert.True(t, validName(name), name)
	}
	for _, name := range []string{"", "/", "a/", "/a", "a//b", ".", "a.", ".a", "a._b", "ä", "a b", "a:b", "a%b"} {
		assert.False(t, validName(name), name)
	}
}

func TestAccepted(t *testing.T) {
	all := []string{}
	for _, each := range types {
		all = append(all, each.mediaType)
	}
	for _, c := range []struct {
		name    string
		accept  []string
		variant string
	}{
		{"nothing", nil, ""},
		{"a field a type, as skopeo", all, ""},
		{"one line and anything, as containerd", []string{all[dockerManifest] + ", " + all[dockerList] + ", */*"}, ""},
		{"four types, as docker", []string{all[dockerManifest], all[dockerList] + "," + all[ociManifest] + "," + all[ociIndex]}, ""},
		{"any application", []string{"application/*"}, ""},
		{"none of ours", []string{"text/html"}, ""},
		{"images of Docker", []string{all[dockerManifest] + "," + all[dockerList]}, "list+v2"},
		{"in another order", []string{all[dockerList] + ";q=0.5", all[dockerManifest]}, "list+v2"},
		{"in other letters", []string{strings.ToUpper(all[dockerManifest])}, "v2"},
		{"not acceptable", []string{all[dockerList] + "; q=0.0", all[dockerManifest] + ";q=0.1"}, "v2"},
		{"the oldest", []string{all[dockerOld], all[dockerSigned]}, "v1s+v1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := accepted(c.accept)
			assert.Equal(t, c.variant, set.variant())
			assert.Equal(t, set, accepted(set.header()["Accept"]), "what goes upstream means the same")
		})
	}
	assert.Equal(t, strings.Join(all, ", "), acceptAll)
	assert.True(t, accepted([]string{all[dockerManifest]}).excludes(all[ociIndex]+"; charset=utf-8"))
	assert.False(t, accepted([]string{all[dockerManifest]}).excludes("application/vnd.example+json"))
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		status  int
		message string
		want    string
	}{
		{404, manifestUnknown, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`},
		{404, "Not Found", `{"errors":[{"code":"NAME_UNKNOWN","message":"Not Found"}]}`},
		{405, "", `{"errors":[{"code":"UNSUPPORTED","message":"Method Not Allowed"}]}`},
		{429, tooMany, `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}`},
		{403, denied, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`},
		{502, `a "quoted" one`, `{"errors":[{"code":"UNAVAILABLE","message":"a \"quoted\" one"}]}`},
		{599, "", `{"errors":[{"code":"UNAVAILABLE","message":"status 599"}]}`},
	} {
		contentType, body := Refusal(c.status, c.message)
		assert.Equal(t, "application/json", contentType)
		assert.Equal(t, c.want+"\n", string(body))
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("/v2/a/manifests/1")
	f.Add("/v2/a/blobs/" + sha256)
	f.Add("/v2/_/manifests/" + sha512)
	f.Add("/v2/a/tags/list")
	f.Add("/v2//x")
	f.Fuzz(func(t *testing.T, path string) {
		p, err := locate(path)
		if err != nil {
			return
		}
		if p.String() != path {
			t.Fatalf("%q became %q", path, p)
		}
		if p.digest != "" && p.digest.New() == nil {
			t.Fatalf("%q cannot be checked", p.digest)
		}
	})
}
