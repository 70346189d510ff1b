//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// A lineage is a program that runs under one name, by one process after the other.
type lineage struct {
	t       *testing.T
	program string // the name; what it is may change
	url     string
	admin   string
	socket  string // also listened on
	data    string
	log     *output
	first   *exec.Cmd
	ended   chan struct{} // closed once the first process is gone
}

// found starts the first process of a lineage, and ends the last with the test.
func (p program) found(t *testing.T, dir string, mirrors ...*mirror) *lineage {
	t.Helper()
	l := &lineage{t: t, program: filepath.Join(dir, "cache-proxy"), socket: filepath.Join(dir, "s"), data: filepath.Join(dir, "data"), log: newOutput(), ended: make(chan struct{})}
	l.install(string(p))
	text := configAt("[127.0.0.1:0, 'unix:"+l.socket+"']", mirrors...) + "admin: {listen: 127.0.0.1:0}\n"
	text = strings.Replace(text, "log: {level: debug}", "log: {access: false}", 1)
	file := put(t, []byte(text), dir, "config.yaml")
	// The processes write to a file of their own: a pipe that this one copies would
	// end with the first.
	read, write, err := os.Pipe()
	require.NoError(t, err)
	l.first = exec.Command(l.program, "-config", file)
	l.first.Dir, l.first.Env, l.first.Stderr = dir, clean(dir), write
	require.NoError(t, l.first.Start())
	write.Close()
	go func() { // ends with the last process
		io.Copy(l.log, read)
		l.log.end()
		read.Close()
	}()
	go func() {
		l.first.Wait()
		close(l.ended)
	}()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if pid := l.pid(); syscall.Kill(pid, 0) == nil {
			syscall.Kill(pid, syscall.SIGTERM)
		}
		l.log.awaitEnd(t)
		if t.Failed() {
			t.Logf("log of the processes:\n%s", l.log.tail())
		}
	})
	l.admin = "http://" + l.log.await(t, `serving admin.* addr=(127\.\S+)`)[1]
	l.url = "http://" + l.log.await(t, `serving app.* addr=(127\.\S+)`)[1]
	l.log.await(t, `serving app.* addr=`+l.socket)
	return l
}

// install puts another program under the name.
func (l *lineage) install(path string) {
	l.t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(l.t, err)
	require.NoError(l.t, os.WriteFile(l.program+".new", content, 0o755))
	require.NoError(l.t, os.Rename(l.program+".new", l.program))
}

// pid is the process that has the store.
func (l *lineage) pid() int {
	b, err := os.ReadFile(filepath.Join(l.data, ".meta", "lock"))
	require.NoError(l.t, err)
	pid, err := strconv.Atoi(string(b))
	require.NoError(l.t, err)
	return pid
}

// crowd is clients that ask for the same objects again and again, on connections
// that they keep and on new ones, by TCP and by the socket. None tries anything
// twice, and any error counts.
func (l *lineage) crowd(objects int, content func(n int) []byte) (stop func() (requests int64)) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var clients sync.WaitGroup
	var requests atomic.Int64
	for i := range 8 {
		c := &rawClient{network: "tcp", address: strings.TrimPrefix(l.url, "http://"), once: i%4 < 2}
		if i%2 == 1 {
			c.network, c.address = "unix", l.socket
		}
		clients.Go(func() {
			defer c.close()
			for n := i; ctx.Err() == nil; n++ {
				body, err := c.get(fmt.Sprintf("/pool/%d.deb", n%objects))
				if !assert.NoError(l.t, err) {
					return
				}
				assert.True(l.t, bytes.Equal(content(n%objects), body), "object %d", n%objects)
				requests.Add(1)
			}
		})
	}
	return func() int64 {
		cancel()
		clients.Wait()
		return requests.Load()
	}
}

// A rawClient keeps its connection as long as answers let it.
type rawClient struct {
	network, address string
	once             bool // a connection a request

	conn net.Conn // nil: there is none
	in   *bufio.Reader
}

