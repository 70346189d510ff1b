package main

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain makes the test binary the program itself when a test asks for that.
func TestMain(m *testing.M) {
	if os.Getenv("CACHE_PROXY_RUN") != "" {
		main()
	}
	flag.Parse()
	os.Exit(m.Run())
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func TestRun(t *testing.T) {
	good := write(t, "upstream: [{server: 'https://me:hunter2@mirrors.example.org'}]\n")
	hubs := write(t, "hubs: [{name: npm, hosts: npm.example.org, race: {mode: ordered}, cache: {timeout: 5m}, upstream: [{server: 'https://mirrors.example.org'}]}]\n")
	secure := write(t, "listen: ':1'\ntls: {listen: ':2', acme: {hosts: cache.example.org}}\n"+oneUpstream)
	original, err := filepath.Abs("../../testdata/original.yaml")
	require.NoError(t, err)
	quiet := write(t, oneUpstream)
	bad := write(t, "misc: {chunk-bytes: x}\nfoo: 1\n")
	for _, c := range []struct {
		name           string
		args           []string
		env            map[string]string
		status         int
		stdout, stderr string
	}{
		{name: "help", args: []string{"-h"}, stdout: "Examples:"},
		{name: "help of check", args: []string{"check", "-h"}, stdout: "-print"},
		{name: "version", args: []string{"-version"}, stdout: "cache-proxy "},
		{name: "admin", args: []string{"check", "-config", good}, stdout: "admin on 127.0.0.1:8882"},
		{name: "no admin", args: []string{"check", "-config", quiet}, stdout: "no admin listener"},
		{name: "unknown flag", args: []string{"-bogus"}, status: 2, stderr: "unknown flag: --bogus"},
		{name: "two dashes", args: []string{"check", "--config=" + good}, stdout: good + ": ok"},
		{name: "flag before the command", args: []string{"-config", good, "check"}, stdout: good + ": ok"},
		{name: "version of a command", args: []string{"check", "-version"}, stdout: "cache-proxy "},
		{name: "completion", args: []string{"completion", "bash"}, stdout: "__start_cache-proxy"},
		{name: "what may follow", args: []string{"__complete", "mirrors", "be"}, stdout: "bench\t", stderr: "Completion ended"},
		{name: "too few arguments", args: []string{"man"}, status: 2, stderr: "man wants more arguments"},
		{name: "unknown argument", args: []string{"serv"}, status: 2, stderr: `unknown argument "serv"`},
		{name: "missing file", args: []string{"-config", "/nowhere/none.yaml"}, status: 2, stderr: "/nowhere/none.yaml"},
		{name: "check the default", args: []string{"check"}, stdout: "the embedded default: ok"},
		{name: "check a file", args: []string{"check", "-config", good}, stdout: "hub default at /, 1 upstreams"},
		{name: "check hubs", args: []string{"check", "-config", hubs}, stdout: "hub npm at /npm and npm.example.org, 1 upstreams, race.mode ordered, type files, rollout legacy-only"},
		{name: "check tls", args: []string{"check", "-config", secure}, stdout: "listen on :1\nlisten on :2, TLS\n"},
		{name: "print hubs", args: []string{"check", "-print", "-config", hubs}, stdout: "timeout: 5m"},
		{name: "check the original's", args: []string{"check", "-config", original}, stdout: "22 upstreams"},
		{name: "check as a flag", args: []string{"-check-config", "-config", good}, stdout: good + ": ok"},
		{name: "all problems", args: []string{"check", "-config", bad}, status: 2, stderr: bad + ":2: foo: unknown key"},
		{name: "serve with problems", args: []string{"serve", "-config", bad}, status: 2, stderr: bad + ":1: misc.chunk-bytes: "},
		{name: "environment", args: []string{"check"}, env: map[string]string{"CONFIG": good}, stdout: good + ": ok"},
		{name: "flag beats environment", args: []string{"check", "-config", good}, env: map[string]string{"CONFIG": bad}, stdout: good + ": ok"},
		{name: "print", args: []string{"-print-config", "-config", good}, stdout: "chunk-bytes: 1048576"},
		{name: "level by flag", args: []string{"check", "-print", "-log-level", "trace"}, env: map[string]string{"LOG_LEVEL": "warn"}, stdout: "level: trace"},
		{name: "level by environment", args: []string{"check", "-print"}, env: map[string]string{"LOG_LEVEL": "warn"}, stdout: "level: warn"},
		{name: "no such level", args: []string{"-log-level", "bogus"}, status: 2, stderr: `log level: "bogus" is none of trace, debug, info, warn or error`},
		{name: "secrets are masked", args: []string{"check", "-print"}, env: map[string]string{"SENTRY_DSN": "http://hunter2@127.0.0.1/1"}, stdout: `dsn: '******'`},
		{name: "bad dsn", args: []string{"-sentry", "hunter2"}, status: 2, stderr: "sentry.dsn: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for _, key := range []string{"CONFIG", "LOG_LEVEL", "SENTRY_DSN"} {
				t.Setenv(key, c.env[key])
			}
			var stdout, stderr bytes.Buffer
			assert.Equal(t, c.status, run(c.args, &stdout, &stderr), stderr.String())
			assert.Contains(t, stdout.String(), c.stdout)
			assert.Contains(t, stderr.String(), c.stderr)
			assert.NotContains(t, stdout.String()+stderr.String(), "hunter2")
			if c.status != 0 {
				assert.Empty(t, stdout.String())
			}
		})
	}
}

