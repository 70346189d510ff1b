package cacheproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/yaml.v3"
)

// StatusFile is a file that says how everything is, for who looks at files and not
// at the admin listener: YAML, with statuses as GET /api/v1/statuses has them, and
// unixtimestamp, when it was written.
type StatusFile struct {
	Path  string   `yaml:"path"`  // it is replaced whole. Default '': none is written
	Every Duration `yaml:"every"` // default 5s
}

func (d *decoder) statusFile(f *StatusFile) {
	if f.Every <= 0 || f.Every == Never {
		d.reject("status-file.every", "must be more than 0, and end")
	}
}

// A Stated is the status of one thing that has a kind and a name.
type Stated struct {
	Object string `json:"object"` // hub, filter, listener or store
	Kind   string `json:"kind"`   // of those: a hub's type, a filter's kind, a listener's network, a store's type
	Name   string `json:"name"`
	Status any    `json:"status"`
}

// statuses are those of everything. What panics says so as its status, and nothing
// else is the worse for it.
func (s *Server) statuses() []Stated {
	var all []Stated
	state := func(object, kind, name string, status func() any) {
		all = append(all, Stated{object, kind, name, s.shielded(object, name, status)})
	}
	rev := s.revision()
	for _, m := range rev.hubs {
		state("hub", string(m.config.Module()), m.config.Name, func() any { return s.operators.hubStatus(m) })
	}
	for _, f := range rev.filters {
		state("filter", f.Kind, f.Name, func() any { return f.status() })
	}
	for _, l := range s.listeners(rev) {
		state("listener", l.Network, l.Name, func() any { return l })
	}
	state("store", string(rev.config.Storage.Type), rev.config.Storage.Local.Path, func() any { return s.operators.store() })
	return all
}

// shielded is what status says, or that it has panicked.
func (s *Server) shielded(object, name string, status func() any) (v any) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("status panicked", "object", object, "name", name, "panic", fmt.Sprint(p))
			v = map[string]string{"error": fmt.Sprint("panic: ", p)}
		}
	}()
	// What is stated is made into JSON here, so that nothing of it can panic later.
	text, err := json.Marshal(status())
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return json.RawMessage(text)
}

// A ListenerStatus is that of one address.
type ListenerStatus struct {
	Name    string `json:"-"`
	Network string `json:"-"`
	For     string `json:"for"`   // clients or operators
	State   string `json:"state"` // listening, closed
}

func (s *Server) listeners(rev *revision) (all []ListenerStatus) {
	s.reloading.Lock()
	open := map[Address]bool{}
	for _, p := range s.inlets {
		a := p.address
		if a == (Address{}) { // it was given
			a = Address{p.Addr().Network(), p.Addr().String()}
			all = append(all, ListenerStatus{a.Address, a.Network, "clients", "listening"})
			continue
		}
		open[a] = true
	}
	running := s.running
	s.reloading.Unlock()
	given := len(all) > 0
	add := func(a Address, whose string, listening bool) {
		l := ListenerStatus{a.Address, a.Network, whose, "closed"}
		if listening {
			l.State = "listening"
		}
		all = append(all, l)
	}
	if !given {
		for _, a := range rev.config.addresses() {
			add(a, "clients", open[a])
		}
	}
	if a := rev.config.Admin.Listen; a.IsSet() {
		add(a.Address, "operators", running)
	}
	return all
}

// tell writes the status file now and then, until ctx is done.
func (s *Server) tell(ctx context.Context) {
	failed := false
	for {
		f := s.revision().config.StatusFile
		if f.Path != "" {
			err := s.writeStatuses(f.Path)
			if err != nil && !failed {
				s.log.Warn("status file not written", "path", f.Path, "err", err)
			}
			failed = err != nil
		}
		t := time.NewTimer(time.Duration(f.Every))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// writeStatuses replaces the file at path.
func (s *Server) writeStatuses(path string) error {
	text, err := json.Marshal(map[string]any{"statuses": s.statuses(), "unixtimestamp": s.options.Now().Unix()})
	if err != nil {
		return err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil { // JSON is YAML
		return err
	}
	block(&n)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return err
	}
	return replaceFile(path, out.Bytes(), 0o644)
}

// block drops the style that JSON has.
func block(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, c := range n.Content {
		block(c)
	}
}

// replaceFile puts a file in the place of the one at path.
func replaceFile(path string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
