//go:build soak

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A nemesis does harm, one thing at a time beside the mirrors', and heals it.
type nemesis struct {
	random  *rand.Rand
	daemon  *soaked
	world   *world
	mirrors []*badMirror
	past    *history
	lesson  *lesson
	disk    string // a file system of the store's own; "" if that may not be
	data    string // the store
	config  func(variant int) string

	spared sync.RWMutex // held for writing while nobody can expect an answer
}

// harms are all there are. Each returns when it is healed.
func (n *nemesis) harms() map[string]func(ctx context.Context) {
	harms := map[string]func(ctx context.Context){
		"kill": n.kill, "stop": n.stop, "clock": n.clock, "descriptors": n.descriptors,
		"reload": n.reload, "remove": n.remove,
	}
	if n.disk != "" {
		harms["full disk"] = n.full
	}
	if exec.Command("strace", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true").Run() == nil {
		harms["disk errors"] = n.errors
	}
	return harms
}

// harm says that the process cannot read and write what it wants, until the
// function that it returns is called, or a moment longer.
func (n *nemesis) harm() (over func()) {
	n.lesson.harmed.Store(true)
	return func() {
		time.Sleep(100 * time.Millisecond)
		n.lesson.harmed.Store(false)
	}
}

// run does harm until ctx ends.
func (n *nemesis) run(ctx context.Context) {
	harms := n.harms()
	names := slices.Sorted(maps.Keys(harms)) // so that a seed means the same each time
	if *chaosHarms != "" {
		names = strings.Split(*chaosHarms, ",")
	}
	for n.pause(ctx, 200, 1200) {
		name := names[n.random.IntN(len(names))]
		n.past.add("nemesis", "%s", name)
		harms[name](ctx)
		n.past.add("nemesis", "%s is over", name)
	}
}

// pause waits for some milliseconds, and reports whether there is more to do.
func (n *nemesis) pause(ctx context.Context, least, most int) bool {
	select {
	case <-time.After(time.Duration(least+n.random.IntN(most-least)) * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

func (n *nemesis) kill(ctx context.Context) {
	n.spared.Lock()
	defer n.spared.Unlock()
	n.daemon.kill(syscall.SIGKILL)
	n.pause(ctx, 1, 300)
	took, err := n.daemon.start()
	if err != nil {
		n.past.violation("nemesis", "start after SIGKILL: %v", err)
	}
	n.past.add("nemesis", "serves after %v", took)
}

func (n *nemesis) stop(ctx context.Context) {
	n.spared.Lock()
	defer n.spared.Unlock()
	pid := n.daemon.pid()
	syscall.Kill(pid, syscall.SIGSTOP)
	n.pause(ctx, 100, 2000)
	syscall.Kill(pid, syscall.SIGCONT)
}

// clock sets the clock ahead, or back by less than an hour.
func (n *nemesis) clock(context.Context) {
	n.daemon.mu.Lock()
	now := n.daemon.clock
	n.daemon.mu.Unlock()
	if n.random.IntN(3) == 0 {
		now -= time.Duration(n.random.IntN(3600)) * time.Second
	} else {
		now += time.Duration(n.random.IntN(7200)) * time.Second
	}
	now = min(max(now, -6*time.Hour), 12*time.Hour) // a root is remembered for a day
	n.past.add("nemesis", "clock %v from the machine's", now)
	n.daemon.set(now)
}

// descriptors leaves the process few more than it has.
func (n *nemesis) descriptors(ctx context.Context) {
	pid := n.daemon.pid()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return
	}
	var old unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old) != nil {
		return
	}
	defer n.harm()()
	few := unix.Rlimit{Cur: uint64(max(16, len(files)-10+n.random.IntN(20))), Max: old.Max}
	n.spared.Lock()
	defer n.spared.Unlock()
	n.past.add("nemesis", "%d descriptors, where %d are open", few.Cur, len(files))
	unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil)
	n.pause(ctx, 200, 2000)
	unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil)
	n.pause(ctx, 2000, 2001) // until when connections may be refused (F30)
}

func (n *nemesis) reload(context.Context) {
	text := n.config(n.random.IntN(1000))
	if n.random.IntN(6) == 0 {
		text += "\nnonsense: {\n"
	}
	if err := os.WriteFile(n.daemon.file, []byte(text), 0o600); err == nil {
		syscall.Kill(n.daemon.pid(), syscall.SIGHUP)
	}
	if strings.HasSuffix(text, "{\n") { // or the next start would be none
		time.Sleep(100 * time.Millisecond)
		os.WriteFile(n.daemon.file, []byte(n.config(0)), 0o600)
	}
}

