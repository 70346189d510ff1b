package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// The least recently used entries go as soon as fewer than highWater percent of
// a limit are left, until lowWater percent are.
const (
	highWater = 2
	lowWater  = 5
	patience  = 2 * time.Second // how long a draft waits for room
)

// evictor hands wishes for room to the one goroutine that evicts.
type evictor struct {
	work chan struct{} // holds one: somebody is waiting

	mu    sync.Mutex
	want  []int64       // guarded by mu; of those that wait
	vain  int           // guarded by mu; passes that found nothing
	moved chan struct{} // guarded by mu; closed and replaced when room was made or a pass ended
}

func newEvictor() *evictor {
	return &evictor{work: make(chan struct{}, 1), moved: make(chan struct{})}
}

// wish is for n bytes of room, until it is granted or withdrawn.
func (v *evictor) wish(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.want = append(v.want, n)
}

func (v *evictor) withdraw(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.granted(n)
}

// granted is called with mu held.
func (v *evictor) granted(n int64) {
	i := slices.Index(v.want, n)
	v.want = slices.Delete(v.want, i, i+1)
}

// wake asks for a pass.
func (v *evictor) wake() {
	select {
	case v.work <- struct{}{}:
	default:
	}
}

func (v *evictor) state() (moved <-chan struct{}, vain int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.moved, v.vain
}

// progress wakes those that wait for room; vain passes let them give up.
func (v *evictor) progress(vain int) {
	v.mu.Lock()
	v.vain += vain
	close(v.moved)
	v.moved = make(chan struct{})
	v.mu.Unlock()
}

// reserve takes n bytes of room, evicting what was used least recently, or is
// [store.ErrFull].
func (s *Store) reserve(n int64) error {
	if s.space.take(n) {
		return nil
	}
	if s.ceded.Load() {
		return store.ErrFull
	}
	wait := patience
	if !s.scanned.Load() {
		wait /= 10 // nothing is evicted before everything is counted
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	_, start := s.evictor.state()
	s.evictor.wish(n)
	for {
		moved, vain := s.evictor.state()
		if s.grant(n) {
			return nil
		}
		// The pass that was running did not know of us; the second one did.
		if vain >= start+2 || s.space.hopeless(n) {
			s.evictor.withdraw(n)
			return store.ErrFull
		}
		s.evictor.wake()
		select {
		case <-moved:
			continue
		case <-timeout.C:
		case <-s.closing:
		}
		s.evictor.withdraw(n)
		return store.ErrFull
	}
}

// grant takes n bytes of room for a wish, which ends with that: a pass under way
// must not count both what was taken and what was wished for.
func (s *Store) grant(n int64) bool {
	s.evictor.mu.Lock()
	defer s.evictor.mu.Unlock()
	if !s.space.take(n) {
		return false
	}
	s.evictor.granted(n)
	return true
}

// lack is how much has to go for the largest wish, with spare percent left over.
func (s *Store) lack(spare int64) int64 {
	s.evictor.mu.Lock()
	defer s.evictor.mu.Unlock()
	var want int64
	if len(s.evictor.want) > 0 {
		want = slices.Max(s.evictor.want)
	}
	return s.space.short(want, spare)
}

// maintain scans, then evicts whenever asked, and removes what is left or too old
// now and then. It ends with the store.
func (s *Store) maintain() {
	defer s.background.Done()
	s.scan()
	aging := time.NewTicker(time.Hour)
	defer aging.Stop()
	clearing := time.NewTicker(clearEvery)
	defer clearing.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-aging.C:
			s.ageParts()
		case <-clearing.C:
			s.clear()
		case <-s.evictor.work:
			vain := 1
			if s.evict() > 0 {
				vain = 0
			}
			s.evictor.progress(vain)
		}
	}
}

// evict makes room for what is wished for. Parts go first. Then it picks a threshold of
// access times from the index, and walks the tree for what is older. Nobody waits
// for the walk but drafts that found no room. It returns how many entries went.
func (s *Store) evict() (evicted int) {
	if s.ceded.Load() || s.lack(0) <= 0 && s.space.short(0, highWater) <= 0 {
		return 0
	}
	evicted = s.dropParts()
	goal := s.lack(lowWater)
	if goal <= 0 {
		return evicted
	}
	victims, limit := s.index.oldest(goal, s.pinnedHashes())
	err := s.walk(".", func(at string, st stat) error {
		name := placeOf(at)
		if !s.index.has(name) { // put here by somebody else
			s.account(name, at, st)
			return nil
		}
		if _, ok := victims[s.index.hash(name)]; !ok {
			return nil
		}
		delete(victims, s.index.hash(name))
		if s.evictFile(name, at, st, limit) {
			evicted++
		}
		return nil
	})
	if err != nil {
		if !s.isClosing() {
			s.log.Warn("eviction did not see the whole store", "err", err)
		}
		if _, denied := isUnread(err); !denied {
			return evicted
		}
	}
	for h := range victims { // removed behind our back
		if n := s.index.forget(h, limit); n > 0 {
			s.space.add(-n)
			evicted++
		}
	}
	return evicted
}

