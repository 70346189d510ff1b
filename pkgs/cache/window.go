package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A window holds the newest part of a body that cannot be drafted: bytes
// [start, end) of the content, in a ring. Guarded by flight.mu.
type window struct {
	ring       []byte
	start, end int64
}

const (
	windowSize = 256 << 10
	// lagTime is how long the others wait for a reader that holds the window up.
	lagTime = 10 * time.Second
)

var errLagged = errors.New("too slow for a transfer that cannot be stored")

// copyAt copies what it has from off on; 0 if that is not in the window.
func (w *window) copyAt(p []byte, off int64) int {
	if off < w.start || off >= w.end {
		return 0
	}
	p = p[:min(int64(len(p)), w.end-off)]
	at := int(off % windowSize)
	n := copy(p, w.ring[at:])
	return n + copy(p[n:], w.ring)
}

// push appends p, which must fit.
func (w *window) push(p []byte) {
	at := int(w.end % windowSize)
	n := copy(w.ring[at:], p)
	copy(w.ring, p[n:])
	w.end += int64(len(p))
}

// pass turns the flight into pass-through: its readers get the rest, from off
// on, through the window; nothing is stored, and nobody else may join, since
// the window moves on.
func (f *flight) pass(err error, off int64) {
	if !errors.Is(err, errBypass) {
		f.cache.log.Warn("content passes through unstored", "hub", f.key.Hub, "key", f.key.Path, "err", err)
	}
	f.cache.leave(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passing, f.drafted = true, off
	f.frontier = max(f.frontier, off-f.hold)
	f.window = window{ring: make([]byte, windowSize), start: off, end: off}
	f.wake()
}

// offer puts p into the window, waiting for readers to make room.
func (f *flight) offer(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		f.mu.Lock()
		if len(f.readers) == 0 {
			f.mu.Unlock()
			return errAbandoned
		}
		f.window.start = max(f.window.start, min(f.slowest(), f.window.end))
		room := windowSize - (f.window.end - f.window.start)
		if room == 0 {
			if f.drained == nil {
				f.drained = make(chan struct{})
			}
			drained := f.drained
			f.mu.Unlock()
			if err := f.awaitRoom(ctx, drained); err != nil {
				return err
			}
			continue
		}
		n := min(int64(len(p)), room)
		f.window.push(p[:n])
		f.frontier = max(f.frontier, f.window.end-f.hold)
		f.wake()
		f.mu.Unlock()
		p = p[n:]
	}
	return nil
}

// slowest is where the last reader stands; readers ahead of the window's end,
// who wait for a range, do not count. Callers hold mu.
func (f *flight) slowest() int64 {
	at := f.window.end
	for r := range f.readers {
		at = min(at, r.at)
	}
	return at
}

// awaitRoom waits until a reader moves. Readers that hold the others up for too
// long are cut.
func (f *flight) awaitRoom(ctx context.Context, drained <-chan struct{}) error {
	t := time.NewTimer(lagTime)
	defer t.Stop()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pass %v through: %w", f.key, context.Cause(ctx))
	case <-t.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.slowest()
	for r := range f.readers {
		if r.at > at { // somebody waits for the slowest
			for r := range f.readers {
				if r.at == at {
					r.cut = errLagged
					delete(f.readers, r)
				}
			}
			f.wake()
			break
		}
	}
	return nil
}
