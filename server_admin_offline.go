package cacheproxy

import (
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/admin"
)

// An offline says which hubs serve only what is here: what the configuration says,
// or operators have said since.
type offline struct {
	hubs atomic.Pointer[map[string]bool] // that are; never nil once a revision is in force

	mu   sync.Mutex
	said map[string]bool // by operators, of hubs; "" is all; guarded by mu
}

// of reports whether a hub is. It is asked for each request.
func (o *offline) of(hub string) bool {
	hubs := o.hubs.Load()
	return hubs != nil && len(*hubs) > 0 && (*hubs)[hub]
}

// apply puts what has been said in force, for the hubs of a configuration.
func (o *offline) apply(c *Config) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.applyLocked(c)
}

func (o *offline) applyLocked(c *Config) {
	hubs := map[string]bool{}
	for _, h := range c.Served() {
		if o.switched("", c.Offline) || o.switched(h.Name, h.Offline) {
			hubs[h.Name] = true
		}
	}
	o.hubs.Store(&hubs)
}

// switched is what operators have said of a hub, else otherwise.
func (o *offline) switched(hub string, otherwise bool) bool {
	if said, ok := o.said[hub]; ok {
		return said
	}
	return otherwise
}

// set is what an operator says of a hub, or of all: "". It holds for as long as
// the process runs.
func (o *offline) set(c *Config, hub string, offline bool) error {
	if hub != "" && !c.serves(hub) {
		return fmt.Errorf("no hub %q: %w", hub, fs.ErrNotExist)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.said == nil {
		o.said = map[string]bool{}
	}
	o.said[hub] = offline
	o.applyLocked(c)
	return nil
}

// state is what holds now.
func (o *offline) state(c *Config) admin.OfflineState {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := admin.OfflineState{All: o.switched("", c.Offline), Hubs: map[string]bool{}}
	for _, h := range c.Served() {
		s.Hubs[h.Name] = false
	}
	maps.Copy(s.Hubs, *o.hubs.Load())
	return s
}

// serves reports whether there is a hub of that name.
func (c *Config) serves(name string) bool {
	for _, h := range c.Served() {
		if h.Name == name {
			return true
		}
	}
	return false
}
