package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// stream carries the content of resp to the readers and to the store.
//
// Content with a known digest that is no longer than what is held back for the
// proof (DESIGN decision 4) is proved before anybody hears of it; if it is
// wrong, that is the error. Of longer content readers have had a part: the
// flight fails, and another one fetches what is right.
func (f *flight) stream(ctx context.Context, next exchange.Source, ask *exchange.Request, resp *exchange.Response) error {
	defer resp.Body.Close()
	entry := *resp.Entry
	entry.Stored = entry.Received
	f.entry, f.ranges = &entry, resp.Ranges
	p := f.cache.newProof(ask.Digest, entry.Size)
	f.unproven = resp.Unproven && p.wanted == nil
	f.hold = p.hold()
	quiet := f.hold > 0 && entry.Size >= 0 && entry.Size <= f.hold
	if f.replaces = ask.Validate != nil; f.replaces {
		f.hold = smallChunk
	}
	if f.shared != nil && f.shared.alone {
		f.replaces, f.hold = true, min(max(entry.Size, 0), 1) // nobody finds it here, so it is in its place when it is whole
	}
	had := f.had
	if f.had = nil; had != nil {
		f.resume(had)
	} else if err := f.reserve(ctx, entry.Size); err != nil {
		f.cache.disk.note(err)
		f.pass(err, 0)
		quiet = false // what is not drafted needs readers
	} else if resp.From > 0 && resp.Ranges != nil {
		f.beginAt(resp.From)
	}
	f.keeper = f.newKeeper(ask, resp, p, had)
	switch {
	case quiet:
	case entry.Size >= 0 && entry.Size <= smallChunk && f.draft != nil:
		f.linger()
	default:
		f.announce()
	}
	fresh := false
	n, err := f.fetch(ctx, resp, p, had)
	if err == nil {
		if err = p.check(); err != nil {
			err = fmt.Errorf("%v from %s: %w", f.key, entry.Mirror, err)
			fresh = f.wrong(resp, had)
		}
	}
	switch {
	case err != nil && quiet:
		f.draft.Close()
		f.draft, f.entry = nil, nil
		f.mu.Lock()
		f.passing, f.drafted, f.window = false, 0, window{} // nothing of it is to be mixed with what comes now
		f.mu.Unlock()
		return err
	case err != nil:
		f.keeper.end(n, err)
		f.fail(causeOr(ctx, err))
		if fresh {
			f.cache.again(next, ask)
		}
		return nil
	}
	f.finish(ctx, n, p)
	return nil
}

// wrong takes note of content that is not what it should be, and reports whether
// another one is worth a try.
func (f *flight) wrong(resp *exchange.Response, had *remains) (fresh bool) {
	f.cache.counts.wrong.Add(1)
	credit := newCredit(resp, had)
	return f.cache.quarantine(f.key, credit.shares(), had != nil)
}

// reserve makes the draft, or says why there is none.
func (f *flight) reserve(ctx context.Context, size int64) error {
	if err := f.cache.disk.allow(); err != nil {
		return err
	}
	d, err := f.cache.store.Draft(ctx, size)
	if err != nil {
		return err
	}
	f.draft = d
	return nil
}

// causeOr prefers the reason why ctx ended to what came of it.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// fetch brings the content of resp, or what is missing of it, into the draft or
// the window, and returns how long it was, or how far it was hashed.
func (f *flight) fetch(ctx context.Context, resp *exchange.Response, p *proof, had *remains) (int64, error) {
	size := resp.Entry.Size
	hashed, begun := int64(0), int64(0)
	if had != nil {
		begun = had.begun()
		hashed = p.restore(had.note, begun)
	}
	parts := f.arrived != nil // as resume or beginAt has decided
	if had == nil && !parts {
		parts = f.ranges != nil && f.ranges.Striped() && size > 0 && f.draft != nil && f.storing()
	}
	if parts {
		return f.copyParts(ctx, f.ranges, resp.Body, size, p, hashed)
	}
	if had != nil {
		if err := f.rehash(ctx, p, hashed, begun); err != nil {
			return 0, err
		}
		f.ranges.Rewind(begun)
	}
	return f.copy(ctx, resp.Body, size, p, begun)
}

