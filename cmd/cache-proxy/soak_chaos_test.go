//go:build soak

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	chaosSeed  = flag.Uint64("seed", 0, "of TestChaos; 0: a new one")
	chaosSeeds = flag.Int("seeds", 1, "how many seeds TestChaos tries, one after the other")
	chaosTime  = flag.Duration("chaos", time.Minute, "how long TestChaos does harm for each seed")
	chaosHarms = flag.String("harms", "", "what TestChaos does to the machine, separated by commas; default all there is")
	chaosDir   = flag.String("chaos-dir", "", "where TestChaos keeps the history of what failed; default a new one, in memory if it can be")
)

const (
	chaosMirrors = 4
	chaosClients = 8
)

// TestChaos lets eight clients ask for hundreds of objects while mirrors and
// machine fail in all the ways that soak_nemesis_test.go knows. What must hold is the
// oracle of FAULTS.md; soakClient.judge says what a proxy cannot know.
//
//	go test -tags soak -run TestChaos -timeout 0 ./cmd/cache-proxy -seed 7
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	for n := range *chaosSeeds {
		t.Run(fmt.Sprintf("seed %d", seed+uint64(n)), func(t *testing.T) { chaos(t, seed+uint64(n)) })
	}
}

func chaos(t *testing.T, seed uint64) {
	dir := t.TempDir()
	if *chaosDir != "" {
		dir = filepath.Join(*chaosDir, fmt.Sprint(seed))
	} else if kept, err := os.MkdirTemp("/dev/shm", "chaos-*"); err == nil {
		dir = kept // the program's log waits for no disk that others keep busy
	} else if kept, err := os.MkdirTemp("", "chaos-*"); err == nil {
		dir = kept
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
		}
	})
	w := newWorld(seed)
	past := &history{began: time.Now(), tally: map[string]int{}}
	learned := &lesson{unwritten: map[int]int{}}
	n := &nemesis{random: rand.New(rand.NewPCG(seed, 3)), world: w, past: past, lesson: learned}
	for i := range chaosMirrors {
		n.mirrors = append(n.mirrors, newBadMirror(t, w, seed+uint64(i)<<32))
	}
	n.disk, n.data = mount(t, dir)
	d := newSoaked(t, dir)
	n.daemon = d
	n.config = func(variant int) string { return chaosConfig(variant, d, n) }
	require.NoError(t, os.WriteFile(d.file, []byte(n.config(0)), 0o600))
	_, err := d.start()
	require.NoError(t, err)
	before, err := d.counts(n.data)
	require.NoError(t, err)

	ctx, stop := context.WithTimeout(t.Context(), *chaosTime)
	defer stop()
	var clients, harm sync.WaitGroup
	for i := range chaosClients {
		clients.Go(func() { newSoakClient(i, seed, d, w, learned, past).run(ctx) })
	}
	harm.Go(func() { n.plague(ctx, rand.New(rand.NewPCG(seed, 4))) })
	harm.Go(func() { n.run(ctx) })
	harm.Go(func() { n.watch(ctx) })
	clients.Wait()
	harm.Wait()
	for _, m := range n.mirrors {
		m.set(faults{})
	}
	n.peace(t, before)
	past.judge(t, dir)
}

// newSoaked is a program with a configuration file and a log in dir, that is not started.
func newSoaked(t *testing.T, dir string) *soaked {
	addr, admin := quietPort(t, rand.IntN), quietPort(t, rand.IntN)
	log, err := os.Create(filepath.Join(dir, "daemon.log"))
	require.NoError(t, err)
	d := &soaked{t: t, file: filepath.Join(dir, "config.yaml"), url: "http://" + addr, admin: "http://" + admin, log: log}
	t.Cleanup(func() {
		d.kill(syscall.SIGKILL)
		log.Close()
	})
	return d
}

// mount gives the store a small file system of its own, where that may be.
func mount(t *testing.T, dir string) (disk, data string) {
	disk = filepath.Join(dir, "disk")
	require.NoError(t, os.MkdirAll(disk, 0o755))
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64m"); err != nil {
		t.Logf("the disk will not be full: mount: %v", err)
		return "", filepath.Join(disk, "data")
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	return disk, filepath.Join(disk, "data")
}

// chaosConfig is one of the configurations between which the program changes.
func chaosConfig(variant int, d *soaked, n *nemesis) string {
	r := rand.New(rand.NewPCG(uint64(variant), 5))
	order := r.Perm(chaosMirrors)
	servers := func(path string) string {
		var b strings.Builder
		for _, i := range order[:chaosMirrors-r.IntN(2)] {
			fmt.Fprintf(&b, "  - server: %s%s\n", n.mirrors[i].server.URL, path)
		}
		return b.String()
	}
	mode := []string{"adaptive", "adaptive", "all", "ordered"}[r.IntN(4)]
	if variant == 0 {
		mode = "adaptive"
	}
	return fmt.Sprintf(`listen: %s
admin: {listen: %s}
storage: {local: {path: %s, max-size: 40MiB, min-free: 5%%, memory: %s}}
log: {level: debug}
race: {mode: %s, width: %d, stagger: %dms, stripe: {min-size: 2MiB, part: 512KiB}}
limits: {upstream-header-timeout: 2s, upstream-idle-timeout: 2s, upstream-dial-timeout: 1s, drain: 5s, connections-per-client: %d}
cache:
  timeout: 300ms
  negative: 1s
  revalidate-budget: 500ms
  policies:
  - {match: '^/imm/', refresh-after: never}
upstream:
%shubs:
- name: debian
  type: apt
  path: /debian
  cache: {policies: [{match: 'InRelease$', refresh-after: 200ms}]}
  options: {hold: 5s}
  upstream:
%s- name: web
  type: http
  path: /web
  upstream:
  - server: %s/web
`, strings.TrimPrefix(d.url, "http://"), strings.TrimPrefix(d.admin, "http://"), n.data, []string{"0", "8MiB"}[seedBit(n.world)],
		mode, 1+r.IntN(4), 50+r.IntN(300), 100+r.IntN(100), servers(""), servers("/debian"), n.mirrors[0].server.URL)
}

