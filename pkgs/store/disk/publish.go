package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// commit publishes a temporary file that holds e's content and for which room
// bytes are reserved; temp is "" if it has no name. Until it gets its name in the
// tree everything happens on the temporary file, so a crash leaves the old entry
// or the new one.
func (s *Store) commit(file *os.File, temp string, room int64, e *exchange.Entry) (at string, err error) {
	if room > pages(e.Size) { // blocks beyond the end may be allocated
		if err := file.Truncate(e.Size); err != nil {
			return "", err
		}
	}
	now := s.now()
	if t, ok := modified(e); ok {
		if err := setTimes(file, now, t); err != nil {
			return "", err
		}
	}
	if err := s.writeMeta(file, e); err != nil {
		return "", fmt.Errorf("metadata: %w", err)
	}
	if s.strict {
		if err := file.Sync(); err != nil {
			return "", err
		}
	}
	st, err := statFile(file) // with the blocks of the metadata
	if err != nil {
		return "", err
	}

	name := place(e.Key)
	at, err = s.publish(file, temp, name, st, func() {
		more := s.index.put(name, now, s.charge(st))
		s.space.settle(room+metaRoom, more)
	})
	if err != nil {
		s.removeSidecar(st)
		return "", err
	}
	s.discardPart(s.parts.take(e.Key)) // another transfer was quicker
	if s.strict {
		if err := s.syncDirs(path.Dir(at)); err != nil {
			return "", s.withdraw(name, at, st, room, err)
		}
	} else {
		s.syncer.mark(at, s.sidecarOf(st))
	}
	if s.space.short(0, highWater) > 0 {
		s.evictor.wake()
	}
	return at, nil
}

// withdraw removes an entry whose name may not last.
func (s *Store) withdraw(name, at string, st stat, room int64, err error) error {
	s.removeFile(name, at, st)
	s.space.release(-(room + metaRoom)) // the draft gives it back when it is closed
	return err
}

// charge is what an entry counts for.
func (s *Store) charge(st stat) int64 {
	if s.hasSidecar(st) {
		return st.blocks + metaRoom
	}
	return st.blocks
}

func (s *Store) sidecarOf(st stat) string {
	if s.hasSidecar(st) {
		return sidecarName(st)
	}
	return ""
}

// publish puts file at place name: by renaming temp, or, where that is "", by
// giving it its first name. It makes directories as needed, and calls done in the
// same breath.
func (s *Store) publish(file *os.File, temp, name string, st stat, done func()) (at string, err error) {
	if temp == "" {
		defer func() {
			if temp != "" && err != nil {
				s.discard(temp)
			}
		}()
	}
	for range 100 { // others may make and remove the directories that we use
		if temp == "" {
			at, err = s.link(file, name, done)
		} else {
			at, err = s.rename(temp, name, done)
		}
		switch {
		case err == nil:
			return at, nil
		case temp == "" && errors.Is(err, fs.ErrExist): // an entry to be replaced, or a directory
			if temp, err = s.nameTemp(file); err != nil {
				return "", err
			}
			continue
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EISDIR), errors.Is(err, fs.ErrExist):
			err = s.makeDirs(path.Dir(at))
			if temp != "" {
				if _, gone := s.root.Lstat(temp); gone != nil {
					return "", gone // somebody emptied our directory: no name will help
				}
			}
		case errors.Is(err, unix.ENOTDIR):
			err = s.makeDirs(path.Dir(at))
		default:
			return "", err
		}
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("publish %s: the directory keeps vanishing", name)
}

// link is one attempt to give file its first name, under the lock of the place.
func (s *Store) link(file *os.File, name string, done func()) (at string, err error) {
	mu := s.place(name)
	mu.Lock()
	defer mu.Unlock()
	if err := linkUnnamed(file, s.rootDir, name); err != nil {
		return name, err
	}
	done()
	return name, nil
}

