package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// wasRoot begins the variant under which a root stays in the cache after another
// one has taken its place; its digest follows.
const wasRoot = "was "

// rootWas is the request for a root by its digest.
func rootWas(req *exchange.Request, digest exchange.Digest) *exchange.Request {
	req = req.Clone()
	req.Key.Variant = wasRoot + string(digest)
	req.Policy = freshness.Policy{Class: freshness.Mutable, TTL: freshness.Forever}
	return req
}

// former answers for a root by its digest, which only publish has, or unstored.
func (t *gate) former(req *exchange.Request) (*exchange.Response, error) {
	t.mu.Lock()
	c := t.prepared[req.Key]
	if c == nil {
		c = t.unstored[req.Key]
	}
	t.mu.Unlock()
	if c == nil {
		return nil, &exchange.Error{Status: http.StatusServiceUnavailable, Message: "this index is gone"}
	}
	return c.response(), nil
}

// regain is a root that is not older than the one with this digest, which clients
// have been given: what the cache has is, since the other could not be stored or
// is gone. That one is looked for by its digest, or else upstream is asked again.
func (g *Generations) regain(ctx context.Context, next exchange.Source, req *exchange.Request, digest exchange.Digest) (*exchange.Response, *Generation, error) {
	again := *req
	again.Policy.TTL, again.Policy.StaleWhileRevalidate = 0, 0
	asks := []*exchange.Request{&again}
	if g.format.Read != nil {
		asks = []*exchange.Request{rootWas(req, digest), &again}
	}
	for _, ask := range asks {
		resp, err := next.Get(ctx, ask)
		if err != nil {
			continue
		}
		if resp.Entry.Status == http.StatusOK {
			if gen := g.generation(resp); gen != nil && g.advance(gen) == "" {
				return resp, gen, nil
			}
		}
		resp.Body.Close()
	}
	return nil, nil, errLost()
}

// ErrLost says that what clients have been given of a set is not to be had any more.
var ErrLost = errors.New("a newer one was served, and is lost")

func errLost() error {
	return &exchange.Error{Status: http.StatusServiceUnavailable, RetryAfter: retryTime,
		Message: "what is at hand of this index is older than what was served", Err: ErrLost}
}

// recall is a root that was published, from memory or from the cache; nil if it
// is in neither.
func (g *Generations) recall(ctx context.Context, next exchange.Source, path string, digest exchange.Digest) *Generation {
	if gen := g.read(path, digest); gen != nil {
		return gen
	}
	if g.format.Read == nil {
		return g.keep(path, digest, &Root{}) // its companions are all there is to it
	}
	resp, err := next.Get(ctx, rootWas(g.format.Request(path), digest))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if resp.Entry.Status != http.StatusOK || resp.Entry.Digest != "" && resp.Entry.Digest != digest {
		return nil
	}
	root, err := g.format.Read(path, io.LimitReader(resp.Body, maxRoot))
	if err != nil {
		return nil
	}
	return g.keep(path, digest, root)
}

// A state is what of a [Memory] outlives the process. What is left out is in the
// cache, or is learned again soon.
type state struct {
	Sets []setState `json:"sets"`
	Pins []pinState `json:"pins"`
}

type setState struct {
	Root        string          `json:"root"`
	Current     exchange.Digest `json:"current"`
	Publication int             `json:"publication"`
	With        []string        `json:"with,omitempty"`
	Hot         map[string]int  `json:"hot,omitempty"`
	Latest      exchange.Digest `json:"latest,omitempty"`
	Order       int64           `json:"order,omitempty"`
	Given       time.Time       `json:"given,omitzero"`
}

type pinState struct {
	Client netip.Addr      `json:"client"`
	Root   string          `json:"root"`
	Digest exchange.Digest `json:"digest"`
	At     time.Time       `json:"at"`
	Early  bool            `json:"early,omitempty"`
	With   []string        `json:"with,omitempty"`
}

// Save has the state saved. A client's root is in it from the next publication
// on, which is when it begins to matter, or from Save.
func (m *Memory) Save() {
	if m.save == nil {
		return
	}
	m.saving.Lock()
	defer m.saving.Unlock()
	all := m.state()
	if len(all.Sets) == 0 {
		return
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	m.save(text)
}

func (m *Memory) state() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all state
	for root, s := range m.sets {
		hot := make(map[string]int, len(s.hot))
		for name, publication := range s.hot {
			hot[name] = publication
		}
		all.Sets = append(all.Sets, setState{root, s.current, s.publication, slices.Clone(s.with), hot, s.latest.digest, s.latest.order, s.latest.at})
	}
	slices.SortFunc(all.Sets, func(a, b setState) int { return cmp.Compare(m.sets[a.Root].used, m.sets[b.Root].used) })
	for k, p := range m.pins {
		all.Pins = append(all.Pins, pinState{k.client, k.root, p.digest, p.at, p.early, slices.Clone(p.with)})
	}
	return all
}

// Restore takes over a state that was saved, within the bounds of what is
// remembered. It is for a new Memory.
func (m *Memory) Restore(text []byte) error {
	var all state
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, from := range all.Sets {
		s := m.setLocked(from.Root)
		s.current, s.publication, s.with = from.Current, from.Publication, from.With
		s.latest = latest{from.Latest, from.Order, from.Given}
		for name, publication := range from.Hot {
			if len(s.hot) < maxHot {
				s.hot[name] = publication
			}
		}
	}
	for _, p := range all.Pins {
		if p.Client.IsValid() && len(m.pins) < maxPins {
			m.pins[pinned{p.Client, p.Root}] = pin{p.Digest, p.At, p.Early, p.With}
		}
	}
	return nil
}