// remove takes away a part of the store, as people do with rm -r. That of the
// signed set stays, which is all that the proxy knows of what is older.
func (n *nemesis) remove(context.Context) {
	choices, _ := filepath.Glob(filepath.Join(n.data, "*", "*"))
	more, _ := filepath.Glob(filepath.Join(n.data, "imm", "*", "*"))
	temporary, _ := filepath.Glob(filepath.Join(n.data, ".temp", "*"))
	choices = append(append(append(choices, more...), temporary...), filepath.Join(n.data, "imm"), filepath.Join(n.data, ".temp"))
	name := choices[n.random.IntN(len(choices))]
	if strings.Contains(name, "dists") || strings.Contains(name, ".meta") {
		return
	}
	n.past.add("nemesis", "rm -r %s: %v", name, os.RemoveAll(name))
}

// full takes all room on the store's file system.
func (n *nemesis) full(ctx context.Context) {
	defer n.harm()()
	ballast := filepath.Join(n.disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return
	}
	defer os.Remove(ballast)
	defer f.Close()
	var st unix.Statfs_t
	for unix.Fstatfs(int(f.Fd()), &st) == nil && st.Bfree > 0 {
		info, err := f.Stat()
		if err != nil || unix.Fallocate(int(f.Fd()), 0, info.Size(), int64(st.Bfree)*st.Bsize) != nil {
			break
		}
	}
	n.pause(ctx, 300, 3000)
}

// errors lets some of one system call of the process fail for a while.
func (n *nemesis) errors(ctx context.Context) {
	calls := []string{"pwrite64", "fsync,fdatasync", "renameat,renameat2", "unlinkat", "fallocate", "fsetxattr,setxattr", "pread64", "fgetxattr"}
	call := calls[n.random.IntN(len(calls))]
	fault := []string{"EIO", "EROFS", "EDQUOT"}[n.random.IntN(3)]
	cmd := exec.Command("strace", "-f", "-o", "/dev/null", "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d+%d", call, fault, 1+n.random.IntN(3), 1+n.random.IntN(3)), "-p", fmt.Sprint(n.daemon.pid()))
	n.past.add("nemesis", "%s of %s", fault, call)
	defer n.harm()()
	n.spared.Lock() // being traced, it is slow
	defer n.spared.Unlock()
	if cmd.Start() != nil {
		return
	}
	n.pause(ctx, 300, 2500)
	cmd.Process.Signal(syscall.SIGINT) // it lets the process go
	cmd.Wait()
}

// plague gives the mirrors their faults, and publishes, until ctx ends.
func (n *nemesis) plague(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		m := n.mirrors[random.IntN(len(n.mirrors))]
		var f faults
		switch random.IntN(12) {
		case 0:
			f.cut = 0.5
		case 1:
			f.reset = 0.5
		case 2:
			f.stall = 0.3
		case 3:
			f.lie = 0.5
		case 4:
			f.lie, f.cut = 1, 0.3
		case 5:
			f.lag = 1 + random.IntN(3)
		case 6:
			f.status = map[int]float64{[]int{http.StatusNotFound, http.StatusTooManyRequests, http.StatusInternalServerError}[random.IntN(3)]: 0.7}
		case 7:
			f.portal = true
		case 8:
			f.down = true
		case 9:
			f.slow = 0.5
		default: // as it should be
		}
		if f.String() != "" {
			n.past.add("mirrors", "%s: %v", m.server.URL, f)
		}
		m.set(f)
		if random.IntN(8) == 0 {
			n.past.add("mirrors", "generation %d is published", n.publish(random))
		}
		select {
		case <-time.After(time.Duration(50+random.IntN(500)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// publish publishes a generation, which mirrors take over sooner or later.
func (n *nemesis) publish(random *rand.Rand) int {
	g := n.world.publish()
	for i, m := range n.mirrors {
		if i == 0 {
			m.adopt(g)
		} else {
			time.AfterFunc(time.Duration(random.IntN(3000))*time.Millisecond, func() { m.adopt(g) })
		}
	}
	return g
}
