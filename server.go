package cacheproxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/cache"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/files"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/httplog"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/recover"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/disk"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// stores is the table of storage types.
var stores = map[StorageType]func(*Config, Options) (closingStore, error){
	StorageLocal: openDisk,
}

type closingStore interface {
	store.Store
	Close() error
}

// Options are what a Server needs beyond its configuration.
type Options struct {
	Version string           // of the program; "" is "devel"
	Log     *slog.Logger     // default slog.Default()
	Debug   http.Handler     // served below /debug/pprof/ if set
	Now     func() time.Time // default time.Now
}

// A Server is the whole proxy: it builds the parts that a configuration asks
// for, and is the only place that connects them.
type Server struct {
	config   *Config
	log      *slog.Logger
	http     http.Server
	store    closingStore
	cache    *cache.Cache
	group    *upstream.Group
	draining atomic.Bool
}

// New builds a server and opens its store; Run or Close ends it. cfg is not modified.
func New(cfg *Config, o Options) (_ *Server, err error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Version == "" {
		o.Version = "devel"
	}
	s := &Server{config: cfg, log: o.Log}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.store, err = stores[cfg.Storage.Type](cfg, o); err != nil {
		return nil, err
	}
	if s.cache, err = cache.New(cache.Options{
		Store:  s.store,
		Chunk:  int64(cfg.Misc.ChunkBytes),
		Object: int64(cfg.Limits.Object),
		Log:    o.Log,
		Now:    o.Now,
	}); err != nil {
		return nil, err
	}
	via := "cache-proxy-" + instance()
	if s.group, err = newGroup(cfg, o, via); err != nil {
		return nil, err
	}
	h := files.New(files.Options{Name: "default", Policies: newPolicies(&cfg.Cache)})
	data := edge.New(edge.Options{
		Hub:    h,
		Source: exchange.Chain(s.group, h.Rewrite, s.cache.Wrap),
		Name:   "cache-proxy",
		Via:    via,
		Accel:  newAccel(&cfg.Storage.Local.Accel),
		Limits: edge.Limits{
			Target: int(cfg.Limits.RequestLine),
			Fields: cfg.Limits.RequestFields,
			Ranges: cfg.Limits.Ranges,
		},
		WriteTimeout: time.Duration(cfg.Limits.ClientWriteTimeout),
		MinRate:      int64(cfg.Limits.ClientMinRate),
		Log:          o.Log,
		Now:          o.Now,
	})
	s.serve(cfg, s.route(data, o.Debug))
	return s, nil
}

// serve prepares the HTTP server around the handler of all requests.
func (s *Server) serve(cfg *Config, h http.Handler) {
	if cfg.Log.Access {
		h = httplog.New(s.log)(h)
	}
	h = handlerctx.New(pattern)(h)
	h = recover.New(s.log)(h)
	s.http = http.Server{
		Handler:           h,
		ReadHeaderTimeout: time.Duration(cfg.Limits.ClientHeaderTimeout),
		IdleTimeout:       time.Duration(cfg.Limits.ClientIdleTimeout),
		MaxHeaderBytes:    int(cfg.Limits.RequestLine + cfg.Limits.RequestHeaders),
		ConnContext:       edge.ConnContext,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Paths of the proxy's own.
const (
	ownPrefix   = "/-/"
	debugPrefix = "/debug/pprof/"
)

// pattern is the handler that a request goes to, as the log has it.
func pattern(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, ownPrefix) {
		return "GET " + ownPrefix
	}
	return "GET /"
}

// route sends a request to the proxy's own pages or to the hub. It is no
// [http.ServeMux], which would clean paths that clients mean as they are.
func (s *Server) route(data, debug http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, ownPrefix):
			s.own(w, r)
		case debug != nil && strings.HasPrefix(path, debugPrefix):
			debug.ServeHTTP(w, r)
		default:
			data.ServeHTTP(w, r)
		}
	})
}

// own serves /-/healthz (the process answers) and /-/readyz (it takes requests).
func (s *Server) own(w http.ResponseWriter, r *http.Request) {
	status, text := http.StatusNotFound, "no such page\n"
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		status, text = http.StatusMethodNotAllowed, "only GET and HEAD\n"
	case r.URL.Path == "/-/healthz":
		status, text = http.StatusOK, "ok\n"
	case r.URL.Path == "/-/readyz" && s.draining.Load():
		status, text = http.StatusServiceUnavailable, "draining\n"
	case r.URL.Path == "/-/readyz":
		status, text = http.StatusOK, "ready\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write([]byte(text))
	}
}

// ServeHTTP answers one request, as Run does for those that come to the listeners.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.http.Handler.ServeHTTP(w, r) }

// Run serves on the configured addresses until ctx is done, then drains:
// requests under way may go on for limits.drain. The error is about listening
// or serving; after a drain there is none.
func (s *Server) Run(ctx context.Context) error {
	listeners, err := listen(s.config.Listen)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return s.Serve(ctx, listeners...)
}

// Serve is Run on listeners that the caller has made. It takes them over.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		s.log.Info("serving app", "addr", l.Addr().String())
		go func() { served <- s.http.Serve(l) }()
	}
	var err error
	running := len(listeners)
	select {
	case err = <-served:
		running--
	case <-ctx.Done():
		s.log.Info("draining", "limit", s.config.Limits.Drain)
	}
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(s.config.Limits.Drain))
	defer cancel()
	if s.http.Shutdown(drain) != nil {
		s.log.Warn("requests cut by the end of the drain")
		s.http.Close()
	}
	for range running {
		<-served
	}
	return errors.Join(err, s.close(drain))
}