// TestManual: a page for each command, the same each time.
// TestHelp: every command has an example, and says what its exit statuses mean.
func TestHelp(t *testing.T) {
	var all func(c *cobra.Command)
	n := 0
	all = func(c *cobra.Command) {
		n++
		assert.NotEmpty(t, c.Example, c.CommandPath())
		assert.Equal(t, 1, strings.Count(c.Long, "Exit status"), c.CommandPath())
		for _, below := range c.Commands() {
			all(below)
		}
	}
	all((&invocation{}).command())
	assert.Greater(t, n, 15)
}

func TestManual(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	t.Setenv("CONFIG", "/etc/hunter2.yaml")
	var pages [2]map[string]string
	for i := range pages {
		dir := t.TempDir()
		require.Equal(t, exitOK, run([]string{"man", dir}, io.Discard, io.Discard))
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		pages[i] = map[string]string{}
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			require.NoError(t, err)
			pages[i][f.Name()] = string(text)
		}
	}
	assert.Equal(t, pages[0], pages[1])
	assert.Contains(t, pages[0]["cache-proxy.1"], "Sep 2001")
	assert.Contains(t, pages[0]["cache-proxy-mirrors-bench.1"], "--hub")
	for name, text := range pages[0] {
		assert.NotContains(t, text, "hunter2", name)
	}
}

// start runs the program in a process of its own; logged waits for a line of its log.
func start(t *testing.T, config string) (cmd *exec.Cmd, logged func(text string) string) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-config", config)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "CACHE_PROXY_RUN=1", "CONFIG=", "LOG_LEVEL=", "SENTRY_DSN=")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	return cmd, func(text string) string {
		t.Helper()
		seen := ""
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return lines.Text()
			}
			seen += lines.Text() + "\n"
		}
		t.Fatalf("the log ended without %q:\n%s", text, seen)
		return ""
	}
}

const oneUpstream = "admin: {listen: ''}\nupstream: [{server: 'http://127.0.0.1:1'}]\n"

func TestSignals(t *testing.T) {
	config := write(t, "listen: 127.0.0.1:0\n"+oneUpstream)
	cmd, logged := start(t, config)
	logged("serving app")
	require.NoError(t, os.WriteFile(config, []byte("listen: 127.0.0.1:0\nfoo: 1\n"), 0o600))
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	assert.Contains(t, logged("stays as it was"), config+":2: foo: unknown key")
	require.NoError(t, os.WriteFile(config, []byte("listen: 127.0.0.1:0\nlog: {level: debug}\n"+oneUpstream), 0o600))
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	logged("revision=2")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	logged("stopped")
	assert.NoError(t, cmd.Wait(), "status 0")
}

func TestSecondSignal(t *testing.T) {
	config := write(t, "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\nlimits: {drain: 1h}\nupstream: [{server: 'http://"+silent(t)+"'}]\n")
	cmd, logged := start(t, config)
	line := logged("serving app")
	_, addr, _ := strings.Cut(line, "addr=")
	c, err := net.Dial("tcp", strings.TrimSpace(addr))
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	logged("request started")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	logged("draining")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	logged("stopped by a second signal")
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, exitFailed, exit.ExitCode())
}

// silent is the address of an origin that takes connections and says nothing.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestPortTaken(t *testing.T) {
	config := write(t, "listen: "+silent(t)+"\n"+oneUpstream)
	began := time.Now()
	cmd, logged := start(t, config)
	assert.Contains(t, logged("failed to start server"), "address already in use")
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, exitFailed, exit.ExitCode())
	assert.Less(t, time.Since(began), 5*time.Second)
}

func TestAdminPortTaken(t *testing.T) {
	taken := silent(t)
	cmd, logged := start(t, write(t, "listen: 127.0.0.1:0\nadmin: {listen: '"+taken+"'}\nupstream: [{server: 'http://127.0.0.1:1'}]\n"))
	line := logged("failed to start server")
	assert.Contains(t, line, "admin.listen")
	assert.Contains(t, line, taken)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, exitFailed, exit.ExitCode())
}

// TestSystemd: sockets that systemd has opened are served, whatever the
// configuration says of addresses, and it is told how the process fares.
func TestSystemd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	file, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	l.Close()
	name := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer notify.Close()
	told := func(want string) {
		t.Helper()
		buf := make([]byte, 1024)
		for {
			require.NoError(t, notify.SetReadDeadline(time.Now().Add(10*time.Second)))
			n, err := notify.Read(buf)
			require.NoError(t, err, want)
			if string(buf[:n]) == want {
				return
			}
		}
	}
	config := write(t, "listen: 192.0.2.1:1\n"+oneUpstream)
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -config "$1"`, os.Args[0], config)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "CACHE_PROXY_RUN=1", "CONFIG=", "LOG_LEVEL=", "SENTRY_DSN=",
		"LISTEN_FDS=1", "NOTIFY_SOCKET="+name, "WATCHDOG_USEC=200000")
	cmd.ExtraFiles = []*os.File{file}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	told("READY=1")
	resp, err := http.Get("http://" + l.Addr().String() + "/-/healthz")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	told("WATCHDOG=1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	told("RELOADING=1")
	told("READY=1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	told("STOPPING=1")
	assert.NoError(t, cmd.Wait())
}
