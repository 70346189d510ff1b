package disk

import (
	"sync"
	"time"
)

const (
	maxLeft    = 10_000           // names are remembered; what is too much goes with the next start
	clearEvery = 10 * time.Second // what is left is tried again, though no draft is made: the store may be bypassed
)

// leftovers are temporary files that could not be removed: to remove a file takes
// a descriptor, of which there may be none at the moment.
type leftovers struct {
	mu    sync.Mutex
	names []string // guarded by mu
}

// discard removes a temporary file, or a directory with one, now or later.
func (s *Store) discard(name string) error {
	err := s.root.RemoveAll(name)
	if err == nil {
		return nil
	}
	s.left.mu.Lock()
	defer s.left.mu.Unlock()
	if len(s.left.names) < maxLeft {
		s.left.names = append(s.left.names, name)
	}
	return err
}

// clear removes what is left, if that can be done by now.
func (s *Store) clear() {
	s.left.mu.Lock()
	names := s.left.names
	s.left.names = nil
	s.left.mu.Unlock()
	for _, name := range names {
		s.discard(name)
	}
}
