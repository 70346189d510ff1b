package cacheproxy

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// A parentCase is a type with an index and what that leads to.
type parentCase struct {
	kind     string
	indexes  []string // paths, in the order in which clients ask
	artifact string
	replies  func(origin string, content []byte) map[string]string // documents by path
	pages    int                                                   // entries that the child has of indexes, where none is an edited one
}

func parentCases(content []byte) []parentCase {
	sum256, sum512 := sha256.Sum256(content), sha512.Sum512(content)
	blob := fmt.Sprintf("sha256:%x", sum256)
	return []parentCase{
		{
			kind: "pypi", pages: 1, indexes: []string{"/simple/lib/"}, artifact: "/packages/lib-1.0.tar.gz",
			replies: func(string, []byte) map[string]string {
				return map[string]string{"/simple/lib/": fmt.Sprintf(`<html><body><a href="../../packages/lib-1.0.tar.gz#sha256=%x">lib-1.0.tar.gz</a>`, sum256)}
			},
		},
		{
			kind: "npm", indexes: []string{"/lib"}, artifact: "/lib/-/lib-1.0.0.tgz", // its links are absolute: each cache names itself
			replies: func(origin string, _ []byte) map[string]string {
				return map[string]string{"/lib": fmt.Sprintf(`{"name":"lib","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"lib","version":"1.0.0","dist":{"tarball":"%s/lib/-/lib-1.0.0.tgz","integrity":"sha512-%s"}}}}`,
					origin, base64.StdEncoding.EncodeToString(sum512[:]))}
			},
		},
		{
			kind: "apt", indexes: []string{suite + "InRelease", suite + "main/binary-amd64/Packages"}, artifact: "/pool/main/l/lib/lib_1.0_all.deb",
			replies: func(string, []byte) map[string]string {
				packages := fmt.Sprintf("Package: lib\nVersion: 1.0\nArchitecture: all\nFilename: pool/main/l/lib/lib_1.0_all.deb\nSize: %d\nSHA256: %x\n\n", len(content), sum256)
				return map[string]string{
					suite + "main/binary-amd64/Packages": packages,
					suite + "InRelease": fmt.Sprintf("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: stable\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n %x %d main/binary-amd64/Packages\n-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n",
						sha256.Sum256([]byte(packages)), len(packages)),
				}
			},
		},
		{
			kind: "oci", indexes: []string{"/v2/team/app/manifests/latest"}, artifact: "/v2/team/app/blobs/" + blob,
			replies: func(string, []byte) map[string]string {
				return map[string]string{"/v2/team/app/manifests/latest": fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
					imageManifest, digestOf("{}"), blob, len(content))}
			},
		},
	}
}

// TestParentCut: a parent whose connections die within a body. Who asked the child
// gets every byte of it, and does not notice; the origin has sent each of them once;
// and each cache has one copy.
func TestParentCut(t *testing.T) {
	const size = 3 << 20
	body := proxytest.Random(size, 41)
	for _, c := range parentCases(body.Bytes()) {
		t.Run(c.kind, func(t *testing.T) {
			origin := proxytest.NewOrigin(t)
			for path, text := range c.replies(origin.URL(), body.Bytes()) {
				header := http.Header{"Etag": {fmt.Sprintf(`"%.8x"`, sha256.Sum256([]byte(text)))}}
				if c.kind == "oci" {
					header.Set("Content-Type", imageManifest)
					header.Set("Docker-Content-Digest", digestOf(text))
					origin.Reply("GET", "/v2/team/app/manifests/"+digestOf(text), proxytest.Reply{Body: proxytest.Text(text), Header: header})
				}
				if strings.HasPrefix(text, "<") {
					header.Set("Content-Type", "text/html")
				}
				origin.Reply("GET", path, proxytest.Reply{Body: proxytest.Text(text), Header: header})
			}
			origin.Reply("GET", c.artifact, proxytest.Reply{Body: body, Header: http.Header{"Etag": {`"v1"`}}, Fault: proxytest.Stall, At: size / 2})
			parent, child, at := family(t, origin.URL(), "type: "+c.kind)
			door := httptest.NewServer(child)
			defer door.Close()

			for _, index := range c.indexes {
				w := ask(child, "GET", "/h"+index, "Accept", imageManifest+", */*")
				require.Equal(t, 200, w.Code, "%s: %s", index, w.Body.String())
				assert.NotContains(t, w.Body.String(), origin.URL(), "no link leads past both")
				assert.NotContains(t, w.Body.String(), at.URL, "no link leads past the child")
			}
			resp, err := http.Get(door.URL + "/h" + c.artifact)
			require.NoError(t, err)
			defer resp.Body.Close()
			// Each of both holds the last 64 KiB of what it has back, as long as it is not proved.
			got := make([]byte, size/2-256<<10)
			_, err = io.ReadFull(resp.Body, got)
			require.NoError(t, err)
			at.CloseClientConnections()
			require.Eventually(t, func() bool { return origin.Release(c.artifact) }, 5*time.Second, time.Millisecond)
			rest, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.True(t, string(body.Bytes()) == string(got)+string(rest), "the content is another one")
			assert.Equal(t, 1, origin.Bodies(c.artifact))
			assert.EqualValues(t, size, origin.Sent(c.artifact))

			for name, s := range map[string]*Server{"parent": parent, "child": child} {
				settled(t, s)
				keys, stored := entries(t, s)
				assert.Less(t, stored, int64(size+64<<10), "%s has the content once: %v", name, keys)
				if name == "child" && c.pages != 0 {
					assert.Len(t, keys, c.pages+1, "%v", keys)
				}
			}
			settled(t, child)
			w := ask(child, "GET", "/h"+c.artifact)
			assert.Equal(t, "HIT", w.Header().Get("X-Cache"))
			assert.True(t, string(body.Bytes()) == w.Body.String())
			assert.EqualValues(t, size, origin.Sent(c.artifact))
		})
	}
}
