//go:build e2e

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const bigSize = 4 << 20

// big is what transfers are in the middle of.
func big() []byte { return proxytest.Random(bigSize, 30).Bytes() }

// begin starts a GET of a file of size bytes that waits at its half, and returns
// what reads the rest once that half is here.
func begin(t *testing.T, d *daemon, path string, size int) (rest func() ([]byte, error)) {
	t.Helper()
	resp, err := http.Get(d.url + path)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	first := make([]byte, size/2)
	_, err = io.ReadFull(resp.Body, first)
	require.NoError(t, err)
	return func() ([]byte, error) {
		more, err := io.ReadAll(resp.Body)
		return append(first, more...), err
	}
}

// testKill: SIGKILL in mid-transfer. What was under way is gone without a trace,
// and the next process takes the directory over.
func testKill(t *testing.T, p program) {
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	put(t, big(), www, "big.deb")
	put(t, []byte("small"), www, "small.deb")
	m := newMirror(t, www)
	m.next("/big.deb", m.waits(nil))
	d := p.start(t, dir, config(m))

	d.mustGet("/small.deb")
	rest := begin(t, d, "/big.deb", bigSize)
	assert.NotEmpty(t, d.temporary())
	d.signal(syscall.SIGKILL)
	assert.Equal(t, -1, d.wait())
	_, err := rest()
	assert.Error(t, err, "the client sees that it is cut")
	assert.NotEmpty(t, d.temporary(), "what the next process clears away")

	d = p.start(t, dir, config(m))
	assert.Empty(t, d.temporary())
	assert.NoFileExists(t, filepath.Join(d.data, "big.deb"))
	resp, body := d.mustGet("/big.deb")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.True(t, bytes.Equal(big(), body))
	resp, body = d.mustGet("/small.deb")
	assert.Equal(t, "small", string(body))
	assert.Equal(t, "HIT", resp.Header.Get("X-Cache"), "proved, and kept")
	assert.Equal(t, 2, m.asked("/big.deb"))
	assert.Equal(t, 1, m.asked("/small.deb"))
	d.noTemporary()
}

// testKillUnderLoad: SIGKILL at any moment of many transfers, again and again.
// Whatever is answered to its end is right, and whatever is stored is whole.
func testKillUnderLoad(t *testing.T, p program) {
	const objects = 200
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	var content [objects][]byte
	path := func(n int) string { return fmt.Sprintf("/pool/%d/%d.deb", n%7, n) }
	for n := range objects {
		content[n] = proxytest.Random(int64(1+n*7919%(512<<10)), uint64(100+n)).Bytes()
		put(t, content[n], www, path(n))
	}
	m := newMirror(t, www)

	for round := range 8 {
		d := p.start(t, dir, config(m))
		assert.Empty(t, d.temporary(), "round %d", round)
		ctx, stop := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				for ctx.Err() == nil {
					n := rand.IntN(objects)
					resp, body, err := get(ctx, &http.Client{Transport: transport}, d.url+path(n))
					if err == nil && assert.Equal(t, http.StatusOK, resp.StatusCode) {
						assert.True(t, bytes.Equal(content[n], body), "object %d in round %d", n, round)
					}
				}
			})
		}
		time.Sleep(time.Duration(10+rand.IntN(290)) * time.Millisecond) // of load
		d.signal(syscall.SIGKILL)
		assert.Equal(t, -1, d.wait())
		stop()
		clients.Wait()
	}

	d := p.start(t, dir, config())
	assert.Empty(t, d.temporary())
	kept := 0
	for n := range objects {
		resp, body := d.mustGet(path(n))
		if resp.StatusCode == http.StatusOK {
			kept++
			assert.True(t, bytes.Equal(content[n], body), "object %d", n)
		}
	}
	assert.NotZero(t, kept, "the load must leave something for this to mean anything")
	assert.NoError(t, filepath.WalkDir(filepath.Join(d.data, "pool"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(d.data, name)
		if err == nil {
			sameFile(t, filepath.Join(www, rel), name)
		}
		return err
	}))
}

// testDrain: SIGTERM takes no new connection, lets what is under way end well,
// and ends with status 0.
func testDrain(t *testing.T, p program) {
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	put(t, big(), www, "big.deb")
	m := newMirror(t, www)
	release := make(chan struct{})
	m.next("/big.deb", m.waits(release))
	d := p.start(t, dir, config(m))

	rest := begin(t, d, "/big.deb", bigSize)
	d.signal(syscall.SIGTERM)
	d.log.await(t, "draining")
	assert.Eventually(t, func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, 5*time.Second, 10*time.Millisecond, "new connections are taken")
	close(release)
	body, err := rest()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(big(), body))
	assert.Zero(t, d.wait())
	assert.FileExists(t, filepath.Join(d.data, "big.deb"))
	assert.Empty(t, d.temporary())
}

