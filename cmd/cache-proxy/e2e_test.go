//go:build e2e

package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestE2E builds the program as it is shipped and runs it between stub mirrors
// and real clients, all on loopback. A client that is not installed is skipped.
//
//	go test -tags e2e -run 'TestE2E/apt' ./cmd/cache-proxy
func TestE2E(t *testing.T) {
	p := build(t)
	for _, c := range []struct {
		name string
		test func(t *testing.T, p program)
	}{
		{"apt", testApt},
		{"pip", testPip},
		{"dnf", testDnf},
		{"pacman", testPacman},
		{"apk", testApk},
		{"apk hub", testApkHub},
		{"zypper hub", testZypper},
		{"dnf lists", testDnfLists},
		{"apt generations", testAptGenerations},
		{"rpm hub", testRPMHub},
		{"pacman hub", testPacmanHub},
		{"go", testGo},
		{"pypi", testPyPI},
		{"npm", testNPM},
		{"prefetch", testPrefetch},
		{"prefetch locks", testPrefetchLocks},
		{"oci", testOCI},
		{"oci clients", testOCIClients},
		{"cargo", testCargo},
		{"composer", testComposer},
		{"rubygems", testRubyGems},
		{"helm", testHelm},
		{"conda", testConda},
		{"maven", testMaven},
		{"nuget", testNuGet},
		{"cran", testCRAN},
		{"terraform", testTerraform},
		{"hex", testHex},
		{"ostree", testOSTree},
		{"flatpak", testFlatpak},
		{"members", testMembers},
		{"parent", testParent},
		{"nginx", testNginx},
		{"setup", testSetupScript},
		{"forward", testForward},
		{"page", testPage},
		{"sendfile", testSendfile},
		{"kill", testKill},
		{"kill under load", testKillUnderLoad},
		{"resume", testResume},
		{"memory", testMemory},
		{"drain", testDrain},
		{"hangup", testHangup},
		{"upgrade", testUpgrade},
		{"upgrade fails", testUpgradeFails},
		{"one daemon a directory", testLock},
		{"command line", testCommandLine},
		{"pprof", testPprof},
		{"sentry", testSentry},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, p)
		})
	}
}

// program is the path of a built binary.
type program string

// build builds the program, static as in the container.
func build(t *testing.T, tags ...string) program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cache-proxy")
	cmd := exec.Command("go", "build", "-tags", strings.Join(tags, ","), "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program(path)
}

// A daemon is a running program.
type daemon struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string // of its TCP listener, without a trailing slash
	admin string // of that for operators
	data  string
	log   *output
	ended chan struct{} // closed once the process is gone, and status is set

	status int // -1: by a signal
}

// start runs the program in dir, where its data directory is, and waits until it
// serves. It is stopped with the test, and its log is shown if that failed.
func (p program) start(t *testing.T, dir, config string, env ...string) *daemon {
	t.Helper()
	d := p.launch(t, dir, config, env...)
	began := time.Now()
	d.admin = "http://" + d.log.await(t, `serving admin.* addr=(127\.\S+)`)[1]
	line := d.log.await(t, `serving app.* addr=(127\.\S+)`)
	assert.Less(t, time.Since(began), 5*time.Second, "time to listen")
	d.url = "http://" + line[1]
	return d
}

// launch is start without waiting.
func (p program) launch(t *testing.T, dir, config string, env ...string) *daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if !strings.Contains(config, "admin:") {
		config += "\nadmin: {listen: 127.0.0.1:0}\n" // several may run at once
	}
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	d := &daemon{t: t, data: filepath.Join(dir, "data"), log: newOutput(), ended: make(chan struct{})}
	d.cmd = exec.Command(string(p), "-config", file)
	d.cmd.Dir = dir
	d.cmd.Env = append(clean(dir), env...)
	d.cmd.Stderr = d.log
	require.NoError(t, d.cmd.Start())
	go func() {
		d.cmd.Wait()
		d.status = d.cmd.ProcessState.ExitCode()
		close(d.ended)
		d.log.end()
	}()
	t.Cleanup(func() {
		select {
		case <-d.ended:
		default:
			d.signal(syscall.SIGTERM)
			assert.Zero(t, d.wait(), "exit status after SIGTERM")
		}
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", d.log.tail())
		}
	})
	return d
}

func (d *daemon) signal(s os.Signal) {
	d.t.Helper()
	require.NoError(d.t, d.cmd.Process.Signal(s))
}

// wait returns the exit status.
func (d *daemon) wait() int {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(45 * time.Second): // longer than limits.drain
		d.cmd.Process.Kill()
		<-d.ended
		d.t.Error("the daemon did not end")
	}
	return d.status
}

// temporary is what lies in the directory of transfers under way.
func (d *daemon) temporary() []string {
	d.t.Helper()
	names, err := filepath.Glob(filepath.Join(d.data, ".temp", "*"))
	require.NoError(d.t, err)
	return names
}

// noTemporary waits until no transfer has left a file.
func (d *daemon) noTemporary() {
	d.t.Helper()
	assert.Eventually(d.t, func() bool { return len(d.temporary()) == 0 }, 5*time.Second, 10*time.Millisecond,
		"temporary files stay")
}

// get fetches url, with these fields and values, and returns head and content;
// err is about either.
func get(ctx context.Context, client *http.Client, url string, header ...string) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// mustGet is get of a path that there must be.
func (d *daemon) mustGet(path string, header ...string) (*http.Response, []byte) {
	d.t.Helper()
	resp, body, err := get(d.t.Context(), http.DefaultClient, d.url+path, header...)
	require.NoError(d.t, err)
	return resp, body
}

// config is a configuration with these mirrors, in which nothing but packages is
// fresh for longer than a moment: a run with the mirrors stopped has stale indexes.
func config(mirrors ...*mirror) string { return configAt("127.0.0.1:0", mirrors...) }

// configAt is config with another value of listen.
func configAt(listen string, mirrors ...*mirror) string {
	var b strings.Builder
	b.WriteString("listen: " + listen + "\nupstream:\n")
	for _, m := range mirrors {
		b.WriteString("- server: " + m.url + "\n")
	}
	b.WriteString(`cache:
  timeout: 1ms
  policies:
  - {match: '\.(deb|whl|rpm|apk)$|\.pkg\.tar\.zst$', refresh-after: never}
log: {level: debug}
`)
	return b.String()
}

// need skips a test without these programs.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// needRoot skips a test without the rights of root, for the sake of client.
func needRoot(t *testing.T, client string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("%s works for root only", client)
	}
}

// clean is an environment in which nothing of the machine's configuration counts.
func clean(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8"}
}

// try runs a program to its end, in dir, which is its home too; env adds to a
// clean environment.
func try(t *testing.T, dir string, env []string, name string, args ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(clean(dir), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is try of a program that must succeed.
func must(t *testing.T, dir string, env []string, name string, args ...string) (output string) {
	t.Helper()
	out, err := try(t, dir, env, name, args...)
	require.NoError(t, err, "%s %s:\n%s", name, strings.Join(args, " "), out)
	return out
}

// put writes a file, and the directories that lead to it.
func put(t *testing.T, content []byte, elem ...string) string {
	t.Helper()
	name := filepath.Join(elem...)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, content, 0o644))
	return name
}

// sameFile checks that a client got the content of a file, and only that.
func sameFile(t *testing.T, want, got string) {
	t.Helper()
	w, err := os.ReadFile(want)
	require.NoError(t, err)
	g, err := os.ReadFile(got)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(w, g), "%s differs from %s", got, want)
}
