//go:build e2e

package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// testParent: an office whose packages come through headquarters. The process there
// is killed within four bodies, of a type each, and starts again. Clients at the
// office get the whole or are cut, and what they ask for again is right; then both
// headquarters and origin are gone, and the office has it all.
func testParent(t *testing.T, p program) {
	const size = 4 << 20
	body := proxytest.Random(size, 51)
	content := body.Bytes()
	sum256, sum512 := sha256.Sum256(content), sha512.Sum512(content)
	origin := proxytest.NewOrigin(t)
	reply := func(path, text, contentType string) {
		sum := sha256.Sum256([]byte(text))
		header := http.Header{"Etag": {fmt.Sprintf(`"%x"`, sum[:4])}, "Content-Type": {contentType}, "Docker-Content-Digest": {fmt.Sprintf("sha256:%x", sum)}}
		origin.Reply("GET", path, proxytest.Reply{Body: proxytest.Text(text), Header: header})
	}
	packages := fmt.Sprintf("Package: lib\nVersion: 1.0\nArchitecture: all\nFilename: pool/lib_1.0_all.deb\nSize: %d\nSHA256: %x\n\n", size, sum256)
	reply("/pypi/simple/lib/", fmt.Sprintf(`<html><body><a href="../../packages/lib-1.0.tar.gz#sha256=%x">lib-1.0.tar.gz</a>`, sum256), "text/html")
	reply("/npm/lib", fmt.Sprintf(`{"name":"lib","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"lib","version":"1.0.0","dist":{"tarball":"%s/npm/lib/-/lib-1.0.0.tgz","integrity":"sha512-%s"}}}}`,
		origin.URL(), base64.StdEncoding.EncodeToString(sum512[:])), "application/json")
	reply("/apt/dists/stable/main/binary-amd64/Packages", packages, "text/plain")
	reply("/apt/dists/stable/InRelease", fmt.Sprintf("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: stable\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n %x %d main/binary-amd64/Packages\n-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n",
		sha256.Sum256([]byte(packages)), len(packages)), "text/plain")
	files := []string{"/pypi/packages/lib-1.0.tar.gz", "/npm/lib/-/lib-1.0.0.tgz", "/apt/pool/lib_1.0_all.deb", fmt.Sprintf("/oci/v2/app/blobs/sha256:%x", sum256)}
	for _, path := range files {
		whole := proxytest.Reply{Body: body, Header: http.Header{"Etag": {`"v1"`}}}
		half := whole
		half.Fault, half.At, half.Times = proxytest.Stall, size/2, 1
		origin.Reply("GET", path, half, whole)
	}

	hubs := func(listen, from string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "listen: %s\nlog: {level: debug}\nhubs:\n", listen)
		for _, kind := range []string{"pypi", "npm", "apt", "oci"} {
			fmt.Fprintf(&b, "- {name: %s, type: %[1]s, upstream: [{server: '%s/%[1]s'}]}\n", kind, from)
		}
		return b.String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	headquarters := p.start(t, dir, hubs(address, origin.URL()))
	office := p.start(t, t.TempDir(), hubs("127.0.0.1:0", "http://"+address))

	indexes := []string{"/pypi/simple/lib/", "/npm/lib", "/apt/dists/stable/InRelease", "/apt/dists/stable/main/binary-amd64/Packages"}
	for _, index := range indexes {
		resp, text := office.mustGet(index)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", index, text)
		assert.NotContains(t, string(text), address)
		assert.NotContains(t, string(text), origin.URL())
	}
	var rests []func() ([]byte, error)
	for _, path := range files {
		// Each of both holds the last 64 KiB of what it has back, as long as it is not proved.
		rests = append(rests, begin(t, office, path, size-512<<10))
	}
	headquarters.signal(syscall.SIGKILL)
	assert.Equal(t, -1, headquarters.wait())
	headquarters = p.start(t, dir, hubs(address, origin.URL()))
	whole := 0
	for i, rest := range rests {
		if got, err := rest(); err == nil {
			whole++
			assert.True(t, bytes.Equal(content, got), "%s ended, with other content", files[i])
		}
	}
	t.Logf("%d of %d clients did not notice", whole, len(files))
	for _, path := range files {
		resp, got := office.mustGet(path)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", path, got)
		assert.True(t, bytes.Equal(content, got), path)
		// The process that was killed has kept nothing yet and reads all of it once more,
		// beside what the office asks for, which is the rest.
		assert.LessOrEqual(t, origin.Sent(path), int64(3*size), path)
		t.Logf("%s: the origin has sent %d of %d bytes in %d answers", path, origin.Sent(path), size, origin.Bodies(path))
	}
	headquarters.noTemporary()
	office.noTemporary()

	headquarters.signal(syscall.SIGTERM)
	assert.Zero(t, headquarters.wait())
	origin.Down()
	for _, path := range append(files, indexes...) {
		resp, err := http.Get(office.url + path)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, resp.StatusCode, path)
		if slices.Contains(files, path) {
			assert.Equal(t, "HIT", resp.Header.Get("X-Cache"))
			assert.True(t, bytes.Equal(content, got), path)
		}
	}
}
