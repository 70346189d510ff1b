//go:build e2e

package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const wheel = "pypi/packages/demo_e2e-1.0+local-py3-none-any.whl"

// testPip: a wheel whose link has no digest, so only the proxy tells pip that
// the transfer was cut when a mirror dies; pip itself does not try again.
func testPip(t *testing.T, p program) {
	need(t, "pip")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	put(t, newWheel(t), www, wheel)
	put(t, []byte(`<!DOCTYPE html><html><body><a href="../../packages/demo_e2e-1.0%2Blocal-py3-none-any.whl">demo_e2e-1.0+local-py3-none-any.whl</a></body></html>`),
		www, "pypi/simple/demo-e2e/index.html")
	a, b := newMirror(t, www), newMirror(t, www)
	a.next("/"+wheel, a.dies)
	b.next("/"+wheel, b.late)
	d := p.start(t, dir, config(a, b))

	download := func(name string) (out string, err error) {
		home := filepath.Join(dir, name)
		put(t, nil, home, "pip.conf")
		return try(t, home, []string{"PIP_CONFIG_FILE=/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK=1"},
			"pip", "download", "--isolated", "--no-cache-dir", "--no-deps", "--retries", "0",
			"--index-url", d.url+"/pypi/simple/", "-d", home, "demo-e2e")
	}
	whole := func(name string) {
		sameFile(t, filepath.Join(www, wheel), filepath.Join(dir, name, filepath.Base(wheel)))
	}
	// Whole, or no file at all and nothing kept.
	if out, err := download("first"); err == nil {
		whole("first")
	} else {
		assert.Contains(t, out, "Connection reset by peer", "the cut is seen")
		assert.NoFileExists(t, filepath.Join(dir, "first", filepath.Base(wheel)))
		assert.NoFileExists(t, filepath.Join(d.data, wheel))
	}
	assert.Equal(t, 1, a.asked("/"+wheel), "the mirror that died")

	out, err := download("second")
	require.NoError(t, err, out)
	whole("second")
	sameFile(t, filepath.Join(www, wheel), filepath.Join(d.data, wheel))
	d.noTemporary()

	a.stop()
	b.stop()
	out, err = download("third")
	require.NoError(t, err, out)
	whole("third")
	resp, _ := d.mustGet("/pypi/simple/demo-e2e/")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, "STALE", resp.Header.Get("X-Cache"))
}

// newWheel is a wheel with a payload that does not compress.
func newWheel(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct{ name, text string }{
		{"demo_e2e/__init__.py", ""},
		{"demo_e2e/payload", string(proxytest.Random(2<<20, 2).Bytes())},
		{"demo_e2e-1.0+local.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo-e2e\nVersion: 1.0+local\n"},
		{"demo_e2e-1.0+local.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"demo_e2e-1.0+local.dist-info/RECORD", "demo_e2e/__init__.py,,\ndemo_e2e/payload,,\n"},
	} {
		w, err := z.Create(f.name)
		require.NoError(t, err)
		_, err = fmt.Fprint(w, f.text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}