// seedBit is what changes between seeds and not within one.
func seedBit(w *world) uint64 { return w.seed % 2 }

// watch asks for a sign of life, four times a second. It is to come within a
// second; four times what a server that does nothing takes meanwhile, in a process
// that runs already, is not held against it: the machine has other things to do.
func (n *nemesis) watch(ctx context.Context) {
	ask := func(url string) (time.Duration, error) {
		began := time.Now()
		status, _, err := fetch(url)
		if err == nil && status >= http.StatusInternalServerError {
			err = fmt.Errorf("status %d", status)
		}
		return time.Since(began), err
	}
	for ctx.Err() == nil {
		if n.daemon.died() {
			n.past.violation("watch", "the process has ended")
			return
		}
		if n.spared.TryRLock() {
			answered := make(chan struct{})
			var own time.Duration
			var err error
			var control sync.WaitGroup
			control.Go(func() { own, err = n.control(ask, answered) })
			took, err2 := ask(n.daemon.url + "/-/healthz")
			close(answered)
			control.Wait()
			n.spared.RUnlock()
			if err == nil && (err2 != nil || took > time.Second+4*own) {
				n.past.violation("watch", "/-/healthz took %v: %v (a server that does nothing takes %v)", took, err2, own)
			}
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// control is how long a server that does nothing takes to answer here, at worst,
// until done.
func (n *nemesis) control(ask func(string) (time.Duration, error), done <-chan struct{}) (worst time.Duration, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go s.Serve(l)
	defer s.Close()
	for {
		took, err := ask("http://" + l.Addr().String())
		if err != nil {
			return 0, err
		}
		worst = max(worst, took)
		select {
		case <-done:
			return worst, nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// peace is what must hold once nothing fails any more: all is to be had, nothing
// is held that was taken, and what is stored is right.
func (n *nemesis) peace(t *testing.T, before counts) {
	t.Helper()
	d := n.daemon
	if d.died() {
		n.past.violation("peace", "the process has ended")
		return
	}
	os.WriteFile(d.file, []byte(n.config(0)), 0o600)
	syscall.Kill(d.pid(), syscall.SIGHUP)
	for _, m := range n.mirrors {
		m.adopt(n.world.newest())
	}
	c := newSoakClient(chaosClients, 0, d, n.world, &lesson{unwritten: map[int]int{}}, n.past)
	missing := append([]*object(nil), n.world.objects...)
	for until := time.Now().Add(20 * time.Second); len(missing) > 0 && time.Now().Before(until); {
		var still []*object
		for _, o := range missing {
			if o.class == index { // which is that of the root that a client has
				c.ask(t.Context(), n.world.find(rootPath), request{})
			}
			if c.ask(t.Context(), o, request{}) == "" {
				still = append(still, o)
			}
		}
		if missing = still; len(missing) > 0 {
			time.Sleep(500 * time.Millisecond)
		}
	}
	for _, o := range missing {
		if o.noted("lie") || o.noted("portal") { // for ten minutes no mirror is asked that has lied about it
			n.past.count("benched")
			continue
		}
		n.past.violation("peace", "%s is not to be had", o.path)
	}
	c.http.CloseIdleConnections()
	n.settle(before)
	n.stored(t)
	if status := d.kill(syscall.SIGTERM); status != 0 {
		n.past.violation("peace", "status %d after SIGTERM", status)
	}
	log, err := os.ReadFile(d.log.Name())
	require.NoError(t, err)
	for _, bad := range []string{"panic", "DATA RACE", "fatal error"} {
		if i := bytes.Index(log, []byte(bad)); i >= 0 {
			n.past.violation("peace", "the log has: %s", log[max(0, i-200):min(len(log), i+300)])
		}
	}
}

// settle waits until what is held is what it was before (F32).
func (n *nemesis) settle(before counts) {
	const more = 12                // descriptors: files mapped, idle connections, of which each may have two goroutines
	const idle = 100 * time.Second // more than a connection to a mirror is kept for, which has ended it perhaps
	var now counts
	var err error
	for until := time.Now().Add(idle); time.Now().Before(until); time.Sleep(250 * time.Millisecond) {
		now, err = n.daemon.counts(n.data)
		if err == nil && now.files <= before.files+more && now.goroutines <= before.goroutines+2*more && now.temporary == 0 {
			n.past.add("peace", "%+v, at first %+v", now, before)
			return
		}
	}
	left, _ := exec.Command("ls", "-lAi", "--full-time", filepath.Join(n.data, ".temp")).CombinedOutput()
	n.past.violation("peace", "%+v stay, at first there were %+v (%v):\n%s", now, before, err, left)
}

// stored checks every file below the store whose path is an object's.
func (n *nemesis) stored(t *testing.T) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(n.data, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		rel, _ := filepath.Rel(n.data, name)
		o := n.world.find("/" + filepath.ToSlash(rel))
		b, err := os.ReadFile(name)
		if o == nil || err != nil {
			return nil
		}
		found++
		what := n.world.match(o, b, 0, true)
		if what == "" || o.class == named && what != "v0" {
			n.past.violation("peace", "%s of %d bytes is stored, which is %q", o.path, len(b), what)
		}
		return nil
	})
	assert.NoError(t, err)
	assert.NotZero(t, found, "nothing is stored, so nothing was tested")
}
