package cacheproxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/cache"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
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
	ledger   *ledger.Ledger
	cache    *cache.Cache
	hubs     []*mounted
	league   *league
	rate     *upstream.Bucket
	ready    probe
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
	if s.ledger, err = ledger.Open(ledger.Options{
		Path: filepath.Join(cfg.Storage.Local.Path, ".meta", "ledger"),
		Log:  o.Log,
		Now:  o.Now,
	}); err != nil {
		return nil, err
	}
	if s.cache, err = cache.New(cache.Options{
		Store:  s.store,
		Facts:  s.ledger,
		Hashes: hashes,
		Chunk:  int64(cfg.Misc.ChunkBytes),
		Object: int64(cfg.Limits.Object),
		Log:    o.Log,
		Now:    o.Now,
	}); err != nil {
		return nil, err
	}
	s.league = openLeague(cfg.Storage.Local.Path, o.Log)
	s.rate = upstream.NewBucket(int64(cfg.Limits.UpstreamRate))
	via := "cache-proxy-" + instance()
	routes := &routes{}
	for _, h := range cfg.Served() {
		m, err := s.mount(&h, o, via)
		if err != nil {
			return nil, err
		}
		s.hubs = append(s.hubs, m)
		routes.add(s.target(m, via, o))
	}
	routes.none = s.nowhere(via, o)
	s.serve(cfg, s.match(routes, o.Debug))
	return s, nil
}

// ServeHTTP answers one request, as Run does for those that come to the listeners.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.http.Handler.ServeHTTP(w, r) }

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
	if s.league != nil {
		errs = append(errs, s.league.save())
	}
	for _, m := range s.hubs {
		m.close()
	}
	if s.ledger != nil {
		errs = append(errs, s.ledger.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// instance is this process's part of its name in Via.
func instance() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
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
