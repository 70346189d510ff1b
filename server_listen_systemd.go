package cacheproxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// firstInherited is the first descriptor that systemd passes on (sd_listen_fds(3)).
const firstInherited = 3

// inherited are the listeners that the process was started with, by LISTEN_PID
// and LISTEN_FDS. Children do not inherit them again.
func inherited() ([]net.Listener, error) {
	pid, n := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if n == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	count, err := strconv.ParseUint(n, 10, 8)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS=%q is no number of sockets", n)
	}
	var all []net.Listener
	for fd := firstInherited; fd < firstInherited+int(count); fd++ {
		l, err := inheritedListener(fd)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, fmt.Errorf("LISTEN_FDS: %w", err)
		}
		all = append(all, l)
	}
	return all, nil
}

// inheritedListener is the socket that the process was started with as fd.
func inheritedListener(fd int) (net.Listener, error) {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is no socket that listens: %w", fd, err)
	}
	return l, nil
}

// A notifier tells systemd what becomes of the process (sd_notify(3)). The zero
// value tells nobody.
type notifier struct {
	socket   string // "" is none
	interval time.Duration
}

// newNotifier is for the service manager that the environment names.
func newNotifier() notifier {
	n := notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	usec, _ := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		n.interval = time.Duration(usec) * time.Microsecond / 2
	}
	return n
}

// tell sends a state. Nobody can do anything about one that does not arrive.
func (n notifier) tell(state string) {
	if n.socket == "" {
		return
	}
	name := n.socket
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:] // abstract (unix(7))
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}

func (n notifier) ready()     { n.tell("READY=1") }
func (n notifier) reloading() { n.tell("RELOADING=1") } // ready follows, whatever came of it
func (n notifier) stopping()  { n.tell("STOPPING=1") }

// watchdog tells that the process is alive, as often as it must, until ctx is done.
func (n notifier) watchdog(ctx context.Context) {
	if n.interval <= 0 || n.socket == "" {
		return
	}
	t := time.NewTicker(n.interval)
	defer t.Stop()
	for {
		n.tell("WATCHDOG=1")
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
