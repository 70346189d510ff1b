package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A store passes from one process to the next without being free in between: the
// lock belongs to an open file, not to a process, and the one before hands that
// file on (flock(2)). From [Store.Cede] on the one before only ends what it has
// begun. Its commits stay what they are, a rename or a link, and readers of either
// process see the entry before or the one behind. It evicts nothing, and writes
// neither the state nor the pins, which are the next one's.
//
// The next one, opened with [Options].Ceded, leaves alone the temporary files that
// are not its own, and takes what it cannot have synced itself for unsynced, until
// [Store.Settle]: the one before has ended. Names of temporary files tell whose
// they are.

// errCeded is of what only the next process does.
var errCeded = errors.New("the store has been ceded to another process")

// Cede leaves the store to a process that is about to open it with the lock, which
// stays the store's. Content can still be read, written and committed here. Who
// cedes tells the next process of every change (see [Options].Changing), which
// calls [Store.Recount] for it.
func (s *Store) Cede() (lock *os.File, err error) {
	s.owning.Lock()
	defer s.owning.Unlock()
	if s.isClosing() {
		return nil, os.ErrClosed
	}
	if s.predecessor {
		return nil, errors.New("the process that had the store before still uses it")
	}
	if s.unsynced { // the next process must know what is in doubt in this one
		now := time.Now()
		s.state.Suspect = append(s.state.Suspect, window{s.state.Synced, now})
		s.state.Synced, s.unsynced = now, false
		if err := s.writeState(); err != nil {
			return nil, err
		}
	}
	s.pins.changing.Lock() // one that is being written is read by the next process
	defer s.pins.changing.Unlock()
	s.ceded.Store(true)
	return s.lock, nil
}

// Reclaim takes back what was ceded to a process that has ended.
func (s *Store) Reclaim() error {
	s.owning.Lock()
	defer s.owning.Unlock()
	s.ceded.Store(false)
	s.syncer.mark("")
	return errors.Join(s.signLock(), s.writeState())
}

// inherit makes file the lock, if it is this directory's.
func (s *Store) inherit(file *os.File) (ours bool) {
	given, err := file.Stat()
	if err != nil {
		return false
	}
	here, err := s.root.Lstat(lockName)
	if err != nil || !os.SameFile(given, here) {
		return false
	}
	// Of an open file that has the lock this takes nothing, and is no wait.
	if control(file, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }) != nil {
		return false
	}
	s.lock, s.predecessor = file, true
	return true
}

// Recount looks again at what a key leads to, which the process that has ceded the
// store has changed.
func (s *Store) Recount(key exchange.Key) {
	if _, err := s.root.Lstat(sidecarDir); err == nil {
		s.sidecars.Store(true)
	}
	name := place(key)
	mu := s.place(name)
	mu.Lock()
	defer mu.Unlock()
	at := name
	st, err := s.lstat(at)
	if err == nil && st.dir {
		at = name + "/" + contentName
		st, err = s.lstat(at)
	}
	switch {
	case err == nil && st.regular:
		s.space.add(s.index.put(name, s.now(), s.charge(st)))
	case missing(err):
		s.space.add(-s.index.drop(name))
	}
}

// Settle is called once when the process that has ceded the store is gone: what it
// has left is cleared, but for what can be gone on with.
func (s *Store) Settle() error {
	s.owning.Lock()
	defer s.owning.Unlock()
	if !s.predecessor || s.isClosing() {
		return nil
	}
	entries, err := fs.ReadDir(s.root.FS(), tempDir)
	if err != nil && !missing(err) {
		return fmt.Errorf("settle: %w", err)
	}
	own := strings.TrimPrefix(s.tempStart(), tempDir+"/")
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), own) })
	err = s.clearTemp(entries)
	s.predecessor = false
	if !canSyncFileSystem {
		s.state.Suspect = append(s.state.Suspect, window{s.state.Synced, time.Now()})
	}
	s.syncer.markAll() // what it has committed, too
	return err
}
