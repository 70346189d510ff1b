package cacheproxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// Paths of the proxy's own.
const ownPrefix = "/-/"

// own serves /-/, /-/setup.sh and /-/apt-proxy-detect (how clients use this),
// /-/healthz (the process answers), /-/readyz (it takes requests and can store) and
// /-/modules (what runs). X-Config-Version says under which
// configuration, counted from 1 at the start of the process.
func (s *Server) own(w http.ResponseWriter, r *http.Request, rev *revision) {
	w.Header().Set("X-Config-Version", strconv.FormatInt(rev.number, 10))
	module, isModule := strings.CutPrefix(r.URL.Path, "/-/modules/")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		ownText(w, r, http.StatusMethodNotAllowed, "only GET and HEAD\n")
	case r.URL.Path == welcomePath, r.URL.Path == scriptPath, r.URL.Path == detectPath:
		rev.welcome.ServeHTTP(w, r)
	case r.URL.Path == "/-/healthz":
		ownText(w, r, http.StatusOK, "ok\n")
	case r.URL.Path == "/-/readyz":
		s.readyz(w, r)
	case r.URL.Path == "/-/modules":
		ownJSON(w, r, http.StatusOK, rev.diagnostics())
	case isModule:
		rev.module(w, r, module)
	default:
		ownText(w, r, http.StatusNotFound, "no such page\n")
	}
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	switch err := s.ready.check(r.Context(), s.store); {
	case s.draining.Load() && !s.upgrades.leaving.Load(): // behind an upgrade another process is ready
		ownText(w, r, http.StatusServiceUnavailable, "draining\n")
	case err != nil:
		s.log.Warn("the store cannot be written", "err", err)
		ownText(w, r, http.StatusServiceUnavailable, "the store cannot be written\n")
	default:
		ownText(w, r, http.StatusOK, "ready\n")
	}
}

func ownText(w http.ResponseWriter, r *http.Request, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write([]byte(text))
	}
}

func ownJSON(w http.ResponseWriter, r *http.Request, status int, value any) {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		panic(err) // structs of strings
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(append(text, '\n'))
	}
}

// A probe finds out whether a store can be written. What it found holds for a
// while, and those who ask meanwhile share one attempt.
type probe struct {
	mu   sync.Mutex
	last *attempt // guarded by mu
}

const (
	probeHolds = 2 * time.Second
	probeWaits = 5 * time.Second // a disk that hangs is no disk
)

type attempt struct {
	begun time.Time
	done  chan struct{} // closed when err is known
	err   error
}

func (p *probe) check(ctx context.Context, to store.Store) error {
	p.mu.Lock()
	a := p.last
	if a == nil || a.over() && time.Since(a.begun) > probeHolds {
		a = &attempt{begun: time.Now(), done: make(chan struct{})}
		p.last = a
		go a.run(to) // ends when the store answers; there is never more than one
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, probeWaits)
	defer cancel()
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *attempt) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// run writes a byte that is never committed, of content too long for a store to
// hold it in memory first. A full store is still one: answers pass through it.
func (a *attempt) run(to store.Store) {
	defer close(a.done)
	draft, err := to.Draft(context.Background(), 1<<20)
	if err == nil {
		_, err = draft.WriteAt([]byte{0}, 0)
		draft.Close()
	}
	if !errors.Is(err, store.ErrFull) {
		a.err = err
	}
}
