package cacheproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/admin"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/oci"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/recover"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/disk"
)

// operators is what a server has for those who run it: what is counted, and the
// handler of their listener.
type operators struct {
	server  *Server
	started time.Time
	counts  observe.Hubs
	metrics http.Handler
	board   board

	mu       sync.Mutex
	config   *Config // of which handler is; guarded by mu, like all below
	handler  http.Handler
	listener net.Listener // nil: none is served on
	address  Address      // of listener, as configured
	end      func()       // of serving; nil likewise
}

func newOperators(s *Server) *operators {
	a := &operators{server: s, started: s.options.Now()}
	a.metrics = observe.Metrics(observe.Options{
		Version: s.options.Version, Hubs: &a.counts, Groups: a.groups, Store: a.store, Cache: a.cache,
		Dropped: func() int64 { return s.options.Lines.Dropped() },
	})
	return a
}

// Admin is the handler of the admin listener, which Run opens.
func (s *Server) Admin() http.Handler { return s.operators }

// ServeHTTP answers as the configuration in force says.
func (a *operators) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.current().ServeHTTP(w, r)
}

func (a *operators) current() http.Handler {
	cfg := a.server.revision().config
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.config != cfg {
		a.config, a.handler = cfg, a.build(cfg)
	}
	return a.handler
}

// build makes the handler. What else operators may ask or do comes in here.
func (a *operators) build(cfg *Config) http.Handler {
	s := a.server
	return recover.New(s.log)(admin.New(admin.Options{
		Token:    cfg.Admin.Token.Value(),
		Hosts:    cfg.Admin.Hosts,
		Version:  s.options.Version,
		Metrics:  a.metrics,
		Debug:    s.options.Debug,
		Status:   func(context.Context) any { return a.status() },
		Hubs:     func(context.Context) any { return a.hubs() },
		Mirrors:  func(context.Context) any { return s.revision().standings() },
		Filters:  func(context.Context) any { return s.revision().filterStatus() },
		Statuses: func(context.Context) any { return s.statuses() },
		Errors:   func(context.Context) any { return s.recent.Records() },
		Flights:  a.flights,
		Store:    s.store,
		Purge:    s.cache.Purge,
		Level:    a.level(),
		Offline: &admin.Offline{
			Get: func() admin.OfflineState { return s.offline.state(s.revision().config) },
			Set: func(hub string, offline bool) error { return s.offline.set(s.revision().config, hub, offline) },
		},
		Reload:  a.reload(),
		Config:  a.configuration(cfg),
		Drain:   s.stopping,
		Board:   a.page(),
		Refused: a.counts.Hub("").Refused,
		Log:     s.log,
	}))
}

// listen opens the listener; nil if there is none.
func (a *operators) listen(cfg *Config) (net.Listener, error) {
	if !cfg.Admin.Listen.IsSet() {
		return nil, nil
	}
	l, err := a.server.listen(cfg.Admin.Listen.Address, true)
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	return l, nil
}

// serve answers on l, which may be nil, until stop is called. address is what the
// configuration has for it.
func (a *operators) serve(l net.Listener, address Address) {
	if l == nil {
		return
	}
	s := a.server
	s.log.Info("serving admin", "addr", l.Addr().String())
	server := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("admin listener ended", "err", err)
		}
	}()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listener, a.address = l, address
	a.end = func() {
		server.Close()
		<-done
	}
}

// stop ends serving, if it has not ended yet.
func (a *operators) stop() {
	a.mu.Lock()
	end := a.end
	a.listener, a.end = nil, nil
	a.mu.Unlock()
	if end != nil {
		end()
	}
}

// listening is the listener that is served on, and its address as configured; nil
// if there is none.
func (a *operators) listening() (net.Listener, Address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.listener, a.address
}

