package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"
)

const (
	syncEvery  = time.Second
	groupLimit = 64          // from here on one sync of the whole file system is cheaper
	clockSlack = time.Second // file times lag behind the clock by a tick; this is plenty
	stateName  = metaDir + "/state"
	maxWindows = 8
)

// syncer collects what has to reach the disk. Lazy durability publishes at once
// and syncs in groups; the state file tells up to which moment everything is there.
type syncer struct {
	work chan struct{} // holds one: there is something to do

	mu    sync.Mutex
	files map[string]struct{} // guarded by mu; by groupLimit at most, where many can be synced at once
	many  bool                // guarded by mu
	dirty bool                // guarded by mu
}

func newSyncer() *syncer {
	return &syncer{work: make(chan struct{}, 1), files: map[string]struct{}{}}
}

// mark asks for files to be synced; "" only moves the state on.
func (y *syncer) mark(names ...string) {
	y.mu.Lock()
	for _, name := range names {
		switch {
		case name == "":
		case len(y.files) < groupLimit || !canSyncFileSystem:
			y.files[name] = struct{}{}
		default:
			y.many = true
		}
	}
	first := !y.dirty
	y.dirty = true
	y.mu.Unlock()
	if first {
		select {
		case y.work <- struct{}{}:
		default:
		}
	}
}

// markAll asks for everything to be synced, where that can be done at once.
func (y *syncer) markAll() {
	y.mu.Lock()
	y.many = canSyncFileSystem
	y.mu.Unlock()
	y.mark("")
}

func (y *syncer) take() (files map[string]struct{}, many, dirty bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	files, many, dirty = y.files, y.many, y.dirty
	y.files, y.many, y.dirty = map[string]struct{}{}, false, false
	return files, many, dirty
}

// syncGroups runs until the store is closed; Close syncs the last group.
func (s *Store) syncGroups() {
	defer s.background.Done()
	for {
		select {
		case <-s.closing:
			return
		case <-s.syncer.work:
		}
		timer := time.NewTimer(syncEvery)
		select {
		case <-s.closing:
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := s.syncGroup(false); err != nil {
			s.log.Error("content may not survive a power cut", "err", err)
		}
	}
}

// syncGroup syncs what was marked, then records the moment before it began.
func (s *Store) syncGroup(clean bool) error {
	moment := time.Now().Add(-clockSlack)
	s.owning.Lock()
	shared := s.predecessor // what that commits is not ours to sync before it has ended
	files, many, dirty := s.syncer.take()
	s.owning.Unlock()
	if !dirty && !clean {
		return nil
	}
	err := s.syncMarked(files, many)
	s.owning.Lock()
	defer s.owning.Unlock()
	if err != nil {
		s.unsynced = true
	}
	if s.ceded.Load() {
		return err // the state is another process's
	}
	// What did not reach the disk once is in doubt until the next start, however
	// well later groups do.
	if !s.unsynced && !shared {
		s.state.Clean, s.state.Synced = clean || s.strict, moment
	}
	return errors.Join(err, s.writeState())
}

func (s *Store) syncMarked(files map[string]struct{}, many bool) error {
	if many {
		return syncFileSystem(s.rootDir)
	}
	return s.syncFiles(files)
}

func (s *Store) syncFiles(files map[string]struct{}) error {
	dirs := map[string]struct{}{}
	for at := range files {
		file, err := s.openFile(at)
		if err != nil {
			continue // deleted or replaced since
		}
		st, err := statFile(file)
		if err == nil && st.regular {
			// A file whose sync failed is dead: a second sync would succeed and
			// prove nothing.
			if err := file.Sync(); err != nil {
				s.log.Error("sync failed, the entry is dropped", "file", at, "err", err)
				s.removeFile(placeOf(at), at, st)
			}
		}
		file.Close()
		for dir := path.Dir(at); ; dir = path.Dir(dir) {
			dirs[dir] = struct{}{}
			if dir == "." {
				break
			}
		}
	}
	for dir := range dirs {
		if err := s.syncDir(dir); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

// state is what the next start must know of this run.
type state struct {
	Clean  bool      `json:"clean"`  // stopped in order
	Synced time.Time `json:"synced"` // what changed before is on disk

	// Suspect are the spans that unclean stops left unproved: entries whose
	// ctime lies in one of them are proved before their first use, which
	// moves their ctime on.
	Suspect []window `json:"suspect,omitempty"`
}

// A window is the span after From, up to To.
type window struct{ From, To time.Time }

var errState = errors.New("unreadable state")

func (t state) encode() []byte {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // times and booleans
	}
	return seal(b)
}

func decodeState(b []byte) (t state, err error) {
	text, ok := unseal(b)
	if !ok {
		return state{}, errState
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return state{}, errState
	}
	return t, nil
}

// nextState is that of a run that starts at now after one that left b behind;
// b is nil if there was none.
func nextState(b []byte, now time.Time) state {
	if b == nil {
		return state{Synced: now}
	}
	t, err := decodeState(b)
	if err != nil || !t.Clean {
		t.Suspect = append(t.Suspect, window{t.Synced, now})
	}
	if n := len(t.Suspect) - maxWindows; n > 0 {
		t.Suspect[n].From = t.Suspect[0].From
		t.Suspect = t.Suspect[n:]
	}
	t.Clean, t.Synced = false, now
	return t
}

// suspect reports whether what changed at ctime may have been lost in part.
func (s *Store) suspect(ctime time.Time) bool {
	for _, w := range s.windows {
		if ctime.After(w.From) && !ctime.After(w.To) {
			return true
		}
	}
	return false
}

// writeState makes the state durable. Callers hold owning, or nobody knows the
// store yet.
func (s *Store) writeState() error {
	temp, file, err := s.createTemp()
	if err != nil {
		return err
	}
	_, err = file.Write(s.state.encode())
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.root.Rename(temp, stateName)
		if errors.Is(err, fs.ErrNotExist) { // rm -rf of everything is allowed
			if err = s.root.MkdirAll(metaDir, 0o755); err == nil {
				err = s.root.Rename(temp, stateName)
			}
		}
	}
	if err != nil {
		s.discard(temp)
		return fmt.Errorf("state: %w", err)
	}
	return s.syncDir(metaDir)
}
