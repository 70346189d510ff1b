package freshness_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// FuzzNotModified: a stored response without an entity tag and a date is never
// what a client has, except by "*" (RFC 9110 §13.1.2).
func FuzzNotModified(f *testing.F) {
	f.Add(`"a", W/"b"`, "Sun, 06 Nov 1994 08:49:37 GMT", `"a"`)
	f.Add(`*`, "", "")
	f.Add(`,"a,b" ,`, "x", `"a,b"`)
	f.Fuzz(func(t *testing.T, noneMatch, since, etag string) {
		request := http.Header{"If-None-Match": {noneMatch}, "If-Modified-Since": {since}}
		bare := freshness.Stored{Status: 200, Header: http.Header{}}
		if bare.NotModified(request) {
			assert.Contains(t, noneMatch, "*")
		}
		tagged := freshness.Stored{Status: 200, Header: http.Header{"Etag": {etag}}}
		_ = tagged.NotModified(request)
		if freshness.Strong(etag) {
			assert.NotContains(t, etag[:1], "W")
		}
	})
}
