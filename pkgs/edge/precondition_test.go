package edge

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestPreconditions(t *testing.T) {
	const (
		before  = "Sun, 06 Nov 1994 08:49:36 GMT"
		after   = "Sun, 06 Nov 1994 08:49:38 GMT"
		asctime = "Sun Nov  6 08:49:37 1994"
	)
	tests := []struct {
		name   string
		etag   string // of the entry; "-" for none
		header []string
		status int
	}{
		{"none", "", nil, 200},
		{"If-None-Match", "", []string{"If-None-Match", etag}, 304},
		{"If-None-Match, weak", "", []string{"If-None-Match", "W/" + etag}, 304},
		{"If-None-Match, weak entry", "W/" + etag, []string{"If-None-Match", etag}, 304},
		{"If-None-Match, list", "", []string{"If-None-Match", `"a", W/"b,c" ,"v1"`}, 304},
		{"If-None-Match, lines", "", []string{"If-None-Match", `"a"`, "If-None-Match", etag}, 304},
		{"If-None-Match, star", "", []string{"If-None-Match", "*"}, 304},
		{"If-None-Match, other", "", []string{"If-None-Match", `"v2"`}, 200},
		{"If-None-Match, unquoted", "", []string{"If-None-Match", `v1`}, 200},
		{"If-None-Match, unended", "", []string{"If-None-Match", `"v1`}, 200},
		{"If-None-Match, no etag", "-", []string{"If-None-Match", etag}, 200},
		{"If-None-Match beats If-Modified-Since", "", []string{"If-None-Match", `"v2"`, "If-Modified-Since", modified}, 200},
		{"If-Modified-Since, equal", "", []string{"If-Modified-Since", modified}, 304},
		{"If-Modified-Since, equal in another format", "", []string{"If-Modified-Since", asctime}, 304},
		{"If-Modified-Since, later", "", []string{"If-Modified-Since", after}, 200},
		{"If-Modified-Since, earlier", "", []string{"If-Modified-Since", before}, 200},
		{"If-Modified-Since, no date", "", []string{"If-Modified-Since", "yesterday"}, 200},
		{"If-Match", "", []string{"If-Match", `"a", "v1"`}, 200},
		{"If-Match, star", "", []string{"If-Match", "*"}, 200},
		{"If-Match, weak", "", []string{"If-Match", "W/" + etag}, 412},
		{"If-Match, weak both", "W/" + etag, []string{"If-Match", "W/" + etag}, 412},
		{"If-Match, other", "", []string{"If-Match", `"v2"`}, 412},
		{"If-Match before If-None-Match", "", []string{"If-Match", `"v2"`, "If-None-Match", etag}, 412},
		{"If-Match, then If-None-Match", "", []string{"If-Match", etag, "If-None-Match", etag}, 304},
		{"If-Match beats If-Unmodified-Since", "", []string{"If-Match", etag, "If-Unmodified-Since", before}, 200},
		{"If-Unmodified-Since, equal", "", []string{"If-Unmodified-Since", modified}, 200},
		{"If-Unmodified-Since, later", "", []string{"If-Unmodified-Since", after}, 200},
		{"If-Unmodified-Since, earlier", "", []string{"If-Unmodified-Since", before}, 412},
		{"If-Unmodified-Since, no date", "", []string{"If-Unmodified-Since", "yesterday"}, 200},
		{"before the range", "", []string{"If-None-Match", etag, "Range", "bytes=0-1"}, 304},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := handler(answer("hello", func(resp *exchange.Response) {
				switch test.etag {
				case "":
				case "-":
					delete(resp.Entry.Header, "Etag")
				default:
					resp.Entry.Header["Etag"] = []string{test.etag}
				}
			}))
			for _, method := range []string{"GET", "HEAD"} {
				resp := get(h, method, "/x", test.header...)
				assert.Equal(t, test.status, resp.StatusCode, method)
				body := read(t, resp)
				switch resp.StatusCode {
				case http.StatusNotModified:
					assert.Empty(t, body)
					for _, name := range []string{"Content-Length", "Content-Type"} {
						assert.Empty(t, resp.Header.Values(name), name)
					}
					assert.Equal(t, modified, resp.Header.Get("Last-Modified"))
					assert.Equal(t, "no-cache", resp.Header.Get("Cache-Control"))
					assert.Equal(t, "cache-proxy; hit", resp.Header.Get("Cache-Status"))
				case http.StatusPreconditionFailed:
					assert.Equal(t, "20", resp.Header.Get("Content-Length"))
				}
			}
		})
	}

	t.Run("the date that was sent", func(t *testing.T) {
		h := handler(answer("hello", func(resp *exchange.Response) { resp.Entry.Header = nil }))
		date := get(h, "GET", "/x").Header.Get("Last-Modified")
		assert.NotEmpty(t, date)
		assert.Equal(t, 304, get(h, "GET", "/x", "If-Modified-Since", date).StatusCode)
		assert.Equal(t, 206, get(h, "GET", "/x", "If-Range", date, "Range", "bytes=0-1").StatusCode)
	})
}

func TestIfRange(t *testing.T) {
	for _, test := range []struct {
		name, etag, ifRange string
		status              int
	}{
		{"strong", etag, etag, 206},
		{"other", etag, `"v2"`, 200},
		{"weak", etag, "W/" + etag, 200},
		{"weak both", "W/" + etag, "W/" + etag, 200},
		{"date", etag, modified, 206},
		{"later date", etag, "Sun, 06 Nov 1994 08:49:38 GMT", 200},
		{"earlier date", etag, "Sun, 06 Nov 1994 08:49:36 GMT", 200},
		{"nonsense", etag, "v1", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := handler(answer("hello", func(resp *exchange.Response) { resp.Entry.Header["Etag"] = []string{test.etag} }))
			resp := get(h, "GET", "/x", "Range", "bytes=1-2", "If-Range", test.ifRange)
			assert.Equal(t, test.status, resp.StatusCode)
		})
	}
}
