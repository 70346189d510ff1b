package hub

import (
	"net/netip"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A set is what is remembered of one, by the path of its root.
type set struct {
	used        int64 // by clock
	current     exchange.Digest
	publication int                  // counts them
	with        []string             // companions of the published root
	hot         map[string]int       // members that clients used, and in which publication
	since, last time.Time            // a new root has been waiting since, and was looked at last
	behind      map[string]time.Time // mirrors that had an older root, and when
	validations int
	toured      []string  // mirrors that were asked on a tour of all of them
	forced      time.Time // the last validation that a missing member made
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
func (g *Generations) keep(path string, digest exchange.Digest, root *Root) *Generation {
	gen := &Generation{Root: root, Path: path, Digest: digest, names: make(map[exchange.Digest]string, len(root.Members))}
	for name, f := range root.Members {
		if old, ok := gen.names[f.Digest]; !ok || name < old {
			gen.names[f.Digest] = name
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.setLocked(path)
	if len(g.roots) >= maxRoots {
		var oldest rootKey
		for k, r := range g.roots {
			if o := g.roots[oldest]; o == nil || r.used < o.used {
				oldest = k
			}
		}
		delete(g.roots, oldest)
	}
	g.clock++
	g.roots[rootKey{path, digest}] = &kept{gen, g.clock}
	return gen
}

// read is a root that is remembered.
func (g *Generations) read(path string, digest exchange.Digest) *Generation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.readLocked(path, digest)
}

func (g *Generations) readLocked(path string, digest exchange.Digest) *Generation {
	r := g.roots[rootKey{path, digest}]
	if r == nil {
		return nil
	}
	g.clock++
	r.used = g.clock
	return r.generation
}

// setLocked is the set of a root, made if it is not there.
func (g *Generations) setLocked(root string) *set {
	g.clock++
	s := g.sets[root]
	if s == nil {
		if len(g.sets) >= maxSets {
			oldest := ""
			for name, s := range g.sets {
				if o := g.sets[oldest]; o == nil || s.used < o.used {
					oldest = name
				}
			}
			delete(g.sets, oldest)
		}
		s = &set{hot: map[string]int{}, behind: map[string]time.Time{}}
		g.sets[root] = s
	}
	s.used = g.clock
	return s
}

// give remembers which root a client has, and that it is the current one.
func (g *Generations) give(client exchange.Client, root string, p pin) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.setLocked(root).current = p.digest
	if !client.Addr.IsValid() {
		return
	}
	if len(g.pins) >= maxPins {
		looked := 0
		for k, old := range g.pins { // in random order: whoever is old goes, and somebody in any case
			if looked++; looked == 1 || p.at.Sub(old.at) >= pinTime {
				delete(g.pins, k)
			}
			if looked == 8 {
				break
			}
		}
	}
	g.pins[pinned{client.Addr, root}] = p
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
func (g *Generations) heat(root, member string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.setLocked(root)
	if _, ok := s.hot[member]; ok || len(s.hot) < maxHot {
		s.hot[member] = s.publication
	}
}

// hotMembers are the members that clients have used since the last publication
// but one.
func (g *Generations) hotMembers(root string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.setLocked(root)
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