// testHangup: SIGHUP reads the configuration again, and ends neither the process
// nor what it is at.
func testHangup(t *testing.T, p program) {
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	put(t, big(), www, "big.deb")
	m := newMirror(t, www)
	release := make(chan struct{})
	m.next("/big.deb", m.waits(release))
	d := p.start(t, dir, config(m))

	rest := begin(t, d, "/big.deb", bigSize)
	d.signal(syscall.SIGHUP)
	d.log.await(t, "revision=2")
	resp, _ := d.mustGet("/-/healthz")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	close(release)
	body, err := rest()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(big(), body))
}

// testLock: a second process on the same directory is refused, and says which.
func testLock(t *testing.T, p program) {
	dir := t.TempDir()
	m := newMirror(t, t.TempDir())
	put(t, []byte("content"), m.dir, "x.deb")
	d := p.start(t, dir, config(m))
	d.mustGet("/x.deb")

	began := time.Now()
	second := p.launch(t, dir, config(m))
	assert.Equal(t, exitFailed, second.wait())
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.Contains(t, second.log.tail(), d.data+" is in use by another cache-proxy")
	assert.Contains(t, second.log.tail(), fmt.Sprintf("pid %d", d.cmd.Process.Pid))

	m.stop()
	_, body := d.mustGet("/x.deb")
	assert.Equal(t, "content", string(body), "the first is not disturbed")
}

// testCommandLine: what a shell script sees.
func testCommandLine(t *testing.T, p program) {
	bad := put(t, []byte("misc: {chunk-bytes: x}\nupstream:\n- server: 'ftp://example.org'\n"), t.TempDir(), "bad.yaml")
	good := put(t, []byte("upstream: [{server: 'https://mirrors.example.org'}]\n"), t.TempDir(), "good.yaml")
	original, err := filepath.Abs("../../testdata/original.yaml")
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		args   []string
		status int
		output []string
	}{
		{"help", []string{"-h"}, exitOK, []string{"Usage:", "-config", "-log-level", "-sentry"}},
		{"the default is right", []string{"check"}, exitOK, []string{"the embedded default: ok"}},
		{"good file", []string{"check", "-config", good}, exitOK, []string{good + ": ok"}},
		{"the original's file", []string{"check", "-config", original}, exitOK, []string{"22 upstreams"}},
		{"bad file", []string{"check", "-config", bad}, exitUsage, []string{bad + ":1: misc.chunk-bytes", bad + ":3: upstream[0].server"}},
		{"serve a bad file", []string{"-config", bad}, exitUsage, []string{bad + ":1: misc.chunk-bytes"}},
		{"no file", []string{"-config", "/x/none.yaml"}, exitUsage, []string{"/x/none.yaml"}},
		{"no pprof in a plain build", []string{"-pprof"}, exitUsage, []string{"-pprof"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := try(t, t.TempDir(), nil, string(p), c.args...)
			status := 0
			if exit := (interface{ ExitCode() int })(nil); errors.As(err, &exit) {
				status = exit.ExitCode()
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, c.status, status, out)
			for _, text := range c.output {
				assert.Contains(t, out, text)
			}
		})
	}
}

// testPprof: only a build with the tag serves profiles, and only to operators.
func testPprof(t *testing.T, plain program) {
	m := newMirror(t, t.TempDir())
	profiling := build(t, "pprof")
	for _, c := range []struct {
		name    string
		program program
		status  int
	}{
		{"plain", plain, http.StatusNotFound},
		{"tagged", profiling, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.program.start(t, t.TempDir(), config(m))
			resp, _ := d.mustGet("/debug/pprof/cmdline")
			assert.Equal(t, http.StatusNotFound, resp.StatusCode, "never where clients come")
			resp, err := http.Get(d.admin + "/debug/pprof/cmdline")
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, c.status, resp.StatusCode)
			assert.Equal(t, c.status == http.StatusOK, strings.Contains(string(body), string(c.program)))
		})
	}
}

// testSentry: a disk that cannot be written is reported, and no client notices.
func testSentry(t *testing.T, p program) {
	envelopes := make(chan string, 100)
	stub := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		envelopes <- r.URL.Path + "\n" + string(body)
	}))
	defer stub.Close()
	dir := t.TempDir()
	m := newMirror(t, filepath.Join(dir, "www"))
	d := p.start(t, dir, config(m), "SENTRY_DSN="+strings.Replace(stub.URL, "://", "://key@", 1)+"/7")
	require.NoError(t, os.RemoveAll(filepath.Join(d.data, ".temp")))
	put(t, nil, d.data, ".temp") // no directory, so no temporary file can be made

	for n := range 8 {
		name := fmt.Sprintf("%d.deb", n)
		put(t, []byte(name), m.dir, name)
		resp, body := d.mustGet("/" + name)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, name, string(body))
	}
	select {
	case e := <-envelopes:
		assert.True(t, strings.HasPrefix(e, "/api/7/envelope/\n"), e)
		assert.Contains(t, e, "store is bypassed")
		assert.Contains(t, e, `"stacktrace"`)
	case <-time.After(20 * time.Second):
		t.Error("nothing was reported")
	}
	// A clean stop is written down by way of that directory.
	require.NoError(t, os.Remove(filepath.Join(d.data, ".temp")))
	require.NoError(t, os.Mkdir(filepath.Join(d.data, ".temp"), 0o755))
}
