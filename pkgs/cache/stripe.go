package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// extents are the parts of content that have arrived: sorted, apart.
type extents []extent

type extent struct{ from, to int64 }

// add takes a piece in, and joins what it touches.
func (x *extents) add(from, to int64) {
	all := *x
	i := sort.Search(len(all), func(i int) bool { return all[i].to >= from })
	j := i
	for ; j < len(all) && all[j].from <= to; j++ {
		from, to = min(from, all[j].from), max(to, all[j].to)
	}
	if i == j {
		all = append(all, extent{})
		copy(all[i+1:], all[i:])
		all[i] = extent{from, to}
	} else {
		all[i] = extent{from, to}
		all = append(all[:i+1], all[j:]...)
	}
	*x = all
}

// end is where the part that holds off ends; off if there is none.
func (x extents) end(off int64) int64 {
	i := sort.Search(len(x), func(i int) bool { return x[i].to > off })
	if i < len(x) && x[i].from <= off {
		return x[i].to
	}
	return off
}

// before is where the last part that begins at off or before it ends, at off at most; 0 if
// there is none.
func (x extents) before(off int64) int64 {
	i := sort.Search(len(x), func(i int) bool { return x[i].from > off })
	if i == 0 {
		return 0
	}
	return min(x[i-1].to, off)
}

// readable is how much content may be read at off: 0 or less is none. Callers hold mu.
func (f *flight) readable(off int64) int64 {
	if off >= f.frontier && len(f.arrived) > 0 {
		end := f.arrived.end(off)
		if f.from > 0 && off >= f.arrived.end(0) {
			return end - off
		}
		return min(end, f.entry.Size-f.hold) - off
	}
	return f.frontier - off
}

// copyParts fetches content in parts from several mirrors at once. What is
// before the first gap is hashed behind, read back from the draft, beyond what is
// done already. It returns how far that has come.
func (f *flight) copyParts(ctx context.Context, ranges exchange.Ranges, body io.Reader, size int64, proof *proof, done int64) (int64, error) {
	f.mu.Lock()
	if f.arrived == nil {
		f.arrived = extents{}
	}
	f.mu.Unlock()
	moved := make(chan struct{}, 1) // the hash's cue
	arrived := func(off, n int64) {
		f.mu.Lock()
		f.arrived.add(off, off+n)
		f.frontier = max(f.frontier, min(f.arrived.end(0), size-f.hold))
		f.wake()
		f.mu.Unlock()
		select {
		case moved <- struct{}{}:
		default:
		}
	}
	hashing, stop := context.WithCancel(ctx)
	defer stop()
	hashed := make(chan error, 1)
	go func() { // ends with the content, or by stop; done is its own until then
		hashed <- f.follow(hashing, moved, size, proof, &done)
	}()
	err := ranges.CopyParts(ctx, marked{f.draft}, arrived, f.wanted)
	if err != nil {
		stop()
		<-hashed
		if ctx.Err() != nil || !f.draftFailed(err) {
			return done, err
		}
		// The disk is out: what is before the first gap stays, the rest passes through.
		f.mu.Lock()
		f.arrived = nil
		f.frontier = max(done-f.hold, 0)
		f.mu.Unlock()
		f.pass(err, done)
		ranges.Rewind(done)
		return f.copy(ctx, body, size, proof, done)
	}
	if err := <-hashed; err != nil {
		return done, err
	}
	return size, nil
}

// draftFailed says whether err is of the draft, which then takes nothing more.
func (f *flight) draftFailed(err error) bool {
	var e *draftError
	if errors.As(err, &e) {
		f.cache.disk.note(e.err)
		return true
	}
	return false
}

// draftError is an error of writing to a draft, told apart from upstream's.
type draftError struct{ err error }

func (e *draftError) Error() string { return "draft: " + e.err.Error() }
func (e *draftError) Unwrap() error { return e.err }

// marked is a draft whose errors are marked as its own.
type marked struct{ io.WriterAt }

func (m marked) WriteAt(p []byte, off int64) (int, error) {
	n, err := m.WriterAt.WriteAt(p, off)
	if err != nil {
		err = &draftError{err}
	}
	return n, err
}

// follow hashes content from the draft, up to the first gap, as it grows.
func (f *flight) follow(ctx context.Context, moved <-chan struct{}, size int64, proof *proof, done *int64) error {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for *done < size {
		f.mu.Lock()
		ready := f.arrived.end(0)
		f.mu.Unlock()
		f.keeper.scattered(*done)
		for *done < ready {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			p := (*buf)[:min(int64(len(*buf)), ready-*done)]
			if n, err := f.draft.ReadAt(p, *done); n < len(p) {
				return fmt.Errorf("%v: %w: %w", f.key, errUnreadable, err)
			}
			proof.Write(p)
			*done += int64(len(p))
			f.keeper.scattered(*done)
		}
		if *done == size {
			break
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// wanted is the first offset that a reader waits for, or -1.
func (f *flight) wanted() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := int64(-1)
	for r := range f.readers {
		if r.waits && f.readable(r.at) <= 0 && (first < 0 || r.at < first) {
			first = r.at
		}
	}
	return first
}

// farAhead is from how many bytes beyond the frontier on a reader asks upstream
// for its range itself instead of waiting (PROTOCOLS 0.14).
const farAhead = 1 << 20

// ahead is how far off lies beyond what comes next of what is before it; 0 where
// what a reader waits for is brought to it. Callers hold mu.
func (f *flight) ahead(off int64) int64 {
	switch {
	case f.arrived == nil:
		return off - f.frontier
	case f.from == 0 || f.lanes:
		return 0
	}
	next := f.arrived.before(off)
	if off >= f.from {
		next = max(next, f.from)
	}
	return off - next
}

// section asks upstream for what the reader waits for, if that is far ahead of
// the flight: n bytes at its offset, or less if the flight gets there first. The
// answer is passed on and not stored. ok is false if the reader should wait.
func (r *reader) section(w io.Writer, n int64) (written int64, ok bool, err error) {
	f := r.flight
	f.mu.Lock()
	ahead := f.end == nil && f.ahead(r.off) >= farAhead
	if ahead {
		r.at = r.off // a window waits there, and no sooner
	}
	f.mu.Unlock()
	if !ahead || f.ranges == nil || f.entry.Size < 0 {
		return 0, false, nil
	}
	if n < 0 {
		n = f.entry.Size - r.off
	}
	if n <= 0 || r.off+n > f.entry.Size {
		return 0, false, nil
	}
	part, err := f.ranges.Section(r.ctx, r.off, n)
	if err != nil {
		return 0, false, nil // the flight will get there
	}
	defer part.Close()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for written < n {
		f.mu.Lock()
		there := f.readable(r.off) > 0
		f.mu.Unlock()
		if there {
			return written, true, nil
		}
		m, err := part.Read((*buf)[:min(int64(len(*buf)), n-written)])
		if m > 0 {
			k, werr := w.Write((*buf)[:m])
			written += int64(k)
			r.off += int64(k)
			if werr != nil {
				return written, true, werr
			}
		}
		if err != nil && written < n {
			return written, written > 0, nil // go on by waiting, or by another section
		}
	}
	return written, true, nil
}