func (s *Store) evictFile(name, at string, st stat, limit int64) bool {
	mu := s.place(name)
	mu.Lock()
	removed := !s.ceded.Load() && s.index.older(name, limit) && s.removeLocked(name, at, st)
	mu.Unlock()
	if removed {
		s.evictions.Add(1)
		s.removeEmpty(at)
		s.evictor.progress(0)
	}
	return removed
}

// scan counts what is there. It runs behind the listener.
func (s *Store) scan() {
	err := s.walk(".", func(at string, st stat) error {
		s.account(placeOf(at), at, st)
		return nil
	})
	if _, denied := isUnread(err); denied {
		s.log.Warn("folders of the data directory cannot be read: what is in them is not served, and not counted", "err", err)
		err = nil
	}
	if err == nil {
		err = s.sweepSidecars()
	}
	if err != nil {
		if !s.isClosing() {
			s.log.Warn("the scan did not see the whole store", "err", err)
		}
		return
	}
	s.scanned.Store(true)
	if s.space.short(0, highWater) > 0 {
		s.evictor.wake()
	}
}

// account counts a file that was found, unless it is known or gone by now.
func (s *Store) account(name, at string, st stat) {
	mu := s.place(name)
	mu.Lock()
	defer mu.Unlock()
	if s.index.has(name) {
		return
	}
	if now, err := s.lstat(at); err != nil || !now.same(st) {
		return
	}
	used := st.atime
	if st.mtime.After(used) && st.mtime.Before(s.now()) {
		used = st.mtime
	}
	if more := s.index.touch(name, used, s.charge(st)); more != 0 {
		s.space.add(more)
	}
}

// unread is the error of a folder that could not be read, in part or as a whole.
type unread struct{ err error }

func (e *unread) Error() string { return "not all folders can be read: " + e.err.Error() }
func (e *unread) Unwrap() error { return e.err }

// isUnread reports whether a walk has seen all but the content of such folders, and
// denied whether they were none of the store's: the process may not read them.
func isUnread(err error) (left, denied bool) {
	left = errors.As(err, new(*unread))
	return left, left && errors.Is(err, fs.ErrPermission)
}

// lostDir is what file systems have at their top for fsck, and for root alone.
const lostDir = "lost+found"

// walk calls f with every regular file that may be content, in no order. It goes on
// behind a folder that cannot be read, and ends in an [unread] then: that of one that
// could have been, if there is any. An error of f's ends it at once.
func (s *Store) walk(dir string, f func(at string, st stat) error) error {
	d, err := s.root.Open(dir)
	switch {
	case err == nil:
	case missing(err), dir == lostDir && errors.Is(err, fs.ErrPermission): // removed meanwhile; nobody's content
		return nil
	case dir == ".":
		return fmt.Errorf("walk: %w", err)
	default:
		return &unread{err}
	}
	defer d.Close()
	var left error
	leave := func(err error) {
		if _, denied := isUnread(left); left == nil || denied {
			left = err
		}
	}
	for {
		if s.isClosing() {
			return os.ErrClosed
		}
		entries, end := d.ReadDir(1024)
		for _, entry := range entries {
			name := entry.Name()
			at := path.Join(dir, name)
			if at == tempDir || at == metaDir {
				continue
			}
			st, err := statAt(d, name)
			switch {
			case err != nil: // removed meanwhile
			case st.dir:
				if err = s.walk(at, f); errors.As(err, new(*unread)) {
					leave(err)
					err = nil
				}
			case st.regular:
				err = f(at, st)
			}
			if err != nil && !missing(err) {
				return err
			}
		}
		switch {
		case end == nil && len(entries) > 0:
		case end == nil, end == io.EOF, missing(end):
			return left
		default:
			leave(&unread{end})
			return left
		}
	}
}
