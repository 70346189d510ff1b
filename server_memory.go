package cacheproxy

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// memories are what hubs remember beside the store, each in a file: of generations,
// and of hosts that they have learned. They outlive revisions, and by their files
// the process.
type memories struct {
	dir string // .meta
	log *slog.Logger

	mu  sync.Mutex
	hub map[string]*hub.Memory

	paused atomic.Bool // the files are another process's
}

func openMemories(data string, log *slog.Logger) *memories {
	return &memories{dir: filepath.Join(data, ".meta"), log: log, hub: map[string]*hub.Memory{}}
}

// of is what a hub remembers of generations.
func (m *memories) of(name string) *hub.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.hub[name]; known != nil {
		return known
	}
	own := hub.NewMemory(func(state []byte) { m.write("generations", name, state) })
	if state := m.read("generations", name); state != nil {
		if err := own.Restore(state); err != nil {
			m.log.Warn("generations begin anew", "hub", name, "err", err)
		}
	}
	m.hub[name] = own
	return own
}

// learned are the hosts that a hub has learned.
func (m *memories) learned(name string, allowed func(link *url.URL) bool) *hub.Learned {
	own, err := hub.NewLearned(m.read("learned", name), allowed, func(state []byte) { m.write("learned", name, state) })
	if err != nil {
		m.log.Warn("hosts are learned anew", "hub", name, "err", err)
	}
	return own
}

// read is what was written of a hub; nil if that is nothing.
func (m *memories) read(kind, name string) []byte {
	text, err := os.ReadFile(filepath.Join(m.dir, kind, name+".json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("what was remembered cannot be read", "of", kind, "hub", name, "err", err)
	}
	return text
}

// pause leaves the files to another process, or takes them back.
func (m *memories) pause(paused bool) { m.paused.Store(paused) }

// write replaces a file, so that a reader sees the old or the new one.
func (m *memories) write(kind, name string, state []byte) {
	if m.paused.Load() {
		return
	}
	file := filepath.Join(m.dir, kind, name+".json")
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file+".new", state, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		m.log.Warn("what is to be remembered cannot be written", "of", kind, "hub", name, "err", err)
	}
}

// save is for the end.
func (m *memories) save() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, own := range m.hub {
		own.Save()
	}
}
