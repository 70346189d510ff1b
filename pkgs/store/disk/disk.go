// Package disk is a store that is a directory: content lies under its own path
// as plain bytes, so a web server may send it, rm is always safe, and the tree
// of a mirror that rsync left is a warm cache.
//
// The entry of a file is an extended attribute, or a sidecar where there are
// none (meta.go); a file without either is an entry of its modification time.
// A key leads to its place and back (layout.go). New content is written to
// DATA/.temp, gets its entry there and is renamed to its place (draft.go,
// publish.go); what an interrupted transfer has brought may stay there, to be
// gone on with (record.go, parts.go). The least recently used entries make room for new ones
// (index.go, space.go, evict.go), but for those that are pinned (pins.go). Durability is by groups or at once (sync.go);
// what an unclean stop left in doubt is proved before its first use
// (recover.go).
//
// All access goes through an [os.Root]. Only regular files are content: a
// symbolic link, a FIFO or a socket in a place is a miss. There is no database
// and no hot content in memory; freshness is not looked at.
package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

var (
	_ store.Store = (*Store)(nil)
	_ store.Plain = (*plain)(nil)
)

// Options of a Store. Only Root is required.
type Options struct {
	Root             string // the directory; made if it is missing
	TemporaryPattern string // of file names below Root/.temp; the last "*" becomes random; "" is "temp.*"

	MaxSize Size // of all content, drafts included; least recently used entries go first
	MinFree Size // what the file system keeps free, whoever fills it

	// Strict syncs content, entry and directories before Commit and Update
	// return. Otherwise that happens in groups within a second.
	Strict bool

	// Changing is called before what a key leads to changes here, and what it returns
	// behind that, whatever came of it. Eviction is no such change: the content was
	// right. nil: nobody wants to know.
	Changing func(exchange.Key) (done func())

	Log *slog.Logger     // nil discards
	Now func() time.Time // of access times; nil is time.Now

	// Ceded is the lock of another process's store in the same directory, which that
	// process has ceded ([Store.Cede]); the store takes it over. One that is another
	// directory's is closed, and counts for nothing. nil: there is none.
	Ceded *os.File

	// DisableXattr writes sidecars even where there are extended attributes.
	DisableXattr bool
}

// A Store is a directory of entries. It is safe for concurrent use, but only one
// process may have it open. Open requests share no lock.
type Store struct {
	root    *os.Root
	rootDir *os.File // of root
	dir     string
	lock    *os.File
	pattern string
	strict  bool
	change  func(exchange.Key) (done func())
	log     *slog.Logger
	now     func() time.Time
	opened  time.Time
	windows []window // of state, as it was found; never changes

	unnamed  bool         // files may be made without a name; never changes
	held     atomic.Int64 // bytes of memory that small drafts have, or may have
	noXattr  atomic.Bool  // sidecars only
	sidecars atomic.Bool  // there may be sidecars

	recent  recent
	index   *index
	parts   parts
	left    leftovers
	pins    pins
	space   *space
	evictor *evictor
	syncer  *syncer

	owning      sync.Mutex  // held while it is decided, or used, who writes the state; before other locks
	state       state       // guarded by owning
	unsynced    bool        // guarded by owning; a group failed
	predecessor bool        // guarded by owning; the process that ceded the store has not ended
	ceded       atomic.Bool // changed under owning; another process has the store, too: see cede.go

	evictions, damaged atomic.Int64
	scanned            atomic.Bool

	tag    string // of the names of our temporary files; never changes
	seed   maphash.Seed
	places [256]sync.Mutex // one holds a place while its file changes; never two at once

	background sync.WaitGroup // maintain, syncGroups, records being saved
	closing    chan struct{}
	closeOnce  sync.Once
	closeErr   error // set by closeOnce
}

// Open opens the store in a directory. Counting what is there goes on behind;
// entries are found at once.
func Open(o Options) (*Store, error) {
	if o.Root == "" {
		return nil, errors.New("disk: no root directory")
	}
	if o.TemporaryPattern == "" {
		o.TemporaryPattern = "temp.*"
	}
	if strings.ContainsAny(o.TemporaryPattern, "/\x00") || len(o.TemporaryPattern) > maxName-32 {
		return nil, fmt.Errorf("disk: temporary pattern %q is no file name", o.TemporaryPattern)
	}
	if o.Changing == nil {
		o.Changing = func(exchange.Key) func() { return func() {} }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	dir, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, pattern: o.TemporaryPattern, strict: o.Strict, change: o.Changing, log: o.Log, now: o.Now, opened: time.Now(),
		index: newIndex(o.Now()), evictor: newEvictor(), syncer: newSyncer(),
		parts: parts{all: map[exchange.Key]*partRecord{}},
		tag:   rand.Text()[:tagLength],
		seed:  maphash.MakeSeed(), closing: make(chan struct{}),
	}
	s.noXattr.Store(o.DisableXattr)
	if err := s.open(o); err != nil {
		s.release()
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.background.Add(2)
	go s.maintain()
	go s.syncGroups()
	return s, nil
}

func (s *Store) open(o Options) (err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if s.root, err = os.OpenRoot(s.dir); err != nil {
		return err
	}
	if s.rootDir, err = s.root.Open("."); err != nil {
		return err
	}
	for _, dir := range []string{tempDir, metaDir} {
		if err := s.root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if o.Ceded != nil && !s.inherit(o.Ceded) {
		o.Ceded.Close()
	}
	if err := s.acquire(); err != nil {
		return err
	}
	s.readPins()
	s.space = &space{root: s.rootDir, max: o.MaxSize, minFree: o.MinFree}
	if err := s.space.refresh(); err != nil {
		return err
	}
	s.unnamed = s.canUnnamed()
	return s.recover()
}

func (s *Store) release() {
	if s.lock != nil {
		s.lock.Close()
	}
	if s.rootDir != nil {
		s.rootDir.Close()
	}
	if s.root != nil {
		s.root.Close()
	}
}

// Close syncs what is left, records the clean stop and waits for everything that
// runs behind. Drafts must be closed before; open content stays readable.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.background.Wait()
		s.clear()
		s.closeErr = s.syncGroup(true)
		s.release()
	})
	return s.closeErr
}

func (s *Store) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// place is the lock of the file at a place.
func (s *Store) place(name string) *sync.Mutex {
	return &s.places[maphash.String(s.seed, name)%uint64(len(s.places))]
}

// Stats are counters of a store.
type Stats struct {
	Bytes     int64 // blocks allocated to content, sidecars and parts, and reserved by drafts
	Entries   int64
	Evictions int64
	Damaged   int64 // entries dropped since their content was not what it should be
	Parts     int64 // interrupted transfers that can be gone on with
	PartBytes int64 // that those take, of Bytes
	MaxSize   int64 // 0 is no limit
	MinFree   int64
	Free      int64 // of the file system, a second old at most while the store is written to
	Scanned   bool  // Bytes and Entries cover what an earlier run left
}

// Stats returns the counters as they are now.
func (s *Store) Stats() Stats {
	t := Stats{
		Entries: int64(s.index.len()), Evictions: s.evictions.Load(), Damaged: s.damaged.Load(),
		Scanned: s.scanned.Load(),
	}
	t.Parts, t.PartBytes = s.parts.stats()
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	t.Bytes, t.MaxSize, t.MinFree, t.Free = s.space.committed+s.space.reserved, s.space.maxBytes, s.space.minBytes, s.space.free
	return t
}
