package cacheproxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// Of four mirrors that bring a large file in parts one sends something else
// under the same tag. Its clients see a cut and then the right bytes, never wrong
// ones; the liar is left alone for that file, and nobody is for another (F13).
func TestLiarAmongStripes(t *testing.T) {
	const size = 6_000_000
	right, wrong, other := proxytest.Random(size, 1), proxytest.Random(size, 2), proxytest.Random(size, 3)
	for _, liar := range []int{0, 2} {
		t.Run(fmt.Sprintf("mirror %d", liar), func(t *testing.T) {
			var origins []*proxytest.Origin
			var mirrors []string
			for n := range 4 {
				o := proxytest.NewOrigin(t)
				reply := func(path string, body proxytest.Body) {
					o.Reply("GET", path, proxytest.Reply{Body: body, Header: http.Header{"Etag": {`"v1"`}}, Rate: 4_000_000})
				}
				reply("/SHA256SUMS", proxytest.Text(fmt.Sprintf("%s  x.iso\n%s  y.iso\n", right.SHA256(), other.SHA256())))
				reply("/x.iso", right)
				reply("/y.iso", other)
				if n == liar {
					reply("/x.iso", wrong)
				}
				origins = append(origins, o)
				mirrors = append(mirrors, "{server: '"+o.URL()+"'}")
			}
			url, stop := start(t, proxytest.Env{Dir: t.TempDir(), Config: `
race: {stripe: {min-size: 1MiB, part: 256KiB, width: 4}}
hubs:
- name: tree
  type: files
  upstream: [` + strings.Join(mirrors, ", ") + `]
  cache: {policies: [{match: '\.iso$', refresh-after: never}]}
`})
			defer stop()
			get := func(path string) ([]byte, error) {
				resp, err := http.Get(url + "/tree" + path)
				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				return io.ReadAll(resp.Body)
			}
			_, err := get("/SHA256SUMS")
			require.NoError(t, err)
			got, err := get("/x.iso")
			require.Error(t, err, "the liar had a part in it")
			assert.Less(t, len(got), size)
			assert.Positive(t, origins[liar].Sent("/x.iso"))

			assert.Eventually(t, func() bool {
				got, err := get("/x.iso")
				return err == nil && bytes.Equal(right.Bytes(), got)
			}, 30*time.Second, time.Millisecond)
			lies := origins[liar].Hits("/x.iso")

			got, err = get("/y.iso")
			require.NoError(t, err)
			assert.True(t, bytes.Equal(other.Bytes(), got))
			brought := 0
			for _, o := range origins {
				if o.Sent("/y.iso") > 0 {
					brought++
				}
			}
			assert.Equal(t, 4, brought, "for another file all are asked")
			assert.Equal(t, lies, origins[liar].Hits("/x.iso"))
		})
	}
}