// copy reads body, which begins at off, to its end, and returns where that was.
// size is -1 if unknown.
func (f *flight) copy(ctx context.Context, body io.Reader, size int64, proof *proof, off int64) (int64, error) {
	p := publisher{flight: f}
	defer p.stop()
	buf := newBuffer(f.cache)
	defer buf.free()
	for {
		n, err := body.Read(buf.b)
		if n > 0 {
			if size >= 0 && off+int64(n) > size {
				return off, fmt.Errorf("%w: %v from %s is longer than the %d bytes it promised", errWrong, f.key, f.entry.Mirror, size)
			}
			proof.Write(buf.b[:n])
			if werr := f.write(ctx, buf.b[:n], off); werr != nil {
				return off, werr
			}
			off += int64(n)
			if f.cache.object > 0 && off > f.cache.object {
				return off, tooLarge(off)
			}
			p.advance(off)
			f.keeper.advance(off)
			buf.adapt(n)
			if f.late != nil && f.hold == 0 && off < size {
				f.announce() // the rest takes its time
			}
		}
		switch {
		case err == io.EOF && size >= 0 && off < size:
			return off, fmt.Errorf("%v from %s: %d of %d bytes: %w", f.key, f.entry.Mirror, off, size, io.ErrUnexpectedEOF)
		case err == io.EOF:
			return off, nil
		case err != nil:
			return off, fmt.Errorf("read %v from %s: %w", f.key, f.entry.Mirror, err)
		}
	}
}

func tooLarge(n int64) error {
	return &exchange.Error{Status: http.StatusBadGateway, Message: "the object is larger than allowed", Reason: "object-size", Err: fmt.Errorf("%d bytes", n)}
}

// write puts p at off: into the draft, or into the window once that has failed.
func (f *flight) write(ctx context.Context, p []byte, off int64) error {
	if f.draft != nil && f.storing() {
		_, err := f.draft.WriteAt(p, off)
		if err == nil {
			return nil
		}
		f.cache.disk.note(err)
		f.pass(err, off)
	}
	return f.offer(ctx, p)
}

// finish lands a flight whose content is proved: its readers may have all of
// it, then it is committed, then it leaves the table, so that nobody who looks
// at either misses it. Unproven content is not stored.
func (f *flight) finish(ctx context.Context, size int64, p *proof) {
	defer f.cache.leave(f)
	keep := f.keeping()
	// Nobody gets the old content after the new: what replaces a stored entry is
	// whole only once it is in its place.
	if f.replaces && keep {
		f.commit(ctx, size, p)
	}
	f.mu.Lock()
	f.frontier, f.end = size, io.EOF
	f.wake()
	f.mu.Unlock()
	f.announce()
	if !f.replaces && keep {
		f.commit(ctx, size, p)
	}
}

// commit publishes the draft. If that fails the content is whole all the same,
// only not stored.
func (f *flight) commit(ctx context.Context, size int64, p *proof) {
	e := *f.entry
	e.Key, e.Size, e.Digest, e.Proved = f.key, size, p.digest(), p.proved()
	if f.shared != nil && !f.shared.claim(&e) {
		return
	}
	err := f.draft.Commit(context.WithoutCancel(ctx), &e)
	f.cache.disk.note(err)
	if err != nil {
		f.cache.log.Warn("content not stored", "hub", f.key.Hub, "key", f.key.Path, "err", err)
	}
	if f.shared != nil && f.shared.late() { // invalidated between the claim and the commit
		_ = f.cache.store.Delete(context.WithoutCancel(ctx), e.Key)
	}
}
