package hub_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestAsked(t *testing.T) {
	o := &hub.Options{
		Name:  "h",
		Files: map[string]*url.URL{"cdn": mustURL(t, "https://cdn.example.org/x/")},
		Policies: &hub.Policies{
			Rules:   []hub.Rule{{Match: regexp.MustCompile(`^/(pinned|search)`), RefreshAfter: freshness.Forever}},
			Default: freshness.Policy{TTL: time.Hour, StaleIfError: time.Minute},
		},
	}
	policy := func(class freshness.Class, ttl time.Duration) freshness.Policy {
		return freshness.Policy{Class: class, TTL: ttl, StaleIfError: time.Minute}
	}
	for _, test := range []struct {
		name, target string
		kind         hub.Kind
		want         exchange.Request
	}{
		{"any", "/a%2bb//c?x=1", hub.Kind{}, exchange.Request{
			Key: exchange.Key{Hub: "h", Path: "/a+b/c"}, Target: "/a%2bb/c", Policy: policy(freshness.Mutable, time.Hour)}},
		{"of a kind", "/a", hub.Kind{TTL: time.Second, Accept: "x/y"}, exchange.Request{
			Key: exchange.Key{Hub: "h", Path: "/a"}, Target: "/a", Header: http.Header{"Accept": {"x/y"}}, Policy: policy(freshness.Mutable, time.Second)}},
		{"a query that counts", `/a%2b?x="`, hub.Kind{Query: true, Class: freshness.Immutable}, exchange.Request{
			Key: exchange.Key{Hub: "h", Path: "/a+?x=%22"}, Target: "/a%2b?x=%22", Policy: policy(freshness.Immutable, time.Hour)}},
		{"an empty query", "/a?", hub.Kind{Query: true}, exchange.Request{
			Key: exchange.Key{Hub: "h", Path: "/a"}, Target: "/a", Policy: policy(freshness.Mutable, time.Hour)}},
		{"a policy wins", "/pinned", hub.Kind{TTL: time.Second}, exchange.Request{
			Key: exchange.Key{Hub: "h", Path: "/pinned"}, Target: "/pinned", Policy: policy(freshness.Immutable, freshness.Forever)}},
		{"but not over what passes", "/search", hub.Kind{Class: freshness.Passthrough}, exchange.Request{
			Key: exchange.Key{Hub: "h", Path: "/search"}, Target: "/search", Policy: policy(freshness.Passthrough, freshness.Forever)}},
		{"of a second host", "/_f/cdn/a%2bb?x=1", hub.Kind{Class: freshness.Immutable, Query: true}, exchange.Request{
			Key: exchange.Key{Hub: "h", Path: "/_f/cdn/a+b?x=1"}, Target: "/a%2bb?x=1", Origin: "cdn", Policy: policy(freshness.Immutable, time.Hour)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked, err := o.Asked(httptest.NewRequest("GET", test.target, nil))
			require.NoError(t, err)
			assert.Equal(t, &test.want, asked.Request(test.kind))
		})
	}
	for _, target := range []string{"/_f/other/x", "/_f/cdn", "/_f/"} {
		_, err := o.Asked(httptest.NewRequest("GET", target, nil))
		assert.ErrorIs(t, err, fs.ErrNotExist, target)
	}
	_, err := o.Asked(&http.Request{URL: &url.URL{Path: "/a/../b"}})
	var stated *exchange.Error
	require.ErrorAs(t, err, &stated)
	assert.Equal(t, http.StatusBadRequest, stated.Status)
}

func BenchmarkAsked(b *testing.B) {
	o := &hub.Options{Name: "h", Files: map[string]*url.URL{"cdn": {Scheme: "https", Host: "cdn.example.org"}}}
	for name, target := range map[string]string{"own": "/packages/demo/1.0.0/demo-1.0.0.tgz", "second": "/_f/cdn/demo-1.0.0.tgz"} {
		r := httptest.NewRequest("GET", target, nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				asked, err := o.Asked(r)
				if err != nil {
					b.Fatal(err)
				}
				_ = asked.Request(hub.Kind{Class: freshness.Immutable})
			}
		})
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct{ path, dir, base string }{
		{"/a/b", "/a", "b"}, {"/a", "", "a"}, {"/a/", "/a", ""}, {"a", "", "a"}, {"", "", ""},
	} {
		dir, base := hub.CutLast(test.path)
		assert.Equal(t, [2]string{test.dir, test.base}, [2]string{dir, base}, test.path)
	}
	for _, test := range []struct {
		s             string
		n             int
		before, after string
		ok            bool
	}{
		{"lib-demo-1.0-r2", 2, "lib-demo", "1.0-r2", true},
		{"demo-1.0", 1, "demo", "1.0", true},
		{"demo-1.0", 2, "", "", false},
		{"-1.0", 1, "", "", false},
		{"", 1, "", "", false},
	} {
		before, after, ok := hub.CutRight(test.s, '-', test.n)
		assert.Equal(t, test.ok, ok, test.s)
		assert.Equal(t, [2]string{test.before, test.after}, [2]string{before, after}, test.s)
	}
}
