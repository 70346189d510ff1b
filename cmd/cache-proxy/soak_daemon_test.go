//go:build soak

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
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

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// configEnv names the configuration of the process that TestSoakDaemon is.
const configEnv = "CACHE_PROXY_SOAK"

// TestSoakDaemon is no test but the program: what serve does, with a clock that
// can be set. A line "clock DURATION" on standard input sets it so far from the
// machine's, wall clock and monotonic alike, which is worse than what a machine
// does to a process. Without that line it is the machine's.
func TestSoakDaemon(t *testing.T) {
	file := os.Getenv(configEnv)
	if file == "" {
		t.Skip("it is what the soak tests start")
	}
	os.Exit(soakDaemon(file))
}

func soakDaemon(file string) int {
	var offset atomic.Int64
	set := func(text string) {
		d, err := time.ParseDuration(text)
		if err == nil {
			offset.Store(int64(d))
		}
	}
	set(os.Getenv(configEnv + "_CLOCK"))
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			text, _ := strings.CutPrefix(in.Text(), "clock ")
			set(text)
		}
	}()
	level := new(slog.LevelVar)
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	load := func() (*cacheproxy.Config, []cacheproxy.Warning, error) { return cacheproxy.Load(file) }
	c, _, err := load()
	if err != nil {
		logger.Error("configuration", "err", err)
		return exitUsage
	}
	s, err := cacheproxy.New(c, cacheproxy.Options{Log: logger, Level: level, Load: load,
		Now: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
	if err != nil {
		logger.Error("failed to start server", "err", err)
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			s.Refresh("SIGHUP")
		}
	}()
	if err := s.Run(ctx); err != nil {
		logger.Error("server failed", "err", err)
		return exitFailed
	}
	return exitOK
}

// A soaked is that program, which may be killed and started again.
type soaked struct {
	t          *testing.T
	file       string // its configuration
	url, admin string
	log        *os.File // of all its lives

	mu    sync.Mutex
	cmd   *exec.Cmd      // guarded by mu; nil while it is dead on purpose
	stdin io.WriteCloser // guarded by mu
	ended chan struct{}  // guarded by mu; closed with the process
	clock time.Duration  // guarded by mu
	life  int            // guarded by mu; how often it was started
	born  time.Time      // guarded by mu
}

// start starts it, and waits until it serves.
func (d *soaked) start() (took time.Duration, err error) {
	began := time.Now()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSoakDaemon$", "-test.timeout=0")
	d.mu.Lock()
	cmd.Env = append(os.Environ(), configEnv+"="+d.file, fmt.Sprintf("%s_CLOCK=%v", configEnv, d.clock), "GORACE=halt_on_error=1")
	d.mu.Unlock()
	cmd.Stdout, cmd.Stderr = d.log, d.log
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	d.mu.Lock()
	d.cmd, d.stdin, d.ended = cmd, stdin, ended
	d.life, d.born = d.life+1, began
	d.mu.Unlock()
	for {
		if code, _, err := fetch(d.url + "/-/readyz"); err == nil && code == http.StatusOK {
			return time.Since(began), nil
		}
		select {
		case <-ended:
			return 0, fmt.Errorf("the process ended: %v", cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(began) > 30*time.Second {
			return 0, fmt.Errorf("it does not serve")
		}
	}
}

// kill ends it, and waits for that.
func (d *soaked) kill(s os.Signal) (status int) {
	d.mu.Lock()
	cmd, ended := d.cmd, d.ended
	d.cmd = nil
	d.mu.Unlock()
	if cmd == nil {
		return 0
	}
	cmd.Process.Signal(s)
	<-ended
	return cmd.ProcessState.ExitCode()
}

// set sets its clock.
func (d *soaked) set(clock time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = clock
	if d.cmd != nil {
		fmt.Fprintf(d.stdin, "clock %v\n", clock)
	}
}

// now is which of its lives it is in, and since when.
func (d *soaked) now() (life int, born time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.life, d.born
}

// pid is its process; 0 if it is dead on purpose.
func (d *soaked) pid() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		return 0
	}
	return d.cmd.Process.Pid
}

// died says whether it has ended though nobody killed it.
func (d *soaked) died() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.ended:
		return d.cmd != nil
	default:
		return false
	}
}

// counts are what must not grow for ever.
type counts struct{ files, goroutines, temporary int }

func (d *soaked) counts(data string) (c counts, err error) {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid()))
	if err != nil {
		return c, err
	}
	c.files = len(fds)
	names, err := filepath.Glob(filepath.Join(data, ".temp", "*"))
	for _, name := range names {
		if _, err := os.Stat(name + ".part"); err != nil && !strings.HasSuffix(name, ".part") {
			c.temporary++ // what has a record is kept to be gone on with
		}
	}
	code, metrics, err := fetch(d.admin + "/metrics")
	if err != nil || code != http.StatusOK {
		return c, fmt.Errorf("metrics: %d, %w", code, err)
	}
	_, rest, _ := strings.Cut(string(metrics), "\ngo_goroutines ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(line, 64)
	c.goroutines = int(n)
	return c, err
}

// fetch is a GET on a connection of its own, within 5 s.
func fetch(url string) (status int, body []byte, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// A history is what has happened, a line each.
type history struct {
	mu    sync.Mutex
	began time.Time
	lines bytes.Buffer
	bad   []string
	tally map[string]int
}

func (h *history) add(who, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(&h.lines, "%9.3f %-8s ", time.Since(h.began).Seconds(), who)
	fmt.Fprintf(&h.lines, format, args...)
	h.lines.WriteByte('\n')
}

// count counts what is neither good nor bad.
func (h *history) count(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tally[what]++
}

// violation is what must not happen.
func (h *history) violation(who, format string, args ...any) {
	h.add(who, "VIOLATION "+format, args...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bad = append(h.bad, fmt.Sprintf("%.3f %s: ", time.Since(h.began).Seconds(), who)+fmt.Sprintf(format, args...))
}

// judge fails the test for what must not have happened, and keeps the history then.
func (h *history) judge(t *testing.T, dir string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%v", h.tally)
	for i, v := range h.bad {
		if i == 10 {
			t.Errorf("and %d more", len(h.bad)-i)
			break
		}
		t.Error(v)
	}
	if t.Failed() {
		name := filepath.Join(dir, "history.txt")
		require.NoError(t, os.WriteFile(name, h.lines.Bytes(), 0o644))
		t.Logf("history: %s, log of the daemon: %s", name, filepath.Join(dir, "daemon.log"))
	}
}

// quietPort is a port of loopback below those that connections are given.
func quietPort(t *testing.T, random func(int) int) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+random(18000))
		if _, _, err := fetch("http://" + addr); err != nil && strings.Contains(err.Error(), "refused") {
			return addr
		}
	}
	assert.FailNow(t, "no port is free")
	return ""
}
