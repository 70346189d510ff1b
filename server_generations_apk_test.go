package cacheproxy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

const (
	apkRepo  = "/v3.20/main/x86_64/"
	apkIndex = apkRepo + "APKINDEX.tar.gz"
)

// apkVersion is a repository: its index, and a small and a large package, whose
// sizes are those of every version.
func apkVersion(t *testing.T, n int) tree {
	t.Helper()
	modified := time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)
	all, records := tree{}, ""
	for i, name := range []string{"small", "large"} {
		data := apkStream(t, "usr/share/"+name, string(proxytest.Random(int64(1000+300<<10*i), uint64(n)).Bytes()))
		control := apkStream(t, ".PKGINFO", fmt.Sprintf("pkgname = %s\ndatahash = %x\n", name, sha256.Sum256(data)))
		sum := sha1.Sum(control)
		content := bytes.Join([][]byte{apkStream(t, ".SIGN.RSA.demo.rsa.pub", "signature"), control, data}, nil)
		all[apkRepo+name+"-1-r0.apk"] = treeFile{content, modified}
		records += fmt.Sprintf("C:Q1%s\nP:%s\nV:1-r0\nS:%d\n\n", base64.StdEncoding.EncodeToString(sum[:]), name, len(content))
	}
	all[apkIndex] = treeFile{apkStream(t, "APKINDEX", records), modified}
	return all
}

// apkStream is one stream of gzip, as long as its content and a little more.
func apkStream(t *testing.T, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err = w.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.NoError(t, z.Close())
	return b.Bytes()
}

// apkGet asks as a client of its own, and what it gets; cut says that the
// connection broke.
func apkGet(s *Server, path string) (body []byte, cut bool) {
	r, w := httptest.NewRequest("GET", "/alpine"+path, nil), httptest.NewRecorder()
	func() {
		defer func() { cut = recover() == http.ErrAbortHandler }()
		s.ServeHTTP(w, r)
	}()
	return w.Body.Bytes(), cut || w.Code != http.StatusOK
}

// TestApkWrong: a package that is not what the index says never completes,
// whichever of its streams is wrong; the right one comes from another mirror, and
// stays.
func TestApkWrong(t *testing.T) {
	for _, name := range []string{"small-1-r0.apk", "large-1-r0.apk"} {
		for _, where := range []string{"control", "data", "all"} {
			t.Run(name+" "+where, func(t *testing.T) {
				right := apkVersion(t, 1)
				want := right[apkRepo+name].content
				wrong := bytes.Clone(want)
				switch where {
				case "control":
					wrong[bytes.Index(wrong, []byte("pkgname"))] ^= 1
				case "data":
					wrong[len(wrong)-100] ^= 1
				case "all": // a package in itself, but of another version
					wrong = apkVersion(t, 2)[apkRepo+name].content
				}
				require.Len(t, wrong, len(want))
				clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
				mirrors := []*treeMirror{newTreeMirror(t), newTreeMirror(t)}
				for _, m := range mirrors {
					m.publish(right)
				}
				mirrors[0].publish(tree{apkRepo + name: {wrong, right[apkIndex].modified}})
				mirrors[1].drop(name) // so that the first one is asked and believed
				s := generationsServer(t, clock, "name: alpine, type: apk", mirrors...)
				_, failed := apkGet(s, apkIndex)
				require.False(t, failed)
				body, failed := apkGet(s, apkRepo+name)
				assert.True(t, failed)
				assert.Less(t, len(body), len(want), "never whole")
				if strings.HasPrefix(name, "small") {
					assert.NotEqual(t, wrong[:min(len(body), len(wrong))], body, "nothing of it is sent at all")
				}

				mirrors[1].publish(tree{apkRepo + name: right[apkRepo+name]})
				clock.pass(2 * time.Minute)
				assert.Eventually(t, func() bool {
					body, failed = apkGet(s, apkRepo+name)
					return !failed
				}, 5*time.Second, 10*time.Millisecond)
				assert.True(t, bytes.Equal(want, body))
				for _, m := range mirrors {
					m.Close()
				}
				body, failed = apkGet(s, apkRepo+name)
				assert.False(t, failed)
				assert.True(t, bytes.Equal(want, body), "kept")
			})
		}
	}
}

// TestApkRebuilt: a package that comes again under its name, in the same size,
// is another one as soon as the index says so (PROTOCOLS 0.17), and an index
// that is older than the one that was served does not come back (B42).
func TestApkRebuilt(t *testing.T) {
	clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	mirrors := []*treeMirror{newTreeMirror(t), newTreeMirror(t)}
	one, two := apkVersion(t, 1), apkVersion(t, 2)
	for _, m := range mirrors {
		m.publish(one)
	}
	s := generationsServer(t, clock, "name: alpine, type: apk", mirrors...)
	index := func() string {
		clock.pass(10 * time.Minute)
		body, failed := apkGet(s, apkIndex)
		require.False(t, failed)
		return string(body)
	}
	const name = apkRepo + "small-1-r0.apk"
	require.Equal(t, string(one[apkIndex].content), index())
	body, _ := apkGet(s, name)
	require.Equal(t, one[name].content, body)

	for _, m := range mirrors {
		m.publish(two)
	}
	assert.Eventually(t, func() bool { return index() == string(two[apkIndex].content) }, 5*time.Second, time.Millisecond)
	assert.Eventually(t, func() bool { // the index is read behind the client
		body, _ = apkGet(s, name)
		return bytes.Equal(two[name].content, body)
	}, 5*time.Second, time.Millisecond)

	for _, m := range mirrors {
		m.publish(tree{apkIndex: one[apkIndex]})
	}
	for range 6 {
		assert.Equal(t, string(two[apkIndex].content), index())
	}
}
