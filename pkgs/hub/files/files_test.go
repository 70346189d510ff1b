package files

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func TestSuite(t *testing.T) {
	hubtest.Run(t, New(Options{Name: "default"}),
		hubtest.Sample{Target: "/"},
		hubtest.Sample{Target: "/debian/dists/stable/InRelease"},
		hubtest.Sample{Target: "/debian/pool/libx%2b%2b1_1.0%7erc1.deb"},
		hubtest.Sample{Target: "/simple/x/"},
		hubtest.Sample{Target: "/a/./b//c", Upstream: "/a/b/c"},
		hubtest.Sample{Target: "/@sc%2fname"},
		hubtest.Sample{Target: "/f?a=1&b=%2F"},
		hubtest.Sample{Target: "/a%3fb?c=d?e/f", Header: http.Header{"Accept": {"text/html"}, "Accept-Encoding": {"gzip"}}},
	)
}

func TestParse(t *testing.T) {
	policies := &hub.Policies{
		Rules: []hub.Rule{
			{Match: regexp.MustCompile(`.*\.(rpm|deb|apk|iso)$`), RefreshAfter: freshness.Forever},
			{Match: regexp.MustCompile(`^/.*-security/.*`), RefreshAfter: time.Minute},
		},
		Default: freshness.Policy{TTL: time.Hour, StaleIfError: freshness.Forever},
	}
	tests := []struct {
		name, target string
		ignoreQuery  bool
		key, sent    string
		class        freshness.Class
		ttl          time.Duration
	}{
		{name: "default", target: "/a/", key: "/a/", sent: "/a/", ttl: time.Hour},
		{name: "never", target: "/p/a%2b.deb", key: "/p/a+.deb", sent: "/p/a%2b.deb", class: freshness.Immutable, ttl: freshness.Forever},
		{name: "rule's duration", target: "/debian-security/x", key: "/debian-security/x", sent: "/debian-security/x", ttl: time.Minute},
		{name: "first rule", target: "/debian-security/x.deb", key: "/debian-security/x.deb", sent: "/debian-security/x.deb", class: freshness.Immutable, ttl: freshness.Forever},
		{name: "query in the key, not in the rule", target: "/x.deb?v=1", key: "/x.deb?v=1", sent: "/x.deb?v=1", class: freshness.Immutable, ttl: freshness.Forever},
		{name: "query ignored", target: "/x?v=1", ignoreQuery: true, key: "/x", sent: "/x", ttl: time.Hour},
		{name: "empty query", target: "/x?", key: "/x", sent: "/x", ttl: time.Hour},
		{name: "query's illegal bytes", target: `/x?a="#b`, key: "/x?a=%22%23b", sent: "/x?a=%22%23b", ttl: time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := New(Options{Name: "default", Policies: policies, IgnoreQuery: test.ignoreQuery})
			req, err := h.Parse(httptest.NewRequest(http.MethodGet, test.target, nil))
			require.NoError(t, err)
			assert.Equal(t, exchange.Key{Hub: "default", Path: test.key}, req.Key)
			assert.Equal(t, test.sent, req.Target)
			assert.Equal(t, freshness.Policy{Class: test.class, TTL: test.ttl, StaleIfError: freshness.Forever}, req.Policy)
			assert.Empty(t, req.Header)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/", "/a/./b//c/?x", "/a%2fb?c=#d", "/%252e", "/é?é", "/a?b?c", "/?", "/a%3Fb"} {
		f.Add(seed)
	}
	h := New(Options{Name: "default"})
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		req, err := h.Parse(&http.Request{URL: u})
		if err != nil {
			return
		}
		for _, spelling := range []string{req.Key.Path, req.Target} {
			u, err = url.ParseRequestURI(spelling)
			require.NoError(t, err)
			again, err := h.Parse(&http.Request{URL: u})
			require.NoError(t, err)
			assert.Equal(t, req.Key, again.Key, spelling)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	policies := &hub.Policies{}
	for _, match := range []string{
		`.*\.(rpm|deb|apk|iso)$`, `^/.*-security/.*`, `^/archlinux/.*\.tar\.(zst|xz)$`, `^/.*/dists/.*/Release$`,
		`^/msys2/.*\.tar\.zst$`, `.*\.tar.*`, `^/epel/.*/repodata/.*`,
	} {
		policies.Rules = append(policies.Rules, hub.Rule{Match: regexp.MustCompile(match), RefreshAfter: time.Hour})
	}
	h := New(Options{Name: "default", Policies: policies})
	for name, target := range map[string]string{
		"first": "/debian/pool/main/libs/libstdc++/libstdc++6_12.2.0-14_amd64.deb",
		"none":  "/debian/dists/bookworm/main/binary-amd64/Packages.xz",
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = h.Parse(r)
			}
		})
	}
}