func (c *rawClient) get(path string) ([]byte, error) {
	if c.conn == nil {
		conn, err := net.Dial(c.network, c.address)
		if err != nil {
			return nil, err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: example.org\r\n\r\n", path); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	if resp.Close || c.once {
		c.close()
	}
	return body, err
}

func (c *rawClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// testUpgrade: SIGUSR2 replaces the process by one of a new program while clients
// are served. Nobody fails, and what the old one had begun is the new one's.
func testUpgrade(t *testing.T, p program) {
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	const objects = 100
	content := func(n int) []byte { return proxytest.Random(int64(1+n*997), uint64(n)).Bytes() }
	var all [objects][]byte
	for n := range all {
		all[n] = content(n)
		put(t, all[n], www, "pool", fmt.Sprintf("%d.deb", n))
	}
	put(t, big(), www, "big.deb")
	put(t, big(), www, "part.deb")
	m := newMirror(t, www)
	release := make(chan struct{})
	m.next("/big.deb", m.waits(release))
	l := p.found(t, dir, m)
	d := &daemon{t: t, url: l.url}
	rest := begin(t, d, "/big.deb", bigSize)
	d.mustGet("/pool/1.deb")
	old := l.pid()
	idle := &rawClient{network: "tcp", address: strings.TrimPrefix(l.url, "http://")}
	_, err := idle.get("/pool/2.deb")
	require.NoError(t, err)

	stop := l.crowd(objects, func(n int) []byte { return all[n] })
	time.Sleep(300 * time.Millisecond) // of load
	require.NoError(t, l.first.Process.Signal(syscall.SIGUSR2))
	l.log.await(t, `another process serves`)
	assert.NotEqual(t, old, l.pid())
	l.log.await(t, `level=INFO msg="configuration loaded"[^\n]*\n(?s:.*)msg="configuration loaded"`)
	time.Sleep(300 * time.Millisecond) // of load

	_, err = idle.get("/pool/2.deb")
	assert.NoError(t, err, "on a connection that the old process has")
	assert.Nil(t, idle.conn, "whose answer says that it was the last")

	again := p.launch(t, dir, config(m))
	assert.Equal(t, exitFailed, again.wait())
	assert.Contains(t, again.log.tail(), "is in use by another cache-proxy", "the directory was never free")
	require.NoError(t, syscall.Kill(l.pid(), syscall.SIGUSR2))
	l.log.await(t, "no other process has taken over.*still uses")

	select {
	case <-l.ended:
		t.Error("a download is under way there")
	default:
	}
	close(release)
	body, err := rest()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(big(), body), "of the download that began before")
	require.Eventually(t, func() bool { // its last block is committed behind the client
		resp, body := d.mustGet("/big.deb")
		assert.True(t, bytes.Equal(big(), body))
		return resp.Header.Get("X-Cache") == "HIT"
	}, 10*time.Second, 20*time.Millisecond)
	http.DefaultClient.CloseIdleConnections() // which may come back for client-idle-timeout
	l.log.await(t, "the process before has ended")
	select {
	case <-l.ended:
		assert.Zero(t, l.first.ProcessState.ExitCode())
	case <-time.After(10 * time.Second):
		t.Error("the old process does not end")
	}
	assert.NotZero(t, stop())
	entries, err := filepath.Glob(filepath.Join(l.data, ".temp", "*"))
	require.NoError(t, err)
	assert.Empty(t, entries)
	_, err = http.Get(l.admin + "/api/v1/status")
	assert.NoError(t, err, "operators have their address, too")
}

// testUpgradeFails: a new program that does not come to serve changes nothing.
func testUpgradeFails(t *testing.T, p program) {
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	put(t, []byte("content"), www, "pool", "0.deb")
	put(t, []byte("late"), www, "late.deb")
	m := newMirror(t, www)
	l := p.found(t, dir, m)
	d := &daemon{t: t, url: l.url}
	stop := l.crowd(1, func(int) []byte { return []byte("content") })
	old := l.pid()
	for _, c := range []struct{ name, script string }{
		{"ends at once", "#!/bin/sh\nexit 3\n"},
		{"says something else", "#!/bin/sh\necho hello >&3\nexec sleep 60\n"},
		{"is none", "no program"},
	} {
		l.install(put(t, []byte(c.script), dir, "bad"))
		require.NoError(t, l.first.Process.Signal(syscall.SIGUSR2))
		require.Eventually(t, func() bool {
			return strings.Count(l.log.tail(), "no other process has taken over; this one goes on") > 0
		}, 10*time.Second, 10*time.Millisecond, c.name)
		l.log.forget()
	}
	// A program that cannot read the configuration any more has had the lock, too.
	file := filepath.Join(dir, "config.yaml")
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	l.install(string(p))
	require.NoError(t, os.WriteFile(file, append(good, "\nnonsense: true\n"...), 0o600))
	require.NoError(t, l.first.Process.Signal(syscall.SIGUSR2))
	l.log.await(t, "nonsense")
	l.log.await(t, "no other process has taken over; this one goes on")

	assert.Equal(t, old, l.pid())
	_, body := d.mustGet("/late.deb")
	assert.Equal(t, "late", string(body))
	assert.NotZero(t, stop())
	require.NoError(t, os.WriteFile(file, good, 0o600))
	l.log.forget()
	require.NoError(t, l.first.Process.Signal(syscall.SIGUSR2))
	l.log.await(t, "serving ended")
	http.DefaultClient.CloseIdleConnections() // those of the old process
	resp, _ := d.mustGet("/late.deb")
	assert.Equal(t, "HIT", resp.Header.Get("X-Cache"))
}
