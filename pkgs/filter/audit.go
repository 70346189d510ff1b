package filter

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type auditOptions struct {
	File string `yaml:"file,required"` // that lines are appended to; "-": standard output

	// Whether requests that ask for no version of a package, as those for indexes, are
	// written down too.
	All bool `yaml:"all"`
}

// Files implements [Private].
func (o *auditOptions) Files(file func(path, name string, secret bool)) { file("file", o.File, false) }

// Audit is the kind that writes a line of JSON for each request: who asked for
// what, and what came of it. It stands first in a flow, since it sees only what
// comes to it; it then hears of refusals behind it too.
func Audit() Kind {
	return Define("writes down who was given what", nil, auditOptions{All: true}, func(o auditOptions, env Env) (Filter, error) {
		a := &audit{all: o.All, name: o.File, log: env.Log, now: env.Now}
		if o.File == "-" {
			a.file = os.Stdout
			return a, nil
		}
		err := a.open()
		return a, err
	})
}

type audit struct {
	all    bool
	name   string
	log    *slog.Logger
	now    func() time.Time
	lines  atomic.Int64
	failed atomic.Int64

	mu   sync.Mutex
	file *os.File  // guarded by mu, like all below; each write to it is one line
	at   time.Time // when it was looked whether the file is still that of the name
	away bool      // it is not, and no new one could be made
}

var _ Closer = (*audit)(nil)

// An auditLine is one line.
type auditLine struct {
	Time    time.Time `json:"time"`
	Hub     string    `json:"hub"`
	Client  string    `json:"client,omitempty"`
	User    string    `json:"user,omitempty"`
	Method  string    `json:"method"`
	Path    string    `json:"path"` // the key's
	Package string    `json:"package,omitempty"`
	Version string    `json:"version,omitempty"`
	Status  int       `json:"status"`
	Bytes   int64     `json:"bytes"`
	Cache   string    `json:"cache,omitempty"` // HIT, MISS, …; empty if nobody asked it
	Mirror  string    `json:"mirror,omitempty"`
	Cut     bool      `json:"cut,omitempty"` // the client did not get it all
	Millis  float64   `json:"ms"`
}

func (a *audit) Handle(_ context.Context, x *Exchange) string {
	if !a.all && x.Request.Version == "" {
		return ""
	}
	begun := a.now()
	x.After(func() {
		line := auditLine{
			Time: begun.UTC(), Hub: x.Hub.Name, User: x.User, Method: x.Request.Client.Method, Path: x.Request.Key.Path,
			Package: x.Request.Package, Version: x.Request.Version, Status: x.Status(),
		}
		if x.Request.Client.Addr.IsValid() {
			line.Client = x.Request.Client.Addr.String()
		}
		end := func(bytes int64, err error) {
			line.Bytes, line.Cut, line.Millis = bytes, err != nil, float64(a.now().Sub(begun).Microseconds())/1000
			a.write(&line)
		}
		resp, _ := x.Answered()
		if resp == nil {
			end(0, nil)
			return
		}
		line.Cache, line.Mirror = resp.Outcome.Word(), resp.Entry.Mirror
		own, others := x.own(), resp.Sent
		own.Sent = func(bytes int64, err error) {
			if others != nil {
				others(bytes, err)
			}
			end(bytes, err)
		}
	})
	return ""
}

func (a *audit) write(line *auditLine) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // strings and numbers
	}
	f, err := a.current()
	if err == nil {
		_, err = f.Write(append(text, '\n')) // one write, which lines of others do not come into
	}
	if a.lines.Add(1); err != nil && a.failed.Add(1) == 1 {
		a.log.Error("a line of the audit was lost, and more may be", "file", a.name, "err", err)
	}
}

// current is the file; a new one if somebody has moved it away, once in a second.
func (a *audit) current() (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.name == "-" || now.Sub(a.at) < time.Second {
		return a.file, nil
	}
	a.at = now
	named, err := os.Stat(a.name)
	open, err2 := a.file.Stat()
	if err == nil && err2 == nil && os.SameFile(named, open) {
		a.away = false
		return a.file, nil
	}
	old := a.file
	if err := a.open(); err != nil {
		if !a.away {
			a.log.Error("the audit goes on in the file that was moved away: a new one cannot be made", "file", a.name, "err", err)
		}
		a.away = true
		return old, nil // which may be somewhere yet
	}
	a.away = false
	time.AfterFunc(time.Minute, func() { old.Close() }) // lines may be on their way to it
	return a.file, nil
}

func (a *audit) open() error {
	f, err := os.OpenFile(a.name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err == nil {
		a.file = f
	}
	return err
}

// Close implements [Closer].
func (a *audit) Close() error {
	if a.name == "-" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}

func (a *audit) Status() any {
	return map[string]int64{"lines": a.lines.Load(), "lost": a.failed.Load()}
}
