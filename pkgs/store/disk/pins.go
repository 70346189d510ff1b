package disk

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

var _ store.Pinner = (*Store)(nil)

const (
	pinsFile    = metaDir + "/pins"
	maxPins     = 100_000
	maxPinsFile = 64 << 20 // bytes
)

// pins are the keys whose entries are not evicted. They are in a file of their
// own, which is written whole at each change, and before anybody relies on it.
type pins struct {
	changing sync.Mutex // held while the file is written; before mu

	mu  sync.Mutex
	all map[exchange.Key]struct{} // guarded by mu
}

// Pin implements [store.Pinner].
func (s *Store) Pin(ctx context.Context, key exchange.Key, pinned bool) error {
	if pinned {
		_, content, err := s.find(ctx, key)
		if err != nil {
			return fmt.Errorf("pin %v: %w", key, err)
		}
		content.Close()
	}
	if err := s.setPin(key, pinned); err != nil {
		return fmt.Errorf("pin %v: %w", key, err)
	}
	return nil
}

// setPin changes the pins, if that changes anything.
func (s *Store) setPin(key exchange.Key, pinned bool) error {
	if s.Pinned(key) == pinned {
		return nil
	}
	s.pins.changing.Lock()
	defer s.pins.changing.Unlock()
	if s.ceded.Load() { // they are another process's
		if pinned {
			return errCeded
		}
		return nil
	}
	all := s.Pins()
	i, has := slices.BinarySearchFunc(all, key, compareKeys)
	switch {
	case has == pinned:
		return nil
	case !pinned:
		all = slices.Delete(all, i, i+1)
	case len(all) >= maxPins:
		return fmt.Errorf("%d pins are the most there may be: %w", maxPins, store.ErrFull)
	default:
		all = slices.Insert(all, i, key)
	}
	if err := s.writePins(all); err != nil {
		return err
	}
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	if pinned {
		s.pins.all[key] = struct{}{}
	} else {
		delete(s.pins.all, key)
	}
	return nil
}

// Pinned implements [store.Pinner].
func (s *Store) Pinned(key exchange.Key) bool {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	_, ok := s.pins.all[key]
	return ok
}

// Pins implements [store.Pinner].
func (s *Store) Pins() []exchange.Key {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	all := make([]exchange.Key, 0, len(s.pins.all))
	for key := range s.pins.all {
		all = append(all, key)
	}
	slices.SortFunc(all, compareKeys)
	return all
}

// pinnedHashes are the pins as the index knows them; nil if there are none.
func (s *Store) pinnedHashes() map[uint64]struct{} {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	if len(s.pins.all) == 0 {
		return nil
	}
	hashes := make(map[uint64]struct{}, len(s.pins.all))
	for key := range s.pins.all {
		hashes[s.index.hash(place(key))] = struct{}{}
	}
	return hashes
}

func (s *Store) writePins(all []exchange.Key) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	temp, file, err := s.createTemp()
	if err != nil {
		return err
	}
	_, err = file.Write(seal(text))
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.root.Rename(temp, pinsFile)
	}
	if err != nil {
		s.discard(temp)
		return err
	}
	return s.syncDir(metaDir)
}

// readPins is what an earlier run has left. A file that cannot be read is none.
func (s *Store) readPins() {
	s.pins.all = map[exchange.Key]struct{}{}
	file, err := s.root.Open(pinsFile)
	if err != nil {
		if !missing(err) {
			s.log.Warn("pins not read", "err", err)
		}
		return
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxPinsFile))
	if err != nil {
		s.log.Warn("pins not read", "err", err)
		return
	}
	keys, err := decodePins(b)
	if err != nil {
		s.log.Warn("pins not read: nothing is pinned any more", "err", err)
		return
	}
	for _, key := range keys {
		s.pins.all[key] = struct{}{}
	}
}

// decodePins is what the file of pins says.
func decodePins(b []byte) (keys []exchange.Key, err error) {
	text, ok := unseal(b)
	if !ok {
		return nil, errRecord
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	if len(keys) > maxPins {
		return nil, fmt.Errorf("%w: %d pins", errRecord, len(keys))
	}
	return keys, nil
}

func compareKeys(a, b exchange.Key) int {
	return cmp.Or(strings.Compare(a.Hub, b.Hub), strings.Compare(a.Path, b.Path), strings.Compare(a.Variant, b.Variant))
}
