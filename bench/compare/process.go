package main

import (
	"bytes"
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
	"time"
)

// A lab starts programs, and ends every one of them with Close.
type lab struct {
	dir   string // everything that is written lies here
	proxy string // the binary of cache-proxy
	stub  string // and of the stub
	nginx string

	fill    string // the binary of fill
	stores  string // directory of stores that stay
	entries int64

	logging bool // servers that are started write an access log, each to a file

	mu      sync.Mutex
	running []*process // guarded by mu
}

// Close stops all that runs; more may be started then.
func (l *lab) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.running {
		p.stop()
	}
	l.running = nil
}

// A process is a program that was started here.
type process struct {
	name string
	addr string
	dir  string // removed at the end; "" is none
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{}
}

func (p *process) url() string { return "http://" + p.addr }

// start runs a program and waits until it listens.
func (l *lab) start(name, addr, dir string, args ...string) (*process, error) {
	p := &process{name: name, addr: addr, dir: dir, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.Dir = l.dir
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.running = append(l.running, p)
	l.mu.Unlock()
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	for range 2500 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return p, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended: %s", name, p.log.String())
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("%s does not listen on %s: %s", name, addr, p.log.String())
}

// stop ends it and its children, and removes what it stored. To stop twice is no error.
func (p *process) stop() {
	pids := p.pids() // now: orphans could not be found any more
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		for _, pid := range pids {
			if child, err := os.FindProcess(pid); err == nil {
				_ = child.Kill()
			}
		}
		<-p.done
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// pids are the process and its children; none once it has ended.
func (p *process) pids() []int {
	select {
	case <-p.done:
		return nil
	default:
	}
	pids := []int{p.cmd.Process.Pid}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[0], pids[0]))
	if err != nil {
		return pids
	}
	for field := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// peak is the most memory that it and its children had, in MiB, each for itself.
func (p *process) peak() float64 { return p.memory("VmHWM:") }

// memory is a field of proc_pid_status(5) of it and its children, in MiB.
func (p *process) memory(field string) float64 {
	var kib float64
	for _, pid := range p.pids() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, field); ok {
				n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				kib += n
			}
		}
	}
	return kib / 1024
}

// cpu is the time that it and its children have used.
func (p *process) cpu() time.Duration {
	var ticks int64
	for _, pid := range p.pids() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for _, i := range []int{11, 12} { // utime, stime: proc(5)
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// free is an address on loopback that nobody listens on.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (l *lab) startStub(args ...string) (*process, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	return l.start("stub", addr, "", append([]string{l.stub, "-listen", addr}, args...)...)
}

// startProxy starts cache-proxy before the mirrors. config is appended.
func (l *lab) startProxy(config string, mirrors ...*process) (*process, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(l.dir, "cache-proxy-")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "listen: '%s'\nadmin: {listen: ''}\n", addr)
	if l.logging {
		fmt.Fprintf(&b, "log: {file: '%s'}\n", filepath.Join(dir, "log"))
	} else {
		b.WriteString("log: {level: error, access: false}\n")
	}
	if !strings.Contains(config, "storage:") {
		fmt.Fprintf(&b, "storage: {local: {path: '%s'}}\n", filepath.Join(dir, "data"))
	}
	b.WriteString("cache: {timeout: 24h}\n")
	b.WriteString("limits: {connections: 16000, connections-per-client: 16000, fills: {per-client: 256}}\n") // all clients have one address here
	if len(mirrors) > 0 {
		b.WriteString("upstream:\n")
	}
	for _, m := range mirrors {
		fmt.Fprintf(&b, "- server: '%s/'\n", m.url())
	}
	b.WriteString(config)
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return nil, err
	}
	return l.start("cache-proxy", addr, dir, l.proxy, "-config", file)
}

const nginxConfig = `
daemon off; worker_processes 2; worker_rlimit_nofile 20000; pid {{dir}}/pid; error_log {{dir}}/error.log error;
events { worker_connections 16384; }
http {
  access_log {{log}}; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 75; keepalive_requests 100000000;
  open_file_cache max=20000 inactive=60s; open_file_cache_valid 60s; open_file_cache_min_uses 1;
  client_body_temp_path {{dir}}/body; fastcgi_temp_path {{dir}}/fastcgi; uwsgi_temp_path {{dir}}/uwsgi; scgi_temp_path {{dir}}/scgi;
  proxy_cache_path {{dir}}/cache levels=1:2 keys_zone=c:64m max_size=20g inactive=1d use_temp_path=off;
  upstream mirrors { {{servers}} keepalive 64; }
  server {
    listen {{addr}} reuseport backlog=4096;
    location / {
      proxy_pass http://mirrors; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache c; proxy_cache_valid 200 1d; proxy_cache_lock on; proxy_cache_lock_timeout 120s; proxy_cache_lock_age 120s;
      proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 4096m;
    }
  }
}
`

func (l *lab) startNginx(mirrors ...*process) (*process, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(l.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // its workers run as another user
		return nil, err
	}
	var servers strings.Builder
	for _, m := range mirrors {
		fmt.Fprintf(&servers, "server %s; ", m.addr)
	}
	log := "off"
	if l.logging {
		log = filepath.Join(dir, "access.log") + " combined buffer=64k flush=1s"
	}
	text := strings.NewReplacer("{{log}}", log, "{{dir}}", dir, "{{addr}}", addr, "{{servers}}", servers.String()).Replace(nginxConfig)
	if os.Getuid() == 0 {
		text = "user root;" + text
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return l.start("nginx", addr, dir, l.nginx, "-p", dir, "-c", file)
}

// stats are the requests, bodies and bytes of a stub so far.
func stats(p *process) (requests, bodies, size int64, err error) {
	resp, err := http.Get(p.url() + "/-/stats")
	if err != nil {
		return 0, 0, 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, 0, 0, err
	}
	_, err = fmt.Sscan(string(b), &requests, &bodies, &size)
	return requests, bodies, size, err
}
