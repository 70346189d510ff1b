package cacheproxy

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// memories are what hubs remember of generations, each in a file beside the
// store. They outlive revisions, and by their files the process.
type memories struct {
	dir string
	log *slog.Logger

	mu  sync.Mutex
	hub map[string]*hub.Memory
}

func openMemories(data string, log *slog.Logger) *memories {
	return &memories{dir: filepath.Join(data, ".meta", "generations"), log: log, hub: map[string]*hub.Memory{}}
}

// of is a hub's.
func (m *memories) of(name string) *hub.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.hub[name]; known != nil {
		return known
	}
	file := filepath.Join(m.dir, name+".json")
	own := hub.NewMemory(func(state []byte) {
		if err := m.write(file, state); err != nil {
			m.log.Warn("generations are not remembered", "hub", name, "err", err)
		}
	})
	text, err := os.ReadFile(file)
	if err == nil {
		err = own.Restore(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("generations begin anew", "hub", name, "err", err)
	}
	m.hub[name] = own
	return own
}

// write replaces a file, so that a reader sees the old or the new one.
func (m *memories) write(file string, state []byte) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", state, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (m *memories) save() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, own := range m.hub {
		own.Save()
	}
}
