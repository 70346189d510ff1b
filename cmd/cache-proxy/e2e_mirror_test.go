//go:build e2e

package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A mirror serves a directory as any web server does, until it is stopped or
// dies. Two mirrors of one directory have the same files.
type mirror struct {
	url    string // without a trailing slash
	dir    string
	files  http.Handler
	server *http.Server

	mu      sync.Mutex
	hits    map[string]int                // guarded by mu; GETs by path, decoded
	special map[string][]http.HandlerFunc // guarded by mu; what answers the next requests of a path
}

func newMirror(t *testing.T, dir string) *mirror {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := &mirror{
		url:     "http://" + l.Addr().String(),
		dir:     dir,
		files:   http.FileServer(http.Dir(dir)),
		hits:    map[string]int{},
		special: map[string][]http.HandlerFunc{},
	}
	m.server = &http.Server{Handler: m, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.server.Serve(l)
	}()
	t.Cleanup(func() {
		m.stop()
		<-done
	})
	return m
}

// ServeHTTP implements [http.Handler].
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	h := m.files
	if r.Method == http.MethodGet {
		m.hits[r.URL.Path]++
		if next := m.special[r.URL.Path]; len(next) > 0 {
			h, m.special[r.URL.Path] = next[0], next[1:]
		}
	}
	m.mu.Unlock()
	h.ServeHTTP(w, r)
}

// stop closes the port and every connection, in mid-transfer too.
func (m *mirror) stop() { m.server.Close() }

// asked is how often a path was.
func (m *mirror) asked(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hits[path]
}

// next lets h answer the next request of path that has no other plan.
func (m *mirror) next(path string, h http.HandlerFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.special[path] = append(m.special[path], h)
}

// dies sends half a file, then the whole mirror is gone.
func (m *mirror) dies(w http.ResponseWriter, r *http.Request) {
	m.half(w, r)
	m.stop()
	panic(http.ErrAbortHandler)
}

// late answers when the other mirrors have had their chance.
func (m *mirror) late(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(500 * time.Millisecond):
		m.files.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

// waits sends half a file, and the rest after release is closed.
func (m *mirror) waits(release <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rest := m.half(w, r)
		select {
		case <-release:
			w.Write(rest)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// half sends the first half of a file and returns the other.
func (m *mirror) half(w http.ResponseWriter, r *http.Request) []byte {
	content, err := os.ReadFile(filepath.Join(m.dir, filepath.FromSlash(r.URL.Path)))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content[:len(content)/2])
	w.(http.Flusher).Flush()
	return content[len(content)/2:]
}
