package edge

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// FuzzPrecondition: whatever a client sends as conditions, the answer is one of
// three, and If-None-Match: * of what is there is 304 (RFC 9110 §13.2.2).
func FuzzPrecondition(f *testing.F) {
	f.Add(`"a"`, `W/"a", "b"`, "Sun, 06 Nov 1994 08:49:37 GMT", `"a"`)
	f.Add(`*`, `*`, "Sunday, 06-Nov-94 08:49:37 GMT", "")
	f.Add(`"a`, `,,"",W/`, "Sun Nov  6 08:49:37 1994", `W/"a"`)
	f.Fuzz(func(t *testing.T, match, noneMatch, since, etag string) {
		stored := http.Header{"Etag": {etag}, "Last-Modified": {"Sun, 06 Nov 1994 08:49:37 GMT"}}
		request := http.Header{"If-Match": {match}, "If-None-Match": {noneMatch}, "If-Modified-Since": {since}, "If-Unmodified-Since": {since}, "If-Range": {match}}
		assert.Contains(t, []int{0, http.StatusOK, http.StatusNotModified, http.StatusPreconditionFailed}, precondition(request, stored))
		if ifRange(request, stored) && match != "" && match != etag {
			assert.NotEqual(t, byte('"'), match[0], "another entity tag let a range through")
		}
	})
}
