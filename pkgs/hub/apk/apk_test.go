package apk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub(t testing.TB) *Hub {
	t.Helper()
	h, err := New(hub.Options{Name: "alpine", Policies: &hub.Policies{Default: freshness.Policy{TTL: time.Minute}}})
	require.NoError(t, err)
	return h
}

func TestHub(t *testing.T) {
	hubtest.Run(t, newHub(t),
		hubtest.Sample{Target: "/v3.20/main/x86_64/APKINDEX.tar.gz"},
		hubtest.Sample{Target: "/v3.20/main/x86_64/libx%2b%2b-1.0-r0.apk"},
	)
}

func TestClasses(t *testing.T) {
	h := newHub(t)
	for _, c := range []struct {
		path  string
		class freshness.Class
		ttl   time.Duration
	}{
		{"/v3.20/main/x86_64/APKINDEX.tar.gz", freshness.Mutable, indexTTL},
		{"/v3.20/main/x86_64/Packages.adb", freshness.Mutable, indexTTL},
		{"/v3.20/main/x86_64/demo-1.0-r0.apk", freshness.Immutable, time.Minute},
		{"/v3.20/releases/x86_64/alpine-3.20.iso", freshness.Immutable, time.Minute},
		{"/v3.20/releases/x86_64/alpine-3.20.iso.sha256", freshness.Mutable, otherTTL},
		{"/v3.20/keys/demo.rsa.pub", freshness.Mutable, otherTTL},
		{"/MIRRORS.txt", freshness.Mutable, otherTTL},
		{"/v3.20/", freshness.Mutable, otherTTL},
		{"/else", freshness.Mutable, time.Minute},
	} {
		t.Run(c.path[1:], func(t *testing.T) {
			req, err := h.Parse(&http.Request{URL: &url.URL{Path: c.path}})
			require.NoError(t, err)
			assert.Equal(t, c.class, req.Policy.Class)
			assert.Equal(t, c.ttl, req.Policy.TTL)
		})
	}
	req, err := h.Parse(&http.Request{URL: &url.URL{Path: "/x86_64/lib-demo-1.0_p1-r2.apk"}})
	require.NoError(t, err)
	assert.Equal(t, "lib-demo", req.Package)
	assert.Equal(t, "1.0_p1-r2", req.Version)
}

// stream is one gzip stream of an archive's file; the last one has its end.
func stream(t testing.TB, name, content string, last bool) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err = io.WriteString(w, content)
	require.NoError(t, err)
	if last {
		require.NoError(t, w.Close())
	} else {
		require.NoError(t, w.Flush())
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

const records = "C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nP:demo\nV:1.0-r0\nA:x86_64\nS:123\nT:a demo\n\nC:Q1AAAA\nP:lib++\nV:2-r1\nS:7\n\nC:Q2LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=\nP:two\nV:2-r1\n\nP:cut\n"

func TestReadIndex(t *testing.T) {
	signed := append(stream(t, ".SIGN.RSA.demo.rsa.pub", "signature", false), stream(t, "APKINDEX", records, true)...)
	for _, c := range []struct {
		name    string
		content []byte
		want    map[string]exchange.Fact
	}{
		{"signed", signed, map[string]exchange.Fact{
			"/main/demo-1.0-r0.apk": {Size: 123, Digest: "apk1:a9993e364706816aba3e25717850c26c9cd0d89d"},
			"/main/lib++-2-r1.apk":  {Size: 7},
			"/main/two-2-r1.apk":    {Digest: "apk2:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"},
		}},
		{"no index", stream(t, "DESCRIPTION", "x", true), nil},
		{"cut", signed[:len(signed)-20], nil},
		{"html", []byte("<html>" + strings.Repeat(" ", 600)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]exchange.Fact{}
			err := read(c.content, func(file string, f exchange.Fact) { got[file] = f })
			if c.want == nil {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

// read reads an index of /main as it comes.
func read(content []byte, teach hub.Teach) error {
	plain, err := hub.Unpack(bytes.NewReader(content))
	if err != nil {
		return err
	}
	return readIndex(plain, "/main/", teach)
}

func FuzzReadIndex(f *testing.F) {
	f.Add(append(stream(f, ".SIGN.RSA.demo.rsa.pub", "signature", false), stream(f, "APKINDEX", records, true)...))
	f.Add([]byte(records))
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = read(content, func(string, exchange.Fact) {})
		_ = readRecords(bytes.NewReader(content), "/main/", func(p string, f exchange.Fact) {
			assert.True(t, strings.HasPrefix(p, "/main/"), p)
			assert.True(t, f.Size > 0 || f.Digest != "")
		})
	})
}