// Close ends a server that is not running, and what it holds open.
func (s *Server) Close() error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return s.close(now)
}

// close ends the parts, those that are used by others last. Transfers may go on
// until ctx is done.
func (s *Server) close(ctx context.Context) error {
	var errs []error
	if s.cache != nil {
		errs = append(errs, s.cache.Close(ctx))
	}
	if s.group != nil {
		s.group.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// listen opens all addresses, or none. A socket file that nobody listens on is replaced.
func listen(addrs []Address) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				l.Close()
			}
		}
	}()
	for _, a := range addrs {
		if a.Network == "unix" {
			if c, err := net.Dial("unix", a.Address); err == nil {
				c.Close()
				return all, fmt.Errorf("listen on %v: another process does", a)
			}
			if info, err := os.Lstat(a.Address); err == nil && info.Mode().Type() == fs.ModeSocket {
				os.Remove(a.Address)
			}
		}
		l, err := net.Listen(a.Network, a.Address)
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}

// instance is this process's part of its name in Via.
func instance() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
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

func newAccel(c *Accel) edge.Accel {
	return edge.Accel{Header: c.EnableByHeader, Respond: c.RespondWithHeaders, Trusted: prefixes(c.Trusted)}
}

func prefixes(all []Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, p := range all {
		out[i] = p.Prefix
	}
	return out
}

func openDisk(cfg *Config, o Options) (closingStore, error) {
	c := &cfg.Storage.Local
	d, err := disk.Open(disk.Options{
		Root:             c.Path,
		TemporaryPattern: c.TemporaryFilePattern,
		MaxSize:          disk.Size{Bytes: int64(c.MaxSize.Bytes), Percent: c.MaxSize.Percent},
		MinFree:          disk.Size{Bytes: int64(c.MinFree.Bytes), Percent: c.MinFree.Percent},
		Strict:           c.Durability == Strict,
		Log:              o.Log,
		Now:              o.Now,
	})
	if err != nil {
		return nil, err // a nil *disk.Store would be no nil closingStore
	}
	return d, nil
}

// newGroup makes the group of mirrors that cfg describes.
func newGroup(cfg *Config, o Options, via string) (*upstream.Group, error) {
	l := &cfg.Limits
	opts := upstream.Options{
		Race: upstream.Race{
			Mode:       string(cfg.Race.Mode),
			FirstChunk: int64(cfg.Misc.FirstChunkBytes),
			Chunk:      int64(cfg.Misc.ChunkBytes),
		},
		Limits: upstream.Limits{
			Dial:        time.Duration(l.UpstreamDialTimeout),
			TLS:         time.Duration(l.UpstreamTLSTimeout),
			Header:      time.Duration(l.UpstreamHeaderTimeout),
			Idle:        time.Duration(l.UpstreamIdleTimeout),
			MinRate:     orNone(int64(l.UpstreamMinRate)),
			HeaderBytes: int64(l.UpstreamHeaders),
			Redirects:   int(orNone(int64(l.Redirects))),
		},
		Spool:     spool(cfg.Storage.Local),
		Via:       via,
		UserAgent: "cache-proxy/" + o.Version,
		Hub:       "default",
		Log:       o.Log,
		Now:       o.Now,
	}
	for _, rule := range cfg.AllowedUpstreams {
		if rule.Suffix != "" {
			opts.Allowed.Hosts = append(opts.Allowed.Hosts, rule.Suffix)
		} else {
			opts.Allowed.Prefixes = append(opts.Allowed.Prefixes, rule.Prefix)
		}
	}
	for i := range cfg.Upstream {
		m, err := newMirror(&cfg.Upstream[i])
		if err != nil {
			return nil, fmt.Errorf("upstream[%d]: %w", i, err)
		}
		opts.Mirrors = append(opts.Mirrors, m)
	}
	return upstream.New(opts)
}

// orNone turns the configuration's 0, "none", into upstream's -1.
func orNone(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// spool makes unlinked files on the store's file system, for races by bandwidth.
func spool(c LocalStorage) func() (*os.File, error) {
	return func() (*os.File, error) {
		f, err := os.CreateTemp(filepath.Join(c.Path, ".temp"), c.TemporaryFilePattern)
		if err != nil {
			return nil, err
		}
		return f, os.Remove(f.Name())
	}
}

func newMirror(c *Upstream) (upstream.Mirror, error) {
	m := upstream.Mirror{
		Server:          c.Server.URL,
		Checkers:        make([]upstream.Checker, len(c.Checkers)),
		AllowedRedirect: c.AllowedRedirect.Regexp,
		Username:        c.Username,
		Password:        c.Password.Value(),
		Token:           c.Token.Value(),
		Header:          map[string]string{},
		Proxy:           c.Proxy.URL,
		MaxConnections:  c.MaxConnections,
	}
	m.Path.Match, m.Path.Replace = c.Path.Match.Regexp, c.Path.Replace
	for i, k := range c.Checkers {
		m.Checkers[i].StatusCodes = k.StatusCodes
		for _, h := range k.Headers {
			m.Checkers[i].Headers = append(m.Checkers[i].Headers, upstream.HeaderCheck{Name: h.Name, Match: h.Match.Regexp})
		}
	}
	for _, g := range c.PriorityGroups {
		m.Priorities = append(m.Priorities, upstream.Priority{Match: g.Match.Regexp, Priority: g.Priority})
	}
	for name, value := range c.Headers {
		m.Header[name] = value.Value()
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return m, err
		}
		m.CA = pem
	}
	if c.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return m, err
		}
		m.Certificate = &pair
	}
	return m, nil
}
