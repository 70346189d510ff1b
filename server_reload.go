package cacheproxy

import (
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/httplog"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/recover"
)

// A revision is a configuration and what is made of it alone. It does not change.
// A request keeps the one that it began with; one that is not current any more
// ends with the last request that has it.
type revision struct {
	number  int64 // 1 is the first of the process
	begun   time.Time
	config  *Config
	hubs    []*mounted   // in the configuration's order
	filters []*installed // likewise
	handler http.Handler // of all requests
	welcome http.Handler // of those for the proxy's own page and script
	hot     *front.Table // answers that are ready under it; nil: none are kept
	door    *door        // that new connections come in by
	tls     *security    // of inlets that speak it; nil: none does
	holders atomic.Int64 // requests, and one while it is current; 0: over
}

// hub is the one of that name; nil if there is none.
func (r *revision) hub(name string) *mounted {
	for _, m := range r.hubs {
		if m.config.Name == name {
			return m
		}
	}
	return nil
}

func (r *revision) drop() {
	if r.holders.Add(-1) == 0 {
		r.end()
	}
}

// end lets go of what the revision holds.
func (r *revision) end() {
	for _, m := range r.hubs {
		m.drop()
	}
	r.uninstall() // what they could not write they have said
}

// revision is the current one. Who does more than look at it uses hold.
func (s *Server) revision() *revision { return s.current.Load() }

// hold is the current revision, until it is dropped; nil once the server is closed.
func (s *Server) hold() *revision {
	for {
		r := s.current.Load()
		if hold(&r.holders) {
			return r
		}
		if s.current.Load() == r {
			return nil
		}
	}
}

// revise makes the revision that follows the current one, and changes nothing
// else. Callers hold reloading, or nobody knows the server yet.
func (s *Server) revise(cfg *Config) (_ *revision, err error) {
	old := s.revision()
	r := &revision{number: 1, begun: s.options.Now(), config: cfg}
	if old != nil {
		r.number = old.number + 1
	}
	r.holders.Store(1)
	r.hot = s.newTable(cfg)
	defer func() {
		if err != nil {
			r.end()
		}
	}()
	if r.tls, err = secure(cfg, old); err != nil {
		return nil, err
	}
	r.door = s.door(cfg, old.entrance())
	if r.filters, err = s.install(cfg, old); err != nil {
		return nil, err
	}
	routes := &routes{}
	for _, h := range cfg.Served() {
		var before *mounted
		if old != nil {
			before = old.hub(h.Name)
		}
		m, err := s.mount(cfg, &h, before)
		if err != nil {
			return nil, err
		}
		r.hubs = append(r.hubs, m)
		routes.add(s.target(cfg, m, r.hot, r.flow(m)))
	}
	routes.none = s.nowhere(cfg)
	r.welcome = s.welcome(cfg)
	var h http.Handler = http.HandlerFunc(dispatch)
	if cfg.Log.Access {
		h = httplog.New(s.log, attributes)(h)
	}
	h = s.tracing(h)
	h = handlerctx.New(s.match(r, routes))(h)
	r.handler = recover.New(s.log)(h)
	return r, nil
}

// begin puts a revision in force.
func (s *Server) begin(r *revision) {
	s.rate.Set(int64(r.config.Limits.rateAt(time.Now())))
	for _, m := range r.hubs {
		for n, part := range m.parts {
			for i, b := range m.lines[n].buckets {
				b.Set(int64(m.config.Upstream[part.upstream[i]].Rate))
			}
		}
	}
	s.offline.apply(r.config)
	if level := s.options.Level; level != nil {
		level.Set(slog.Level(r.config.Log.Level))
	}
	before := s.revision().entrance()
	if r.door != before {
		s.doors.add(r.door)
		if s.running {
			r.door.open()
		}
	}
	old := s.current.Swap(r)
	s.hot.Store(r.hot) // before it, requests under r published for nobody yet
	if old != nil {
		old.drop()
	}
	if before != nil && before != r.door {
		before.replace()
	}
}

// entrance is the door of a revision, if there is one.
func (r *revision) entrance() *door {
	if r == nil {
		return nil
	}
	return r.door
}

// Reload puts a configuration in force while requests go on: those under way end
// under the one that they began with. What a hub and its mirrors have in common
// before and after stays as it is: connections, records, transfers. If there is
// an error, which may be [Problems], nothing has changed. cfg is not modified.
func (s *Server) Reload(cfg *Config) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.closed || s.draining.Load() {
		return errors.New("the server is stopping")
	}
	old := s.revision()
	if err := unchangeable(old.config, cfg); err != nil {
		return err
	}
	r, err := s.revise(cfg)
	if err != nil {
		return err
	}
	var opened, gone []*inlet
	if s.running {
		if opened, gone, err = s.open(cfg); err != nil {
			err = cfg.Problem("listen", err.Error())
		}
	}
	commit := func() {}
	if err == nil && s.options.Prepare != nil {
		commit, err = s.options.Prepare(cfg)
	}
	if err != nil {
		for _, p := range opened {
			p.Close()
		}
		r.drop()
		return err
	}
	commit()
	s.begin(r)
	s.attach(opened)
	s.detach(gone)
	s.log.Info("configuration in force", "revision", r.number, "hubs", len(r.hubs))
	return nil
}

// Reread is Reload with what Options.Load reads.
func (s *Server) Reread() error {
	if s.options.Load == nil {
		return errors.New("there is no configuration to read again")
	}
	s.rereading.Lock() // or what was read before could be put in force after
	defer s.rereading.Unlock()
	cfg, warnings, err := s.options.Load()
	for _, w := range warnings {
		s.log.Warn(w.String())
	}
	if err != nil {
		return err
	}
	return s.Reload(cfg)
}

const unchanging = "cannot be changed while the server runs: restart it"

// unchangeable is what of two configurations cannot be different while the server runs.
func unchangeable(old, cfg *Config) error {
	var problems Problems
	fixed := func(path string, same bool) {
		if !same {
			problems = append(problems, cfg.Problem(path, unchanging))
		}
	}
	was, is := &old.Storage, &cfg.Storage
	fixed("storage.type", was.Type == is.Type)
	fixed("storage.local.path", was.Local.Path == is.Local.Path)
	fixed("storage.local.temporary-file-pattern", was.Local.TemporaryFilePattern == is.Local.TemporaryFilePattern)
	fixed("storage.local.max-size", was.Local.MaxSize == is.Local.MaxSize)
	fixed("storage.local.min-free", was.Local.MinFree == is.Local.MinFree)
	fixed("storage.local.durability", was.Local.Durability == is.Local.Durability)
	fixed("misc.chunk-bytes", old.Misc.ChunkBytes == cfg.Misc.ChunkBytes)
	fixed("admin.listen", old.Admin.Listen == cfg.Admin.Listen)
	fixed("traces", reflect.DeepEqual(old.Traces, cfg.Traces))
	fixed("limits.object", old.Limits.Object == cfg.Limits.Object)
	if len(problems) == 0 {
		return nil
	}
	return problems
}
