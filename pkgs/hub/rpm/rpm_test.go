package rpm

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub(t testing.TB) *Hub {
	t.Helper()
	h, err := New(hub.Options{Name: "fedora", Policies: &hub.Policies{Default: freshness.Policy{TTL: time.Minute}}}, Options{})
	require.NoError(t, err)
	return h
}

func TestHub(t *testing.T) {
	hubtest.Run(t, newHub(t),
		hubtest.Sample{Target: "/9/repodata/repomd.xml", Header: http.Header{"Accept": {"*/*, application/metalink+xml"}}},
		hubtest.Sample{Target: "/9/repodata/primary.xml.gz"},
		hubtest.Sample{Target: "/9/Packages/libx%2b%2b-1.0%5egit-1.noarch.rpm"},
		hubtest.Sample{Target: "/metalink?repo=fedora-40&arch=x86_64"},
	)
}

func TestClasses(t *testing.T) {
	h := newHub(t)
	for _, c := range []struct {
		path  string
		class freshness.Class
		ttl   time.Duration
	}{
		{"/9/repodata/repomd.xml", freshness.Mutable, indexTTL},
		{"/9/repodata/repomd.xml.asc", freshness.Mutable, indexTTL},
		{"/9/repodata/repomd.xml.key", freshness.Mutable, indexTTL},
		{"/9/repodata/" + strings.Repeat("0a", 32) + "-primary.xml.gz", freshness.Immutable, time.Minute},
		{"/9/repodata/" + strings.Repeat("0a", 31) + "-primary.xml.gz", freshness.Mutable, indexTTL},
		{"/9/repodata/primary.xml.gz", freshness.Mutable, indexTTL},
		{"/9/Packages/d/demo-1.0-1.noarch.rpm", freshness.Immutable, time.Minute},
		{"/9/drpms/demo-1.0-1_2.0-1.noarch.drpm", freshness.Immutable, time.Minute},
		{"/mirrorlist", freshness.Mutable, indexTTL},
		{"/9/media.1/media", freshness.Mutable, otherTTL},
		{"/9/.treeinfo", freshness.Mutable, otherTTL},
		{"/9/images/pxeboot/vmlinuz", freshness.Mutable, otherTTL},
		{"/RPM-GPG-KEY-demo", freshness.Mutable, otherTTL},
		{"/9/", freshness.Mutable, otherTTL},
		{"/9/else", freshness.Mutable, time.Minute},
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
	req, err := h.Parse(&http.Request{URL: &url.URL{Path: "/p/lib-demo-1.0^git-1.fc40.x86_64.rpm", RawQuery: "x=1"}})
	require.NoError(t, err)
	assert.Equal(t, "lib-demo", req.Package)
	assert.Equal(t, "1.0^git-1.fc40", req.Version)
	assert.NotContains(t, req.Key.Path+req.Target, "?", "a query selects nothing")
	req, err = h.Parse(&http.Request{URL: &url.URL{Path: "/mirrorlist", RawQuery: "arch=x"}})
	require.NoError(t, err)
	assert.Equal(t, "/mirrorlist?arch=x", req.Key.Path)
	assert.Equal(t, "/mirrorlist?arch=x", req.Target)
}