// nameTemp gives a file without a name one among the temporary files.
func (s *Store) nameTemp(file *os.File) (temp string, err error) {
	for range 10 {
		temp = s.tempName()
		err = linkUnnamed(file, s.rootDir, temp)
		if errors.Is(err, fs.ErrNotExist) { // somebody removed everything: that is allowed
			if err = s.root.MkdirAll(tempDir, 0o755); err == nil {
				err = linkUnnamed(file, s.rootDir, temp)
			}
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return temp, err
}

// rename is one attempt, under the lock of the place. at is set on errors, too.
func (s *Store) rename(temp, name string, done func()) (at string, err error) {
	mu := s.place(name)
	mu.Lock()
	defer mu.Unlock()
	at = name
	old, err := s.lstat(at)
	if err == nil && old.dir {
		at = name + "/" + contentName
		old, err = s.lstat(at)
	}
	replaces := err == nil && old.regular && s.sidecars.Load()
	if replaces {
		// While it is open, its inode is not given to a new file, whose sidecar
		// might have the same name.
		file, err := s.openFile(at)
		if err != nil {
			return at, err
		}
		defer file.Close()
	}
	if err := s.root.Rename(temp, at); err != nil {
		return at, err
	}
	done()
	if replaces {
		s.removeSidecar(old)
	}
	return at, nil
}

// makeDirs makes the directory dir and those above it. A file in the way becomes
// a directory that holds it.
func (s *Store) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	err := s.root.MkdirAll(dir, 0o755)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil // made, or removed again: the next attempt tells
	}
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		st, serr := s.lstat(dir[:i])
		switch {
		case serr != nil:
			return nil
		case st.regular:
			return s.makeRoom(dir[:i])
		}
	}
	if again := s.root.MkdirAll(dir, 0o755); again == nil || errors.Is(again, fs.ErrNotExist) {
		return nil
	}
	return err
}

// makeRoom turns the file of an entry into a directory with the file inside, in
// one step: neither a reader nor a crash finds the entry gone.
func (s *Store) makeRoom(name string) error {
	mu := s.place(name)
	mu.Lock()
	defer mu.Unlock()
	if st, err := s.lstat(name); err != nil || !st.regular {
		return nil // it was done meanwhile
	}
	temp := s.tempName()
	if err := s.root.Mkdir(temp, 0o755); err != nil {
		return err
	}
	inside := temp + "/" + contentName
	defer s.discard(temp) // after the exchange, this is the file
	if err := s.root.Link(name, inside); err != nil {
		return err
	}
	if s.strict {
		if err := s.syncDir(temp); err != nil {
			return err
		}
	}
	if err := s.exchange(temp, name); err != nil {
		// Without an exchange the entry is missed for a moment, and after a crash just here.
		if err := s.root.Remove(name); err != nil {
			return err
		}
		if err := s.root.Rename(temp, name); err != nil {
			return err
		}
	}
	if s.strict {
		return s.syncDirs(path.Dir(name))
	}
	s.syncer.mark(name+"/"+contentName, "")
	return nil
}

func (s *Store) exchange(a, b string) error {
	da, err := s.root.Open(path.Dir(a))
	if err != nil {
		return err
	}
	defer da.Close()
	db, err := s.root.Open(path.Dir(b))
	if err != nil {
		return err
	}
	defer db.Close()
	return exchangeNames(da, path.Base(a), db, path.Base(b))
}

// syncDirs syncs a directory and all above it: any of them may be new.
func (s *Store) syncDirs(dir string) error {
	for ; ; dir = path.Dir(dir) {
		if err := s.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == "." {
			return nil
		}
	}
}

// removeFile removes the file st at the place name, unless another one took its
// place. It reports whether it did.
func (s *Store) removeFile(name, at string, st stat) bool {
	mu := s.place(name)
	mu.Lock()
	removed := s.removeLocked(name, at, st)
	mu.Unlock()
	if removed {
		s.removeEmpty(at)
	}
	return removed
}

// removeLocked is removeFile with the lock of the place held.
func (s *Store) removeLocked(name, at string, st stat) bool {
	if now, err := s.lstat(at); err != nil || !now.same(st) {
		return false
	}
	return s.removeEntry(name, at, st) == nil
}

// removeEntry removes the file at a place, whose lock is held, and all that we
// know of it.
func (s *Store) removeEntry(name, at string, st stat) error {
	if s.sidecars.Load() { // see rename
		if file, err := s.openFile(at); err == nil {
			defer file.Close()
		}
	}
	if err := s.root.Remove(at); err != nil {
		return err
	}
	s.removeSidecar(st)
	s.space.add(-s.index.drop(name))
	return nil
}

// touch notes that an entry was used: at once in memory, on disk if what stands
// there is an hour old.
func (s *Store) touch(name, at string, st stat) {
	now := s.now()
	if more := s.index.touch(name, now, st.blocks); more != 0 {
		s.space.add(more)
	}
	if now.Sub(st.atime) > time.Hour {
		s.root.Chtimes(at, now, time.Time{}) // a hint: an error costs nothing
		s.syncer.mark("", "")
	}
}

// placeOf is the place of a file found at a path: the content of a directory
// has the directory's.
func placeOf(at string) string { return strings.TrimSuffix(at, "/"+contentName) }
