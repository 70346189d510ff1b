package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFewDescriptors: a process that may have 256 files open, with 400 idle
// connections to it, finishes what is under way, says to new clients that there
// are too many, and takes them again as soon as others have gone (F30).
func TestFewDescriptors(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	half := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		<-half
		w.Write(body[len(body)/2:])
	}))
	defer origin.Close()
	for _, c := range []struct{ name, limits, want string }{
		{"bound of its own", "connections-per-client: 1000", "503"},
		{"none but the descriptors", "connections-per-client: 1000, connections: 100000", "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := write(t, "listen: 127.0.0.1:0\nlog: {access: false}\nlimits: {"+c.limits+"}\nadmin: {listen: ''}\nupstream: [{server: '"+origin.URL+"'}]\n")
			cmd := exec.Command("/bin/sh", "-c", `ulimit -n 256 && exec "$0" -config "$1"`, os.Args[0], config)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "CACHE_PROXY_RUN=1", "CONFIG=", "LOG_LEVEL=", "SENTRY_DSN=")
			addr := launch(t, cmd)

			resp, err := http.Get("http://" + addr + "/large")
			require.NoError(t, err)
			defer resp.Body.Close()
			var idle []net.Conn
			for range 400 {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer conn.Close()
				idle = append(idle, conn)
			}
			assert.Equal(t, c.want, status(addr))
			half <- struct{}{}
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(body, got), "what was under way is whole")
			for _, conn := range idle {
				conn.Close()
			}
			assert.Eventually(t, func() bool { return status(addr) == "200" }, 2*time.Second, 10*time.Millisecond)
		})
	}
}

// status is what a new client gets.
func status(addr string) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "GET /-/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "closed"
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			return "silence"
		}
		return "closed"
	}
	resp.Body.Close()
	return strconv.Itoa(resp.StatusCode)
}

// launch starts the program, and returns the address that it serves on.
func launch(t *testing.T, cmd *exec.Cmd) (addr string) {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, a, ok := strings.Cut(lines.Text(), `msg="serving app" addr=`); ok {
			go io.Copy(io.Discard, stderr) // ends with the process
			return a
		}
	}
	t.Fatal("the log ended")
	return ""
}
