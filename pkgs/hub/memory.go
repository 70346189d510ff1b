package hub

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Memory is what [Generations] remember. It may be handed from one to the next
// that is made for the same hub, and be used by both meanwhile.
type Memory struct {
	save func(state []byte) // nil: nothing outlives the process

	mu       sync.Mutex // guards all that follows; nothing slow is done under it
	sets     map[string]*set
	pins     map[pinned]pin
	roots    map[rootKey]*kept
	prepared map[exchange.Key]*companion // on their way into the cache
	unstored map[exchange.Key]*companion // published roots that the cache could not store: the last of a set, maxUnstored bytes in all
	clock    int64                       // counts uses of sets and roots

	saving sync.Mutex // held while save is called; before mu
}

// NewMemory remembers nothing yet. save, if there is one, is called with the
// state after each publication and by [Memory.Save], never twice at once; what
// it was given last is for [Memory.Restore] of a later process.
func NewMemory(save func(state []byte)) *Memory {
	return &Memory{
		save:     save,
		sets:     map[string]*set{},
		pins:     map[pinned]pin{},
		roots:    map[rootKey]*kept{},
		prepared: map[exchange.Key]*companion{},
		unstored: map[exchange.Key]*companion{},
	}
}

// A set is what is remembered of one, by the path of its root.
type set struct {
	used        int64 // by clock
	current     exchange.Digest
	publication int                  // counts them
	with        []string             // companions of the published root
	hot         map[string]int       // members that clients used, and in which publication
	since, last time.Time            // a new root has been waiting since, and was looked at last
	behind      map[string]time.Time // mirrors that had an older root, and when
	latest      latest
	validations int
	toured      []string      // mirrors that were asked on a tour of all of them
	forced      time.Time     // the last validation that a missing member made
	settle      time.Time     // when the companions of the published root are looked at again
	pause       time.Duration // between that and the last time
}

// A latest is the newest root of a set that a client was given. Whatever becomes
// of it in the cache, clients are given no older one for a day.
type latest struct {
	digest exchange.Digest
	order  int64
	at     time.Time
}

// A pin is the root that a client was given.
type pin struct {
	digest exchange.Digest
	at     time.Time
	early  bool     // it was given a companion, and has yet to ask the root
	with   []string // companions that it was given
}

type pinned struct {
	client netip.Addr
	root   string
}

type rootKey struct {
	path   string
	digest exchange.Digest
}

type kept struct {
	generation *Generation
	used       int64
}

// keep remembers a root that was read, and that its set is there.
func (m *Memory) keep(path string, digest exchange.Digest, root *Root) *Generation {
	gen := &Generation{Root: root, Path: path, Digest: digest, names: make(map[exchange.Digest]string, len(root.Members))}
	for name, f := range root.Members {
		if old, ok := gen.names[f.Digest]; !ok || name < old {
			gen.names[f.Digest] = name
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setLocked(path)
	if len(m.roots) >= maxRoots {
		var oldest rootKey
		for k, r := range m.roots {
			if o := m.roots[oldest]; o == nil || r.used < o.used {
				oldest = k
			}
		}
		delete(m.roots, oldest)
	}
	m.clock++
	m.roots[rootKey{path, digest}] = &kept{gen, m.clock}
	return gen
}

// read is a root that is remembered.
func (m *Memory) read(path string, digest exchange.Digest) *Generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readLocked(path, digest)
}

func (m *Memory) readLocked(path string, digest exchange.Digest) *Generation {
	r := m.roots[rootKey{path, digest}]
	if r == nil {
		return nil
	}
	m.clock++
	r.used = m.clock
	return r.generation
}

// setLocked is the set of a root, made if it is not there.
func (m *Memory) setLocked(root string) *set {
	m.clock++
	s := m.sets[root]
	if s == nil {
		if len(m.sets) >= maxSets {
			oldest := ""
			for name, s := range m.sets {
				if o := m.sets[oldest]; o == nil || s.used < o.used {
					oldest = name
				}
			}
			delete(m.sets, oldest)
		}
		s = &set{hot: map[string]int{}, behind: map[string]time.Time{}}
		m.sets[root] = s
	}
	s.used = m.clock
	return s
}

// give remembers which root a client has, and that it is the current one.
func (m *Memory) give(client exchange.Client, root string, p pin) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setLocked(root).current = p.digest
	if !client.Addr.IsValid() {
		return
	}
	if len(m.pins) >= maxPins {
		looked := 0
		for k, old := range m.pins { // in random order: whoever is old goes, and somebody in any case
			if looked++; looked == 1 || p.at.Sub(old.at) >= pinTime {
				delete(m.pins, k)
			}
			if looked == 8 {
				break
			}
		}
	}
	m.pins[pinned{client.Addr, root}] = p
}

