package apt

import (
	"net/http"
	"net/url"
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

func newHub(t testing.TB) *Hub {
	t.Helper()
	h, err := New(hub.Options{Name: "debian", Policies: &hub.Policies{Default: freshness.Policy{TTL: time.Minute}}}, Options{})
	require.NoError(t, err)
	return h
}

func TestHub(t *testing.T) {
	hubtest.Run(t, newHub(t),
		hubtest.Sample{Target: "/debian/dists/stable/InRelease", Header: http.Header{"Accept": {"text/*"}}},
		hubtest.Sample{Target: "/debian/dists/stable/main/binary-amd64/Packages.xz"},
		hubtest.Sample{Target: "/debian/dists/stable/main/binary-amd64/by-hash/SHA256/" + strings.Repeat("0a", 32)},
		hubtest.Sample{Target: "/debian/pool/main/libx/libx/libx%2b%2b1_1.0%7erc1_amd64.deb"},
		hubtest.Sample{Target: "/flat/./Packages", Upstream: "/flat/Packages"},
	)
}

func TestClasses(t *testing.T) {
	const (
		mutable   = freshness.Mutable
		immutable = freshness.Immutable
	)
	hash := "/by-hash/SHA256/" + strings.Repeat("0a", 32)
	h := newHub(t)
	for _, c := range []struct {
		path  string
		class freshness.Class
		ttl   time.Duration
	}{
		{"/dists/stable/InRelease", mutable, indexTTL},
		{"/d/dists/stable/updates/Release.gpg", mutable, indexTTL},
		{"/flat/InRelease", mutable, indexTTL},
		{"/dists/stable/main/binary-amd64/Packages.xz", mutable, indexTTL},
		{"/dists/stable/main/i18n/Translation-en.bz2", mutable, indexTTL},
		{"/dists/stable/main/binary-amd64" + hash, immutable, time.Minute},
		{"/flat" + hash, immutable, time.Minute},
		{"/dists/stable/main/by-hash/SHA256/0a", mutable, indexTTL},
		{"/dists/stable/main/binary-amd64/Packages.diff/Index", mutable, indexTTL},
		{"/dists/stable/main/binary-amd64/Packages.diff/T-2026-F-2025.gz", immutable, time.Minute},
		{"/pool/main/d/demo/demo_1.0_all.deb", immutable, time.Minute},
		{"/pool/main/d/demo/", mutable, otherTTL},
		{"/flat/demo_1.0_all.deb", immutable, time.Minute},
		{"/flat/demo_1.0.orig.tar.xz.asc", immutable, time.Minute},
		{"/flat/demo_1.0-1.diff.gz", immutable, time.Minute},
		{"/flat/Packages.gz", mutable, indexTTL},
		{"/flat/Sources", mutable, indexTTL},
		{"/dists/stable/main/installer-amd64/current/images/netboot/mini.iso", mutable, otherTTL},
		{"/dists/stable/main/installer-amd64/20260607+deb13/images/netboot/mini.iso", immutable, time.Minute},
		{"/archive/debian/20260101T000000Z/dists/sid/InRelease", immutable, time.Minute},
		{"/project/trace/master", mutable, otherTTL},
		{"/ls-lR.gz", mutable, otherTTL},
		{"/README", mutable, time.Minute},
	} {
		t.Run(c.path[1:], func(t *testing.T) {
			req, err := h.Parse(&http.Request{URL: &url.URL{Path: c.path}})
			require.NoError(t, err)
			assert.Equal(t, c.class, req.Policy.Class)
			assert.Equal(t, c.ttl, req.Policy.TTL)
		})
	}
}

func TestParseSays(t *testing.T) {
	h := newHub(t)
	req, err := h.Parse(&http.Request{URL: &url.URL{Path: "/dists/s/by-hash/SHA256/" + strings.Repeat("0a", 32), RawQuery: "x=1"}})
	require.NoError(t, err)
	assert.Equal(t, exchange.Digest("sha256:"+strings.Repeat("0a", 32)), req.Digest)
	assert.NotContains(t, req.Target, "?", "a query selects nothing")
	for _, c := range []struct{ path, name, version string }{
		{"/pool/d/demo_1.0~rc1+b1_amd64.deb", "demo", "1.0~rc1+b1"},
		{"/pool/d/demo_1.0-1.debian.tar.xz", "demo", "1.0-1"},
		{"/pool/d/demo_1.0.orig.tar.gz", "demo", "1.0"},
		{"/pool/d/demo_1.0-1.dsc", "demo", "1.0-1"},
	} {
		req, err := h.Parse(&http.Request{URL: &url.URL{Path: c.path}})
		require.NoError(t, err)
		assert.Equal(t, c.name, req.Package, c.path)
		assert.Equal(t, c.version, req.Version, c.path)
	}
}
