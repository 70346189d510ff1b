package cacheproxy_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// revision waits until the server at url has made so many revisions.
func (r *running) revision(want int) {
	r.t.Helper()
	var got string
	require.Eventually(r.t, func() bool {
		_, header, _ := r.get("/-/healthz")
		got = header.Get("X-Config-Version")
		n, err := strconv.Atoi(got)
		return err == nil && n >= want
	}, 8*time.Second, 20*time.Millisecond, "revision %s", r.log)
	assert.Equal(r.t, strconv.Itoa(want), got)
}

// TestWatch: a configuration file is read again when it is replaced, written in
// place, or behind a link that leads elsewhere; what is wrong is said once, and
// what is the same again is none of a change.
func TestWatch(t *testing.T) {
	a := port(t)
	text := "listen: [" + a + "]\n"
	_, r := serving(t, text, cacheproxy.Options{File: "watched"})
	r.url = "http://" + a
	r.revision(1)
	r.write(text + "cache: {timeout: 1m}")
	r.revision(2)
	require.NoError(t, os.WriteFile(r.file, in(t, text+"cache: {timeout: 2m}", r.dir), 0o600))
	r.revision(3)

	require.NoError(t, os.WriteFile(r.file, []byte("foo: 1\n"), 0o600))
	require.Eventually(t, func() bool { return r.logged("foo: unknown key") == 1 }, 8*time.Second, 10*time.Millisecond)
	r.write(text + "cache: {timeout: 2m}")
	r.revision(4)
	r.write(text + "cache: {timeout: 2m}") // the same: no revision

	// As volumes of Kubernetes are: a link to a link to a directory.
	dir := filepath.Dir(r.file)
	volume := func(name, text string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "config.yaml"), in(t, text, r.dir), 0o600))
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..new")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
	}
	volume("..1", text+"cache: {timeout: 3m}")
	require.NoError(t, os.Symlink("..data/config.yaml", r.file+".link"))
	require.NoError(t, os.Rename(r.file+".link", r.file))
	r.revision(5)
	volume("..2", text+"cache: {timeout: 4m}")
	r.revision(6)
}

// TestWatchCertificate: files that the configuration names are watched too.
func TestWatchCertificate(t *testing.T) {
	dir, a := t.TempDir(), port(t)
	certificate(t, dir, 1)
	_, r := serving(t, "listen: ["+a+"]\ntls: {cert: "+dir+"/cert.pem, key: "+dir+"/key.pem}", cacheproxy.Options{File: "watched"})
	serial := func() int64 {
		c, err := tls.Dial("tcp", a, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err, r.log)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.EqualValues(t, 1, serial())
	certificate(t, dir, 2)
	assert.Eventually(t, func() bool { return serial() == 2 }, 8*time.Second, 20*time.Millisecond)
}