// A Status is what runs, and in what state.
type Status struct {
	Version  string        `json:"version"`
	Started  time.Time     `json:"started"`
	Revision int64         `json:"revision"` // of the configuration; 1 is the first of the process
	InForce  time.Time     `json:"in-force"` // since when
	Draining bool          `json:"draining"`
	Store    observe.Store `json:"store"`
	Cache    observe.Cache `json:"cache"`
	Hubs     []HubStatus   `json:"hubs"`

	Filters []FilterStatus `json:"filters,omitempty"`
}

// A HubStatus is that of one hub.
type HubStatus struct {
	Name  string   `json:"name"`
	Type  HubType  `json:"type"`
	Path  string   `json:"path"`
	Hosts []string `json:"hosts,omitempty"`

	Offline bool        `json:"offline"`          // it serves only what is here
	Quotas  []oci.Quota `json:"quotas,omitempty"` // what registries say of how much more they may be asked
	observe.Counts
}

func (a *operators) status() Status {
	s := a.server
	rev := s.revision()
	st := Status{
		Version: s.options.Version, Started: a.started, Revision: rev.number, InForce: rev.begun,
		Draining: s.draining.Load(), Store: a.store(), Cache: a.cache(), Hubs: a.hubs(),
	}
	if len(rev.filters) > 0 {
		st.Filters = rev.filterStatus()
	}
	return st
}

func (a *operators) hubs() (all []HubStatus) {
	for _, m := range a.server.revision().hubs {
		all = append(all, a.hubStatus(m))
	}
	return all
}

func (a *operators) hubStatus(m *mounted) HubStatus {
	return HubStatus{
		Name: m.config.Name, Type: m.config.Module(), Path: m.config.Path, Hosts: m.config.Hosts,
		Offline: a.server.offline.of(m.config.Name), Counts: a.counts.Hub(m.config.Name).Counts(), Quotas: m.quotas(),
	}
}

func (a *operators) store() observe.Store {
	d, ok := a.server.store.(*disk.Store)
	if !ok {
		return observe.Store{}
	}
	t := d.Stats()
	return observe.Store{
		Bytes: t.Bytes, Entries: t.Entries, MaxSize: t.MaxSize, Free: t.Free,
		Evictions: t.Evictions, Damaged: t.Damaged, Scanned: t.Scanned,
	}
}

func (a *operators) cache() observe.Cache {
	t := a.server.cache.State()
	n := a.server.cache.Stats()
	return observe.Cache{
		Flights: t.Flights, StoreErrors: t.StoreErrors, Full: t.Full, Bypassed: t.Bypassed,
		Kept: n.Kept, Resumed: n.Resumed, ResumedBytes: n.ResumedBytes, Dropped: n.Dropped, Wrong: n.Wrong,
	}
}

func (a *operators) groups() []observe.Group {
	all := a.server.revision().standings()
	groups, quotas := make([]observe.Group, len(all)), a.server.revision().quotas()
	for i, st := range all {
		g := &groups[i]
		*g = observe.Group{
			Hub: st.Hub, Origin: st.Origin, Requests: st.Requests, Asked: st.Asked, Hedges: st.Hedges, Explorations: st.Explorations,
			Switches: st.Switches, Stripes: st.Stripes, Alone: st.Alone,
		}
		for _, m := range st.Mirrors {
			o := observe.Mirror{
				Mirror: m.Mirror, Wins: m.Wins, Failed: m.Failed, Hedges: m.Hedges, Left: m.Left, Resumed: m.Resumed,
				Bytes: m.Bytes, Answers: m.Answers, First: m.First, Rate: m.Rate, Errors: m.Errors, Closed: m.Breaker == "closed",
			}
			if m.Lag != nil {
				o.Lag, o.HasLag = m.Lag.Behind, true
			}
			if q, ok := quotas[quotaOf{st.Hub, m.Mirror}]; ok {
				o.Quota, o.HasQuota = q.Remaining, true
			}
			g.Mirrors = append(g.Mirrors, o)
		}
	}
	return groups
}
