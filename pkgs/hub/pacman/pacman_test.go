package pacman

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
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
	h, err := New(hub.Options{Name: "arch", Policies: &hub.Policies{Default: freshness.Policy{TTL: time.Minute}}}, Options{})
	require.NoError(t, err)
	return h
}

func TestHub(t *testing.T) {
	hubtest.Run(t, newHub(t),
		hubtest.Sample{Target: "/core/os/x86_64/core.db"},
		hubtest.Sample{Target: "/core/os/x86_64/core.db.tar.gz.sig"},
		hubtest.Sample{Target: "/core/os/x86_64/demo-1:1.0+e2e-1-any.pkg.tar.zst"},
	)
}

func TestClasses(t *testing.T) {
	h := newHub(t)
	for _, c := range []struct {
		path  string
		key   string // "" is path
		class freshness.Class
		ttl   time.Duration
	}{
		{"/core/os/x86_64/core.db", "", freshness.Mutable, indexTTL},
		{"/core/os/x86_64/core.files.sig", "", freshness.Mutable, indexTTL},
		{"/core/os/x86_64/core.db.tar.zst", "/core/os/x86_64/core.db", freshness.Mutable, indexTTL},
		{"/core/os/x86_64/core.files.tar.gz.sig", "/core/os/x86_64/core.files.sig", freshness.Mutable, indexTTL},
		{"/core/os/x86_64/core.db.tar.gz.old", "", freshness.Mutable, time.Minute},
		{"/core/os/x86_64/demo-1-1-any.pkg.tar.zst", "", freshness.Immutable, time.Minute},
		{"/core/os/x86_64/demo-1-1-any.pkg.tar.xz.sig", "", freshness.Immutable, time.Minute},
		{"/lastsync", "", freshness.Mutable, stampTTL},
		{"/iso/", "", freshness.Mutable, otherTTL},
		{"/else", "", freshness.Mutable, time.Minute},
	} {
		t.Run(c.path[1:], func(t *testing.T) {
			req, err := h.Parse(&http.Request{URL: &url.URL{Path: c.path}})
			require.NoError(t, err)
			if c.key == "" {
				c.key = c.path
			}
			assert.Equal(t, c.key, req.Key.Path)
			assert.Equal(t, c.path, req.Target)
			assert.Equal(t, c.class, req.Policy.Class)
			assert.Equal(t, c.ttl, req.Policy.TTL)
		})
	}
	req, err := h.Parse(&http.Request{URL: &url.URL{Path: "/lib-demo-1:1.0-2-x86_64.pkg.tar.zst.sig"}})
	require.NoError(t, err)
	assert.Equal(t, "lib-demo", req.Package)
	assert.Equal(t, "1:1.0-2", req.Version)
}

// archive is a database with these files, name and content in turn.
func archive(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := io.WriteString(w, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

var (
	hex256 = strings.Repeat("0a", 32)
	hex128 = strings.Repeat("0b", 16)
)

// read reads a database as it comes.
func read(content []byte, teach func(file string, f exchange.Fact)) error {
	plain, err := hub.Unpack(bytes.NewReader(content))
	if err != nil {
		return err
	}
	return readDatabase(plain, teach)
}

func TestReadDatabase(t *testing.T) {
	signature := base64.StdEncoding.EncodeToString([]byte("signature"))
	sum := sha256.Sum256([]byte("signature"))
	good := archive(t,
		"demo-1-1/desc", "%FILENAME%\ndemo-1-1-any.pkg.tar.zst\n\n%CSIZE%\n12\n\n%MD5SUM%\n"+hex128+"\n\n%SHA256SUM%\n"+hex256+"\n\n%PGPSIG%\n"+signature+"\n\n",
		"demo-1-1/files", "%FILES%\nusr/\n",
		"old-1-1/desc", "%FILENAME%\nold-1-1-any.pkg.tar.xz\n\n%CSIZE%\n7\n\n%MD5SUM%\n"+hex128+"\n",
		"bad-1-1/desc", "%FILENAME%\n../../bad.pkg.tar.xz\n")
	got := map[string]exchange.Fact{}
	require.NoError(t, read(good, func(file string, f exchange.Fact) { got[file] = f }))
	assert.Equal(t, map[string]exchange.Fact{
		"demo-1-1-any.pkg.tar.zst":     {Size: 12, Digest: exchange.Digest("sha256:" + hex256)},
		"demo-1-1-any.pkg.tar.zst.sig": {Size: 9, Digest: exchange.NewDigest("sha256", sum[:])},
		"old-1-1-any.pkg.tar.xz":       {Size: 7, Digest: exchange.Digest("md5:" + hex128)},
	}, got)
	for name, content := range map[string][]byte{
		"cut":  good[:len(good)-30],
		"html": []byte("<html>" + strings.Repeat(" ", 600)),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Error(t, read(content, func(string, exchange.Fact) {}))
		})
	}
}

func FuzzReadDatabase(f *testing.F) {
	f.Add(archive(f, "demo-1-1/desc", "%FILENAME%\ndemo-1-1-any.pkg.tar.zst\n\n%CSIZE%\n12\n"))
	f.Add([]byte("%FILENAME%\nx\n\n%SHA256SUM%\n" + hex256))
	f.Fuzz(func(t *testing.T, content []byte) {
		teach := func(file string, _ exchange.Fact) { assert.NotContains(t, file, "/") }
		_ = read(content, teach)
		_ = readDesc(bytes.NewReader(content), nil, teach)
	})
}
