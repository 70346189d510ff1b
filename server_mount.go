package cacheproxy

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// A mounted is a hub with its mirrors, as far as it does not depend on the mount.
// Revisions that mean the same by it share it, and what it remembers.
type mounted struct {
	config *Hub
	module hub.Hub         // what the type says, or files
	hub    hub.Hub         // module, or what falls back from it
	source exchange.Source // the chain behind the edge
	cached exchange.Source // of it, what is behind the hub's rewriting
	lines  []*line         // its mirrors, member by member, and then its second hosts by name
	parts  []part          // its members, as the first lines are; one if it has none

	members *upstream.Members // nil: its mirrors all have the same content

	learned   *hub.Learned   // second hosts that its indexes taught; nil: none are learned
	redirects *regexp.Regexp // where those may be; nil: anywhere
}

// mount makes the hub that c describes, with the server's store and cache. If
// that is what old is (nil: there was none of that name), it is old.
func (s *Server) mount(cfg *Config, c *Hub, old *mounted) (_ *mounted, err error) {
	m := &mounted{config: c}
	defer func() {
		if err != nil {
			m.drop()
			err = fmt.Errorf("hub %s: %w", c.Name, err)
		}
	}()
	if err := s.connect(m, cfg, old); err != nil {
		return m, err
	}
	if m.same(old) {
		m.drop()
		old.hold()
		return old, nil
	}
	members, err := newMembers(c)
	if err != nil {
		return m, err
	}
	options := hub.Options{
		Name:     c.Name,
		Policies: newPolicies(&c.Cache),
		Files:    map[string]*url.URL{},
		Cache:    s.wrap(m),
		Spool:    s.spool,
		Memory:   s.memories.of(c.Name),
		Members:  members,
		Saw:      m.saw,
		Ledger:   s.ledger,
		Log:      s.log,
		Now:      s.options.Now,
	}
	for i := range c.Upstream {
		options.Mirrors = append(options.Mirrors, c.Upstream[i].Server.URL)
	}
	for alias, base := range c.Options.Files {
		options.Files[alias] = base.URL
	}
	if c.Options.LearnFiles && c.Module() == c.Type {
		m.redirects = redirects(c)
		m.learned = s.memories.learned(c.Name, m.admits)
		options.Learned = m.learned
	}
	if m.module, err = hubs[c.Module()].new(options, &c.Options); err != nil {
		return m, err
	}
	m.hub = m.module
	if c.Rollout == RolloutDual {
		plain, err := newFiles(options, &c.Options)
		if err != nil {
			return m, err
		}
		m.hub = &dual{module: m.module, files: plain, log: s.log}
	}
	var cached exchange.Source
	again := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		return cached.Get(ctx, req)
	})
	if members != nil {
		m.join(members, again, s.log)
	}
	source := validating(c.Cache.Validation, m.upstream())
	if gate, ok := m.module.(hub.Gatekeeper); ok {
		source = gate.Gate(source, again)
	}
	cached = s.wrap(m)(source)
	m.cached, m.source = cached, m.hub.Rewrite(cached)
	return m, nil
}

// connect gives m its lines: the mirrors', and one for each second host by its alias.
func (s *Server) connect(m *mounted, cfg *Config, old *mounted) error {
	c := m.config
	mirrors := make([]upstream.Mirror, len(c.Upstream))
	for i := range mirrors {
		var err error
		if mirrors[i], err = newMirror(&c.Upstream[i]); err != nil {
			return fmt.Errorf("upstream[%d]: %w", i, err)
		}
	}
	m.parts = partsOf(c.Upstream)
	for _, part := range m.parts {
		want := wanted{perMirror: cfg.Limits.Fills.PerMirror, Options: s.upstreamOptions(cfg, c), origin: part.origin()}
		for _, i := range part.upstream {
			want.Mirrors = append(want.Mirrors, mirrors[i])
		}
		if c.Module() == HubOCI {
			want.authorize, want.authHosts = true, c.Options.AuthHosts
			for _, i := range part.upstream {
				want.accounts = append(want.accounts, c.Upstream[i].accounts())
			}
		}
		l, err := s.line(want, old.line(want.origin))
		if err != nil {
			return err
		}
		m.lines = append(m.lines, l)
	}
	second := map[string]*url.URL{}
	for alias, base := range c.Options.Files {
		second[alias] = base.URL
	}
	for _, db := range c.Options.Sumdb {
		second[db.Name] = db.URL.URL
	}
	for _, alias := range slices.Sorted(maps.Keys(second)) {
		want := wanted{perMirror: cfg.Limits.Fills.PerMirror, Options: s.upstreamOptions(cfg, c), origin: alias}
		want.Mirrors = []upstream.Mirror{{Server: second[alias]}}
		l, err := s.line(want, old.line(alias))
		if err != nil {
			return fmt.Errorf("second host %s: %w", alias, err)
		}
		m.lines = append(m.lines, l)
	}
	return nil
}

// upstream is the source that asks the line, or the members, a request is for.
func (m *mounted) upstream() exchange.Source {
	if m.members != nil {
		return m.members
	}
	return m.seconds()
}

// seconds asks the line a request is for.
func (m *mounted) seconds() exchange.Source {
	origins := make(map[string]exchange.Source, len(m.lines))
	for _, l := range m.lines {
		origins[l.origin] = l
	}
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		source := origins[req.Origin]
		if base := m.learned.Base(req.Origin); source == nil && base != nil {
			return m.second(ctx, req, base)
		}
		if source == nil {
			return nil, fmt.Errorf("no second host %q: %w", req.Origin, fs.ErrNotExist)
		}
		return source.Get(ctx, req)
	})
}

// same says whether old is what m, which has its lines, would become.
func (m *mounted) same(old *mounted) bool {
	return old != nil && slices.Equal(m.lines, old.lines) && reflect.DeepEqual(m.config, old.config)
}

// line is the one of that origin; nil if there is none.
func (m *mounted) line(origin string) *line {
	if m != nil {
		for _, l := range m.lines {
			if l.origin == origin {
				return l
			}
		}
	}
	return nil
}

// hold takes m into one more revision.
func (m *mounted) hold() {
	for _, l := range m.lines {
		l.hold()
	}
}

// drop is the end of what hold began, or mount.
func (m *mounted) drop() {
	for _, l := range m.lines {
		l.drop()
	}
}

func newPolicies(c *Cache) *hub.Policies {
	p := &hub.Policies{Default: freshness.Policy{
		TTL:                  time.Duration(c.Timeout),
		Negative:             time.Duration(c.Negative),
		StaleIfError:         time.Duration(c.StaleIfError),
		StaleWhileRevalidate: time.Duration(c.StaleWhileRevalidate),
		Budget:               time.Duration(c.RevalidateBudget),
	}}
	for _, rule := range c.Policies {
		p.Rules = append(p.Rules, hub.Rule{Match: rule.Match.Regexp, RefreshAfter: time.Duration(rule.RefreshAfter)})
	}
	return p
}

// spool makes files without a name on the store's file system, for races by
// bandwidth; nil: the store has none.
func spool(s store.Store) func() (*os.File, error) {
	if d, ok := s.(interface{ Spool() (*os.File, error) }); ok {
		return d.Spool
	}
	return nil
}
