//go:build e2e

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
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

	install := func() { apkInstall(t, d, "/"+apkDir, names) }
	install()
	assert.Equal(t, 1, a.asked(dying), "the mirror that died")
	assert.NotZero(t, b.asked(dying), "the mirror that lives")
	d.noTemporary()

	a.stop()
	b.stop()
	install()
}

// testApkHub: a repository through a hub of its type, of which one of two mirrors
// has packages with a wrong bit, in the control of one and in the data of another;
// then again with neither.
func testApkHub(t *testing.T, p program) {
	dir := t.TempDir()
	www, bad := filepath.Join(dir, "www"), filepath.Join(dir, "bad")
	names := apkRepository(t, www)
	require.NoError(t, os.CopyFS(bad, os.DirFS(www)))
	for i, name := range names[:2] {
		file := filepath.Join(bad, apkDir, name)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		content[[]int{20, len(content) / 2}[i]] ^= 1
		put(t, content, file)
	}
	a, b := newMirror(t, bad), newMirror(t, www)
	for _, name := range names {
		b.next("/"+apkDir+name, b.late)
	}
	d := p.start(t, dir, hubConfig("linux", "apk", a, b))
	apkInstall(t, d, "/linux/"+apkDir, names)
	for _, name := range names[:2] {
		assert.NotZero(t, a.asked("/"+apkDir+name), "the mirror that has it wrong")
	}
	a.stop()
	b.stop()
	apkInstall(t, d, "/linux/"+apkDir, names)
	for _, name := range names {
		sameFile(t, filepath.Join(www, apkDir, name), filepath.Join(d.data, "linux", apkDir, name))
	}
}

// apkInstall fetches what the index at a path lists. What does not come whole is
// asked for again, as apk does; what comes whole is right.
func apkInstall(t *testing.T, d *daemon, path string, names []string) {
	t.Helper()
	listed := apkIndex(t, d, path)
	require.Len(t, listed, len(names))
	for _, pkg := range listed {
		target := d.url + path + url.PathEscape(pkg.name+"-"+pkg.version+".apk")
		resp, body, err := get(t.Context(), http.DefaultClient, target)
		if err != nil {
			resp, body, err = get(t.Context(), http.DefaultClient, target)
		}
		require.NoError(t, err, pkg.name)
		require.Equal(t, http.StatusOK, resp.StatusCode, pkg.name)
		assert.Len(t, body, pkg.size, pkg.name)
		checksum, whole := apkChecksum(t, body)
		assert.Equal(t, pkg.checksum, checksum, pkg.name)
		assert.True(t, whole, "%s: the data is not what the control says", pkg.name)
	}
}

// apkRepository makes an index and its packages, and returns their file names.
func apkRepository(t *testing.T, www string) (names []string) {
	t.Helper()
	var index strings.Builder
	for i, name := range []string{"demo", "libdemo++", "demo-doc"} {
		data := tarGz(t, "usr/share/"+name, string(proxytest.Random(1<<20, uint64(10+i)).Bytes()))
		control := tarGz(t, ".PKGINFO", fmt.Sprintf("pkgname = %s\npkgver = 1.0-r0\ndatahash = %x\n", name, sha256.Sum256(data)))
		content := append(control, data...)
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
func apkIndex(t *testing.T, d *daemon, path string) (all []apkListed) {
	t.Helper()
	_, body := d.mustGet(path + "APKINDEX.tar.gz")
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

// apkChecksum is C: of a package, whose first stream is the control, and whether
// the rest is what the control says.
func apkChecksum(t *testing.T, content []byte) (checksum string, whole bool) {
	t.Helper()
	r := bytes.NewReader(content) // an io.ByteReader: gzip reads no further than it must
	z, err := gzip.NewReader(r)
	require.NoError(t, err)
	z.Multistream(false)
	info, err := io.ReadAll(z)
	require.NoError(t, err)
	end := len(content) - r.Len()
	sum := sha1.Sum(content[:end])
	datahash := fmt.Sprintf("datahash = %x\n", sha256.Sum256(content[end:]))
	return "Q1" + base64.StdEncoding.EncodeToString(sum[:]), bytes.Contains(info, []byte(datahash))
}
