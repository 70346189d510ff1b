package cacheproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/oci"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// A Bench says what MeasureMirrors measures.
type Bench struct {
	Hub   string   // "" is every hub
	Paths []string // below the mount; none: those that mirrors were last found to have
	Size  int64    // bytes of each, at most; 0: 4 MiB

	// Started hears what is about to be measured: so many bytes at most. Read hears
	// of bytes as they come, Done of each result. None of them may be nil.
	Started func(bytes int64)
	Read    func(n int)
	Done    func(Measured)
}

// A Measured is what one mirror of a hub did when it was asked for one path.
type Measured struct {
	Hub string `json:"hub"`
	upstream.Measurement
}

const (
	benchSize  = 4 << 20
	benchPaths = 3 // of a hub, where none are given
)

// MeasureMirrors asks every mirror of cfg's hubs for a little, one after another
// and over a connection of its own each, with its credentials and limits, and
// whether a server runs or not. It needs no store and changes nothing.
func MeasureMirrors(ctx context.Context, cfg *Config, o Options, b Bench) error {
	if b.Size <= 0 {
		b.Size = benchSize
	}
	type work struct {
		group *upstream.Group
		hub   string
		paths []string
	}
	s := &Server{options: o, via: "cache-proxy-bench"}
	var all []work
	defer func() {
		for _, w := range all {
			w.group.Close()
		}
	}()
	total, found := int64(0), false
	for _, h := range cfg.Served() {
		if b.Hub != "" && b.Hub != h.Name {
			continue
		}
		found = true
		paths := b.Paths
		if len(paths) == 0 {
			paths = samples(cfg, h.Name)
		}
		if len(paths) == 0 {
			continue
		}
		g, err := s.benchGroup(cfg, &h)
		if err != nil {
			return fmt.Errorf("hub %s: %w", h.Name, err)
		}
		all = append(all, work{g, h.Name, paths})
		total += int64(len(h.Upstream)*len(paths)) * b.Size
	}
	switch {
	case !found:
		return fmt.Errorf("no hub %q in the configuration", b.Hub)
	case len(all) == 0:
		return errors.New("nothing is known that mirrors have: name a path, or let clients ask the server for something first")
	}
	b.Started(total)
	for _, w := range all {
		if err := w.group.Measure(ctx, w.paths, b.Size, b.Read, func(m upstream.Measurement) { b.Done(Measured{w.hub, m}) }); err != nil {
			return err
		}
	}
	return nil
}

// benchGroup is a hub's mirrors, as a server would ask them.
func (s *Server) benchGroup(cfg *Config, h *Hub) (*upstream.Group, error) {
	options := s.upstreamOptions(cfg, h)
	for i := range h.Upstream {
		m, err := newMirror(&h.Upstream[i])
		if err != nil {
			return nil, fmt.Errorf("upstream[%d]: %w", i, err)
		}
		if h.Module() == HubOCI {
			m.Wrap = oci.Authorize(h.Options.AuthHosts, h.Upstream[i].accounts(), time.Now)
		}
		options.Mirrors = append(options.Mirrors, m)
	}
	return upstream.New(options)
}

// samples are paths that the mirrors of a hub were found to have.
func samples(cfg *Config, hub string) []string {
	all, err := Standings(cfg)
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(all, func(s Standing) bool { return s.Hub == hub && isMember(s.Origin) })
	if i < 0 {
		return nil
	}
	var paths []string
	for _, s := range all[i].Samples {
		if len(paths) < benchPaths {
			paths = append(paths, s.Path)
		}
	}
	return paths
}
