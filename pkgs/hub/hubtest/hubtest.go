// Package hubtest is the suite that every hub passes: the demands of [hub.Hub]
// that do not depend on the ecosystem.
package hubtest

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Sample is a request that the hub knows.
type Sample struct {
	Target string      // path and query as the client spells them, relative to the mount
	Header http.Header // of the client; fields that select a representation belong here

	// Upstream is the target upstream; "" is Target. A hub that maps paths names
	// the mapped one, in the client's spelling.
	Upstream string
	// Forwards are the client's fields that select a representation and so may go
	// upstream.
	Forwards []string
}

// Run runs the suite on h.
func Run(t *testing.T, h hub.Hub, samples ...Sample) {
	require.NotEmpty(t, samples)
	for _, sample := range samples {
		t.Run(strings.ReplaceAll(strings.TrimPrefix(sample.Target, "/"), "/", "|"), func(t *testing.T) {
			runSample(t, h, sample)
		})
	}
	t.Run("hostile paths", func(t *testing.T) {
		for _, path := range hostile {
			r := request(path, nil)
			if r == nil {
				continue // net/http refuses it
			}
			req, err := h.Parse(r)
			assert.Error(t, err, "%s became %+v", path, req)
		}
	})
	t.Run("concurrent", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, sample := range samples {
			want, err := h.Parse(request(sample.Target, sample.Header))
			require.NoError(t, err)
			for range 4 {
				wg.Go(func() {
					got, err := h.Parse(request(sample.Target, sample.Header))
					assert.NoError(t, err)
					assert.Equal(t, want, got)
				})
			}
		}
		wg.Wait()
	})
}

func runSample(t *testing.T, h hub.Hub, sample Sample) {
	r := request(sample.Target, sample.Header)
	require.NotNil(t, r, "the sample is a valid target")
	req, err := h.Parse(r)
	require.NoError(t, err)
	assert.NotEmpty(t, req.Key.Hub)
	assert.True(t, strings.HasPrefix(req.Key.Path, "/"), "the key's path %q begins with a slash", req.Key.Path)
	assert.Nil(t, req.Validate, "the client's conditions are not the cache's")

	target := sample.Upstream
	if target == "" {
		target = sample.Target
	}
	assert.Equal(t, target, req.Target, "upstream sees the client's spelling")

	again, err := h.Parse(request(req.Key.Path, sample.Header))
	require.NoError(t, err, "a key's own path parses")
	assert.Equal(t, req.Key, again.Key, "to that key")
	assert.Equal(t, req.Policy, again.Policy, "with that policy")

	// Whatever else the client says reaches neither key nor upstream.
	header := sample.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	for _, name := range private {
		if !contains(sample.Forwards, name) {
			header.Set(name, marker)
		}
	}
	r = request(sample.Target, header)
	r.RemoteAddr = "203.0.113.9:1"
	other, err := h.Parse(r)
	require.NoError(t, err)
	assert.Equal(t, req.Key, other.Key, "the client's fields are not part of the key")
	assert.Equal(t, req.Target, other.Target)
	for name, values := range other.Header {
		for _, value := range values {
			assert.NotContains(t, value, marker, "%s goes upstream", name)
		}
	}
	for name := range sample.Header {
		if !contains(sample.Forwards, name) {
			assert.NotEqual(t, sample.Header[name], other.Header[name], "%s goes upstream", name)
		}
	}
	assert.Equal(t, marker, r.Header.Get("Cookie"), "Parse leaves the request as it is")

	r.Method = http.MethodHead
	head, err := h.Parse(r)
	require.NoError(t, err)
	assert.Equal(t, req.Key, head.Key, "HEAD asks about the same content")
}

const marker = "marker-of-the-client"

// private are fields that no hub forwards.
var private = []string{
	"Authorization", "Cookie", "Proxy-Authorization", "Referer", "User-Agent", "X-Api-Key", "X-Anything",
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via",
	"X-Accel-Path", "X-Accel-Redirect", "X-Sendfile", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override",
	"Connection", "Upgrade", "Http2-Settings", "Te", "Cache-Control", "Pragma", "Range", "If-Range",
	"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since",
}

// hostile are targets that some server reads as a way out of its tree.
var hostile = []string{
	"/../etc/passwd", "/a/../../etc/passwd", "/a/..", "/%2e%2e/etc/passwd", "/.%2e/etc/passwd",
	"/a/..%2fetc/passwd", "/..%2F..%2Fetc/passwd", "/a%2f..%2fb", "/a%2f..", "/%2e%2e%2fetc/passwd",
	"/%252e%252e/etc/passwd", "/..%252fetc/passwd", "/a%255cb", `/..\etc\passwd`, "/..%5cetc", "/..;/etc/passwd", "/..%3b/etc/passwd",
	"/%c0%ae%c0%ae/etc/passwd", "/%e0%80%ae%e0%80%ae/etc", "/%c0%af", "/%ff",
	"/%00", "/a%00.deb", "/a%0d%0aHost:%20x", "/a%0a", "/%1b[31m", "/%7f",
}

// request is what net/http makes of a GET; nil if it refuses the target.
func request(target string, header http.Header) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Request{
		Method: http.MethodGet, URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: "proxy.example.org", Header: header.Clone(), Body: http.NoBody, RemoteAddr: "192.0.2.1:1234",
	}
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if http.CanonicalHeaderKey(n) == name {
			return true
		}
	}
	return false
}

// Reparse parses a foreign target, and then the path of the key that it got, which
// must be parsed to that key again: it is for fuzz tests. ok is false for a target
// that no client can send, or that the hub does not know.
func Reparse(t *testing.T, h hub.Hub, target string) (req, again *exchange.Request, ok bool) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") {
		return nil, nil, false
	}
	if req, err = h.Parse(&http.Request{URL: u}); err != nil {
		return nil, nil, false
	}
	u, err = url.ParseRequestURI(req.Key.Path)
	require.NoError(t, err)
	again, err = h.Parse(&http.Request{URL: u})
	require.NoError(t, err)
	assert.Equal(t, req.Key, again.Key)
	return req, again, true
}

// Merge is what h makes of the indexes of so many members that have these texts.
func Merge(h hub.Merger, texts ...string) (string, error) {
	var parts []hub.Part
	for _, text := range texts {
		parts = append(parts, hub.Part{Entry: &exchange.Entry{Mirror: "https://a.example.org"}, Body: strings.NewReader(text)})
	}
	var b strings.Builder
	err := h.Merge(&b, nil, parts)
	return b.String(), err
}