// advance remembers that gen is given to a client, unless a newer one has been:
// then it returns that one's digest.
func (g *Generations) advance(gen *Generation) (newer exchange.Digest) {
	if newer = g.newer(gen); newer == "" && gen.Order != 0 {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.setLocked(gen.Path).latest = latest{gen.Digest, gen.Order, g.now()}
	}
	return newer
}

// newer is a root that a client was given and gen is older than; "" if there is none.
func (g *Generations) newer(gen *Generation) exchange.Digest {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.setLocked(gen.Path).latest; gen.Order != 0 && gen.Order < l.order && g.now().Sub(l.at) < latestTime {
		return l.digest
	}
	return ""
}

// newest is the order of the newest root that a client was given within a day;
// 0 if there is none.
func (g *Generations) newest(root string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.setLocked(root).latest; g.now().Sub(l.at) < latestTime {
		return l.order
	}
	return 0
}

// pin is the root that a client was given within a time.
func (g *Generations) pin(client exchange.Client, root string, within time.Duration) (pin, bool) {
	if !client.Addr.IsValid() {
		return pin{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.pins[pinned{client.Addr, root}]
	return p, ok && g.now().Sub(p.at) < within
}

// heat remembers that a client has used a member.
func (m *Memory) heat(root, member string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.setLocked(root)
	if _, ok := s.hot[member]; ok || len(s.hot) < maxHot {
		s.hot[member] = s.publication
	}
}

// hotMembers are the members that clients have used since the last publication
// but one.
func (m *Memory) hotMembers(root string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.setLocked(root)
	var names []string
	for name, publication := range s.hot {
		if s.publication-publication > 1 {
			delete(s.hot, name)
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// avoid are the mirrors that are not asked for a root. Those that are behind are
// not; and every other validation is a tour, which leaves out who has been asked
// in one, until all have been. Without that a mirror that is fast and never
// updated would hold all others back (FAULTS B42).
func (t *gate) avoid(root string, old *exchange.Entry) (names []string, tour bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := t.setLocked(root), t.now()
	for name, at := range s.behind {
		if now.Sub(at) < behindTime {
			names = append(names, name)
		} else {
			delete(s.behind, name)
		}
	}
	if old == nil || t.mirrors < 2 {
		return names, false
	}
	if s.validations++; s.validations%2 == 1 {
		return names, false
	}
	return append(names, s.toured...), true
}

// toured remembers that a mirror was asked on a tour; "" ends it.
func (t *gate) toured(root, mirror string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.setLocked(root)
	if mirror != "" && !slices.Contains(s.toured, mirror) {
		s.toured = append(s.toured, mirror)
	}
	if mirror == "" || len(s.toured) >= t.mirrors {
		s.toured = nil
	}
}

// fellBehind remembers a mirror that has an older root than is published.
func (t *gate) fellBehind(root, mirror string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.setLocked(root); len(s.behind) < t.mirrors {
		s.behind[mirror] = t.now()
	}
}

// had says whether the published root has a companion, as far as that is remembered.
func (t *gate) had(root, companion string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.setLocked(root).with, companion)
}
