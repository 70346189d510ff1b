//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// shared is a sendfile at an offset of its own: of a descriptor that answers share.
var (
	sendfile = regexp.MustCompile(`sendfile\(`)
	shared   = regexp.MustCompile(`sendfile\(\d+, \d+, \[`)
)

// Large hits reach the socket by sendfile: through net/http, and in front of it
// once they are asked for again and again. No content passes through the process.
func testSendfile(t *testing.T, p program) {
	need(t, "strace")
	const size = 4 << 20
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "/a.deb", proxytest.Reply{Body: proxytest.Random(size, 1)})
	d := p.start(t, t.TempDir(), fmt.Sprintf("listen: 127.0.0.1:0\nlog: {level: info, access: false}\nupstream: [{server: '%s'}]\ncache: {policies: [{match: '[.]deb$', refresh-after: never}]}", origin.URL()))
	d.mustGet("/a.deb")

	var trace bytes.Buffer
	strace := exec.Command("strace", "-f", "-e", "trace=sendfile,write,writev,sendto,read,pread64", "-e", "signal=none", "-s", "1", "-p", strconv.Itoa(d.cmd.Process.Pid))
	said, err := strace.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, strace.Start())
	b := make([]byte, 4096)
	n, err := said.Read(b) // "Process 1 attached"
	require.NoError(t, err)
	if !bytes.Contains(b[:n], []byte("attached")) {
		t.Skipf("strace may not look: %s", b[:n])
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = trace.ReadFrom(said)
	}()
	for range 6 {
		resp, body := d.mustGet("/a.deb")
		assert.Len(t, body, size)
		assert.Equal(t, "HIT", resp.Header.Get("X-Cache"))
		time.Sleep(10 * time.Millisecond) // what follows an answer is published behind it
	}
	require.NoError(t, strace.Process.Signal(syscall.SIGINT))
	<-read
	_ = strace.Wait()
	assert.NotEmpty(t, shared.FindAll(trace.Bytes(), -1), "in front of net/http")
	assert.Greater(t, len(sendfile.FindAll(trace.Bytes(), -1)), len(shared.FindAll(trace.Bytes(), -1)), "and through it")
	for _, m := range regexp.MustCompile(`(?:write|writev|sendto|read|pread64)\(.*= (\d+)`).FindAllSubmatch(trace.Bytes(), -1) {
		moved, err := strconv.Atoi(string(m[1]))
		require.NoError(t, err)
		assert.Less(t, moved, 256<<10, "%s", m[0])
	}
}
