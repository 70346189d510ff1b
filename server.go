package cacheproxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/cache"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
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
	Debug   http.Handler     // served below /debug/pprof/ of the admin listener if set
	Now     func() time.Time // default time.Now

	// Load reads the configuration again, for [Server.Reread]; nil: it cannot be.
	Load func() (*Config, []Warning, error)

	// Prepare is called with a configuration that is about to be put in force by a
	// reload, for what is not the Server's. It may refuse it; else commit follows at
	// once. Nil: there is nothing else.
	Prepare func(*Config) (commit func(), err error)

	// Lines is the Logger that Log is of: answers from memory are logged by it without
	// a record. Nil: Log has their lines too.
	Lines *Logger

	Level *slog.LevelVar // of Log: each configuration in force sets it to log.level; nil: it stays
	File  string         // whose change makes Run read the configuration again; "": none

	// Predecessor is the process that this one takes over from; nil: there is none.
	Predecessor *Predecessor

	changing func(exchange.Key) (done func()) // what the store tells of
}

// A Server is the whole proxy: it builds the parts that a configuration asks
// for, and is the only place that connects them. What a configuration decides is
// a [revision]; all else is here, and outlives it.
type Server struct {
	options  Options // with defaults
	log      *slog.Logger
	via      string                      // this process in Via
	epochs   *front.Epochs               // of the store
	hot      atomic.Pointer[front.Table] // of the current revision; nil: it has none
	warm     atomic.Uint64               // requests that it answered behind net/http
	store    closingStore
	ledger   *ledger.Ledger
	cache    *cache.Cache
	league   *league          // of mirrors
	memories *memories        // of hubs
	rate     *upstream.Bucket // of all mirrors together
	spool    func() (*os.File, error)
	ready    probe
	draining atomic.Bool
	offline  offline
	recent   *observe.Recent
	traces   *observe.Traces // nil: there are none
	stopping func()          // makes Run drain
	stopped  chan struct{}   // closed by stopping

	operators   *operators
	current     atomic.Pointer[revision]
	lines       sync.WaitGroup // those that are being closed
	connections *connections
	fills       fills
	doors       doors
	upgrades    upgrades
	following   sync.WaitGroup // the predecessor
	notifier    notifier

	rereading sync.Mutex // before reloading
	changing  sync.Mutex // held by who changes objects; before reloading

	reloading sync.Mutex // held by who makes a revision; before it nothing. It guards what follows
	closed    bool       // no revision comes any more
	running   bool       // doors are open
	inlets    []*inlet   // that are accepted from
	failed    chan error // of inlets
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
	recent := observe.NewRecent(recentErrors)
	o.Log = slog.New(recent.Wrap(o.Log.Handler()))
	epochs := front.NewEpochs()
	s := &Server{options: o, log: o.Log, epochs: epochs, via: "cache-proxy-" + instance(), connections: newConnections(), notifier: newNotifier(), recent: recent, stopped: make(chan struct{})}
	s.upgrades.left = make(chan struct{})
	o.changing = s.storeChanging
	s.stopping = sync.OnceFunc(func() { close(s.stopped) })
	s.fills = fills{limits: func() *Fills { return &s.revision().config.Limits.Fills }, clients: map[netip.Addr]int{}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.store, err = stores[cfg.Storage.Type](cfg, o); err != nil {
		return nil, err
	}
	if d, ok := s.store.(*disk.Store); ok && o.Predecessor != nil {
		s.following.Go(func() { s.follow(o.Predecessor, d) })
	}
	if s.ledger, err = ledger.Open(ledger.Options{
		Path: filepath.Join(cfg.Storage.Local.Path, ".meta", "ledger"),
		Log:  o.Log,
		Now:  o.Now,
	}); err != nil {
		return nil, err
	}
	if s.traces, err = s.newTraces(&cfg.Traces); err != nil {
		return nil, err
	}
	if s.cache, err = cache.New(cache.Options{
		Store:   s.store,
		Facts:   s.ledger,
		Hashes:  hashes,
		Chunk:   int64(cfg.Misc.ChunkBytes),
		Object:  int64(cfg.Limits.Object),
		Offline: s.offline.of,
		Carry:   s.carry,
		Log:     o.Log,
		Now:     o.Now,
	}); err != nil {
		return nil, err
	}
	s.league = openLeague(cfg.Storage.Local.Path, o.Log)
	s.memories = openMemories(cfg.Storage.Local.Path, o.Log)
	s.rate, s.spool = upstream.NewBucket(0), spool(s.store)
	s.operators = newOperators(s)
	first, err := s.revise(cfg)
	if err != nil {
		return nil, err
	}
	s.begin(first)
	return s, nil
}

// ServeHTTP answers one request, as Run does for those that come to the listeners.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t := s.hot.Load(); t != nil && !s.upgrades.leaving.Load() && t.Serve(w, r) {
		s.warm.Add(1)
		return
	}
	front.Watch(r)
	rev := s.hold()
	if rev == nil {
		http.Error(w, "stopped", http.StatusServiceUnavailable)
		return
	}
	defer rev.drop()
	if r.ContentLength != 0 {
		// What the handler has left of a body net/http reads, up to 256 KiB, and would
		// wait for as long as the client likes.
		defer func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restTime)) }()
	}
	if s.upgrades.leaving.Load() {
		w.Header().Set("Connection", "close") // the next request is the successor's
	}
	rev.handler.ServeHTTP(w, r)
}

// restTime is how long a client may take to send what nobody reads of a body any more.
const restTime = time.Second

// Close ends a server that is not running, and what it holds open.
func (s *Server) Close() error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return s.close(now)
}

// close ends the parts, those that are used by others last. Transfers may go on
// until ctx is done.
func (s *Server) close(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.cache != nil {
		errs = append(errs, s.cache.Close(ctx))
	}
	if rev := s.revision(); rev != nil {
		errs = append(errs, s.league.save(rev.standings()))
		s.memories.save()
		rev.drop()
	}
	s.lines.Wait()
	flush, stop := context.WithTimeout(context.Background(), traceFlush)
	defer stop()
	if err := s.traces.Close(flush); err != nil {
		s.log.Warn("spans are lost", "err", err)
	}
	if s.ledger != nil {
		errs = append(errs, s.ledger.Close())
	}
	s.options.Predecessor.abandon()
	s.following.Wait()
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
	var ceded *os.File
	if o.Predecessor != nil {
		ceded = o.Predecessor.lock
	}
	d, err := disk.Open(disk.Options{
		Root:             c.Path,
		TemporaryPattern: c.TemporaryFilePattern,
		MaxSize:          disk.Size{Bytes: int64(c.MaxSize.Bytes), Percent: c.MaxSize.Percent},
		MinFree:          disk.Size{Bytes: int64(c.MinFree.Bytes), Percent: c.MinFree.Percent},
		Strict:           c.Durability == Strict,
		Changing:         o.changing,
		Ceded:            ceded,
		Log:              o.Log,
		Now:              o.Now,
	})
	if err != nil {
		return nil, err // a nil *disk.Store would be no nil closingStore
	}
	return d, nil
}
