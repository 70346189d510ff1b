//go:build e2e

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testNginx: a real nginx in front sends the stored files itself, with the proxy
// behind a TCP port and behind a unix socket.
func testNginx(t *testing.T, p program) {
	need(t, "nginx")
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			dir := t.TempDir()
			www := filepath.Join(dir, "www")
			socket := filepath.Join(dir, "proxy.sock")
			put(t, proxytest.Random(1<<20, 20).Bytes(), www, "debian/warm.deb")
			put(t, proxytest.Random(1<<20, 21).Bytes(), www, "debian/cold.deb")
			m := newMirror(t, www)
			d := p.start(t, dir, configAt("['127.0.0.1:0', 'unix:"+socket+"']", m)+
				"storage: {local: {accel: {enable-by-header: X-Accel-Path}}}\n")
			upstream := d.url
			if network == "unix" {
				upstream = "http://unix:" + socket
			}
			testFront(t, d, m, startNginx(t, dir, d.data, upstream))
		})
	}
}

// sentByNginx is a field that nginx adds to what it sends from the data directory.
const sentByNginx = "X-Sent-By-Nginx"

func testFront(t *testing.T, d *daemon, m *mirror, front *http.Client) {
	fetch := func(path string, header ...string) (*http.Response, []byte) {
		t.Helper()
		resp, body, err := get(t.Context(), front, "http://nginx"+path, header...)
		require.NoError(t, err)
		return resp, body
	}
	// hit is fetch of what is stored: a request that comes right after the first
	// may still share its transfer, and nginx gets to send what comes then.
	hit := func(path string, header ...string) (resp *http.Response, body []byte) {
		t.Helper()
		require.Eventually(t, func() bool {
			resp, body = fetch(path, header...)
			return resp.Header.Get(sentByNginx) != ""
		}, 5*time.Second, 10*time.Millisecond, "%s is not sent by nginx", path)
		return resp, body
	}
	warm, cold := proxytest.Random(1<<20, 20).Bytes(), proxytest.Random(1<<20, 21).Bytes()

	resp, body := fetch("/debian/warm.deb")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.True(t, string(warm) == string(body), "content of the miss")

	resp, body = hit("/debian/warm.deb")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.True(t, string(warm) == string(body), "content of the hit")
	assert.Empty(t, resp.Header.Get("X-Accel-Redirect"), "nginx keeps that to itself")
	assert.Equal(t, 1, m.asked("/debian/warm.deb"))
	d.log.await(t, `request finished.* path=/debian/warm.deb .*status=200 bytes=0 `)
	etag, modified := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")

	resp, body = hit("/debian/warm.deb", "Range", "bytes=100-199")
	assert.Equal(t, http.StatusPartialContent, resp.StatusCode)
	assert.Equal(t, string(warm[100:200]), string(body))

	require.NotEmpty(t, etag)
	resp, _ = fetch("/debian/warm.deb", "If-None-Match", etag)
	assert.Equal(t, http.StatusNotModified, resp.StatusCode)
	require.NotEmpty(t, modified)
	resp, _ = fetch("/debian/warm.deb", "If-Modified-Since", modified)
	assert.Equal(t, http.StatusNotModified, resp.StatusCode)
	resp, body = fetch("/debian/warm.deb", "If-None-Match", `"another"`)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Len(t, body, len(warm))

	resp, body = fetch("/debian/cold.deb", "Range", "bytes=0-9")
	assert.Equal(t, http.StatusPartialContent, resp.StatusCode)
	assert.Equal(t, string(cold[:10]), string(body))
	resp, body = hit("/debian/cold.deb", "Range", "bytes=-10")
	assert.Equal(t, http.StatusPartialContent, resp.StatusCode)
	assert.Equal(t, string(cold[len(cold)-10:]), string(body))
	sameFile(t, filepath.Join(m.dir, "debian/cold.deb"), filepath.Join(d.data, "debian/cold.deb"))
	assert.Equal(t, 1, m.asked("/debian/cold.deb"))

	resp, _ = fetch("/i/debian/warm.deb")
	assert.Equal(t, http.StatusNotFound, resp.StatusCode, "the prefix is nginx's own")

	for _, name := range []string{"a b.deb", "100%.deb", "%41.deb", "what?.deb", "c#.deb", "c++.deb", "é;=&.deb", `"quoted".deb`} {
		put(t, []byte(name), m.dir, "names", name)
		path := "/names/" + url.PathEscape(name)
		resp, body := fetch(path)
		assert.Equal(t, http.StatusOK, resp.StatusCode, "miss of %s", path)
		assert.Equal(t, name, string(body), "miss of %s", path)
		resp, body = hit(path)
		assert.Equal(t, http.StatusOK, resp.StatusCode, "hit of %s", path)
		assert.Equal(t, name, string(body), "hit of %s", path)
		assert.Equal(t, 1, m.asked("/names/"+name), path)
	}

	m.stop()
	resp, body = fetch("/debian/warm.deb")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.True(t, string(warm) == string(body), "content without a mirror")
}

// startNginx starts an nginx in front of upstream that has data at /i, and
// returns a client that talks to nothing else.
func startNginx(t *testing.T, dir, data, upstream string) *http.Client {
	t.Helper()
	socket := filepath.Join(dir, "nginx.sock")
	conf := put(t, fmt.Appendf(nil, `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr warn;
events {}
http {
	access_log off;
	types { application/octet-stream deb; }
	client_body_temp_path %[1]s/nginx;
	proxy_temp_path %[1]s/nginx;
	fastcgi_temp_path %[1]s/nginx;
	uwsgi_temp_path %[1]s/nginx;
	scgi_temp_path %[1]s/nginx;
	server {
		listen unix:%[2]s;
		location / {
			proxy_pass %[3]s;
			proxy_http_version 1.1;
			proxy_set_header X-Accel-Path /i;
		}
		location /i {
			internal;
			alias %[4]s;
			add_header %[5]s yes;
		}
	}
}
`, dir, socket, upstream, data, sentByNginx), dir, "nginx.conf")
	log := newOutput()
	cmd := exec.Command("nginx", "-c", conf, "-p", dir, "-e", "stderr")
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("log of nginx:\n%s", log.tail())
		}
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "nginx does not listen")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
