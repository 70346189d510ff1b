package cacheproxy_test

import (
	"crypto/tls"
	"net/http"
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

// TestWatchSecrets: a secret in a file is the new one when that changes, of filters
// and of operators too.
func TestWatchSecrets(t *testing.T) {
	dir, a, o := t.TempDir(), port(t), port(t)
	secret := func(name, value string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file+".new", []byte(value+"\n"), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
		return file
	}
	_, r := serving(t, "listen: ["+a+"]\nadmin: {listen: "+o+", token: {file: "+secret("admin", "one")+"}}\n"+
		"filters: [{kind: TokenAuth, name: ci, tokens: [{name: ci, token: {file: "+secret("ci", "one")+"}}]}, {kind: Mock, name: hello, rules: [{answer: {body: hi}}]}]\n"+
		"flow: [{filter: ci}, {filter: hello}]", cacheproxy.Options{File: "watched"})
	status := func(url, token string) int {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err, r.log)
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, url := range []string{"http://" + a + "/x", "http://" + o + "/api/v1/status"} {
		assert.Equal(t, []int{200, 401}, []int{status(url, "one"), status(url, "two")}, url)
	}
	secret("ci", "two")
	assert.Eventually(t, func() bool { return status("http://"+a+"/x", "two") == 200 }, 8*time.Second, 20*time.Millisecond)
	assert.Equal(t, 401, status("http://"+a+"/x", "one"))
	secret("admin", "two")
	assert.Eventually(t, func() bool { return status("http://"+o+"/api/v1/status", "two") == 200 }, 8*time.Second, 20*time.Millisecond)
	assert.Equal(t, 401, status("http://"+o+"/api/v1/status", "one"))
}
