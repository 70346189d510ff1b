//go:build e2e

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const apkDir = "alpine/v3.20/main/x86_64/"

// testApk: Debian has no apk, so a small reader stands in for it: it reads
// APKINDEX.tar.gz and fetches every package that is listed, checking the size
// (S:) and the SHA-1 of the control stream (C:), as apk does.
func testApk(t *testing.T, p program) {
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	names := apkRepository(t, www)
	a, b := newMirror(t, www), newMirror(t, www)
	dying := "/" + apkDir + names[1]
	a.next(dying, a.dies)
	b.next(dying, b.late)
	d := p.start(t, dir, config(a, b))

	// apk tries a failed transfer once more.
	install := func() {
		listed := apkIndex(t, d)
		require.Len(t, listed, len(names))
		for _, pkg := range listed {
			target := d.url + "/" + apkDir + url.PathEscape(pkg.name+"-"+pkg.version+".apk")
			resp, body, err := get(t.Context(), http.DefaultClient, target)
			if err != nil {
				resp, body, err = get(t.Context(), http.DefaultClient, target)
			}
			require.NoError(t, err, pkg.name)
			require.Equal(t, http.StatusOK, resp.StatusCode, pkg.name)
			assert.Len(t, body, pkg.size, pkg.name)
			assert.Equal(t, pkg.checksum, apkChecksum(t, body), pkg.name)
		}
	}
	install()
	assert.Equal(t, 1, a.asked(dying), "the mirror that died")
	assert.NotZero(t, b.asked(dying), "the mirror that lives")
	d.noTemporary()

	a.stop()
	b.stop()
	install()
}

// apkRepository makes an index and its packages, and returns their file names.
func apkRepository(t *testing.T, www string) (names []string) {
	t.Helper()
	var index strings.Builder
	for i, name := range []string{"demo", "libdemo++", "demo-doc"} {
		control := tarGz(t, ".PKGINFO", "pkgname = "+name+"\npkgver = 1.0-r0\n")
		content := append(control, tarGz(t, "usr/share/"+name, string(proxytest.Random(1<<20, uint64(10+i)).Bytes()))...)
		names = append(names, name+"-1.0-r0.apk")
		put(t, content, www, apkDir, names[i])
		sum := sha1.Sum(control)
		fmt.Fprintf(&index, "C:Q1%s\nP:%s\nV:1.0-r0\nA:x86_64\nS:%d\n\n", base64.StdEncoding.EncodeToString(sum[:]), name, len(content))
	}
	put(t, tarGz(t, "APKINDEX", index.String()), www, apkDir, "APKINDEX.tar.gz")
	return names
}

// tarGz is one gzip stream of an archive with one file.
func tarGz(t *testing.T, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := io.WriteString(w, content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

type apkListed struct {
	name, version, checksum string
	size                    int
}

// apkIndex reads the index through the proxy.
func apkIndex(t *testing.T, d *daemon) (all []apkListed) {
	t.Helper()
	_, body := d.mustGet("/" + apkDir + "APKINDEX.tar.gz")
	z, err := gzip.NewReader(bytes.NewReader(body))
	require.NoError(t, err)
	r := tar.NewReader(z)
	h, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "APKINDEX", h.Name)
	var pkg apkListed
	for lines := bufio.NewScanner(r); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ":")
		switch field {
		case "P":
			pkg.name = value
		case "V":
			pkg.version = value
		case "C":
			pkg.checksum = value
		case "S":
			pkg.size, err = strconv.Atoi(value)
			require.NoError(t, err)
		case "":
			all, pkg = append(all, pkg), apkListed{}
		}
	}
	return all
}

// apkChecksum is C: of a package, which ends with the first gzip stream.
func apkChecksum(t *testing.T, content []byte) string {
	t.Helper()
	r := bytes.NewReader(content) // an io.ByteReader: gzip reads no further than it must
	z, err := gzip.NewReader(r)
	require.NoError(t, err)
	z.Multistream(false)
	_, err = io.Copy(io.Discard, z)
	require.NoError(t, err)
	sum := sha1.Sum(content[:len(content)-r.Len()])
	return "Q1" + base64.StdEncoding.EncodeToString(sum[:])
}
