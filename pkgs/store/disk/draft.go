package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

var (
	_ store.Keeper   = (*draft)(nil)
	_ store.Reopener = (*draft)(nil)
)

const (
	step       = 1 << 20 // room is taken so when a draft's size is unknown, or was wrong
	preallocAt = 1 << 20 // smaller files are faster without
	metaRoom   = 4096    // for the metadata: a block of its own on most file systems
)

// A draft is a temporary file. Its room counts from the start.
type draft struct {
	store *Store
	file  *os.File
	room  atomic.Int64 // reserved for content
	end   atomic.Int64 // of the furthest write
	later atomic.Int64 // bytes to allocate; 0: none, or it is done. The first write, which a client waits for, goes before

	mu        sync.Mutex
	name      string      // guarded by mu; temporary, or where it was published
	record    *partRecord // guarded by mu; nil: it was never to be kept
	err       error       // guarded by mu; of the first write that failed
	committed bool        // guarded by mu
	closed    bool        // guarded by mu
}

// Draft implements [store.Store].
func (s *Store) Draft(ctx context.Context, size int64) (store.Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	room := pages(max(size, 0))
	if err := s.reserve(room + metaRoom); err != nil {
		return nil, fmt.Errorf("draft of %d bytes: %w", size, err)
	}
	if d := s.smallDraft(size, room); d != nil {
		return d, nil
	}
	d, err := s.fileDraft(size, room)
	if err != nil {
		s.space.release(room + metaRoom)
		return nil, fmt.Errorf("draft: %w", err)
	}
	return d, nil
}

// fileDraft is a draft for which room and metaRoom are reserved.
func (s *Store) fileDraft(size, room int64) (*draft, error) {
	name, file, err := s.createTemp()
	if err != nil {
		return nil, err
	}
	s.clear()
	d := &draft{store: s, file: file, name: name}
	d.room.Store(room)
	if size >= preallocAt {
		d.later.Store(size)
	}
	return d, nil
}

// createTemp makes a new file by the pattern.
func (s *Store) createTemp() (name string, file *os.File, err error) {
	for range 10 {
		name = s.tempName()
		file, err = s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case errors.Is(err, fs.ErrNotExist): // somebody removed everything: that is allowed
			err = s.root.MkdirAll(tempDir, 0o755)
			if err == nil {
				file, err = s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
			}
		}
		break
	}
	return name, file, err
}

// tempName is a fresh name by the pattern.
func (s *Store) tempName() string {
	after := ""
	if i := strings.LastIndexByte(s.pattern, '*'); i >= 0 {
		after = s.pattern[i+1:]
	}
	return s.tempStart() + rand.Text()[:16-tagLength] + after
}

// tagLength is how much of what is random in the name of a temporary file is the
// process's own.
const tagLength = 5

// tempStart is what all names that this process gives to temporary files begin with.
func (s *Store) tempStart() string {
	before := s.pattern
	if i := strings.LastIndexByte(s.pattern, '*'); i >= 0 {
		before = s.pattern[:i]
	}
	return tempDir + "/" + before + s.tag
}

// writePiece is how much is written at once. From 128 KiB on Linux takes folios
// of that order for the page cache, and finding them costs more than the copy:
// 0.25-0.35 s a GiB in pieces of 64 KiB, 0.6-1.5 s of 256 KiB and more (6.18, ext4).
const writePiece = 64 << 10

// WriteAt implements [io.WriterAt].
func (d *draft) WriteAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	if err := d.grow(end); err != nil {
		return 0, err
	}
	if d.later.Load() > 0 && d.end.Load() > 0 {
		if size := d.later.Swap(0); size > 0 {
			if err := allocate(d.file, size); err != nil {
				return 0, d.fail(err)
			}
		}
	}
	n := 0
	for n < len(p) {
		m, err := d.file.WriteAt(p[n:min(n+writePiece, len(p))], off+int64(n))
		n += m
		if err != nil {
			return n, d.fail(err)
		}
	}
	for old := d.end.Load(); old < end && !d.end.CompareAndSwap(old, end); old = d.end.Load() {
	}
	return n, nil
}

// grow sees to room for content up to end.
func (d *draft) grow(end int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
		return d.err
	case d.closed:
		return os.ErrClosed
	case d.committed:
		return errors.New("write to a committed draft")
	}
	room := d.room.Load()
	if end <= room {
		return nil
	}
	more := pages(max(end-room, step))
	if err := d.store.reserve(more); err != nil {
		d.err = err
		return err
	}
	d.room.Store(room + more)
	return nil
}

func (d *draft) fail(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
	return err
}

// ReadAt implements [io.ReaderAt]; it ends where writing got to.
func (d *draft) ReadAt(p []byte, off int64) (int, error) { return d.file.ReadAt(p, off) }

// Reopen implements [store.Reopener].
func (d *draft) Reopen() (*os.File, error) {
	st, err := statFile(d.file)
	if err != nil {
		return nil, err
	}
	for range 2 { // the name may change in between, once
		d.mu.Lock()
		name := d.name
		d.mu.Unlock()
		file, err := d.store.openFile(name)
		if err != nil {
			continue
		}
		if now, err := statFile(file); err == nil && now.same(st) {
			return file, nil
		}
		file.Close()
	}
	return reopenDescriptor(d.file) // replaced or evicted
}

// Commit implements [store.Draft].
func (d *draft) Commit(ctx context.Context, e *exchange.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
		return fmt.Errorf("commit %v: %w", e.Key, d.err)
	case d.closed || d.committed:
		return fmt.Errorf("commit %v: %w", e.Key, os.ErrClosed)
	case e.Size != d.end.Load():
		return fmt.Errorf("commit %v: %d bytes, want %d", e.Key, d.end.Load(), e.Size)
	}
	if d.record != nil {
		if _, d.err = d.record.state(); d.err != nil {
			return fmt.Errorf("commit %v: %w", e.Key, d.err)
		}
	}
	defer d.store.change(e.Key)()
	at, err := d.store.commit(d.file, d.name, d.room.Load(), e)
	if err != nil {
		d.err = err // a failed sync says nothing sure of the file any more
		return fmt.Errorf("commit %v: %w", e.Key, err)
	}
	d.name, d.committed = at, true
	if d.record != nil {
		d.record.drop()
	}
	return nil
}

// Keep implements [store.Keeper].
func (d *draft) Keep(part *exchange.Part, note []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed || d.committed:
	case part != nil && len(part.Have) > 0 && d.err == nil:
		if d.record == nil {
			d.record = &partRecord{store: d.store, name: d.name}
		}
		d.record.keep(&kept{part, note, d.store.now()})
	case d.record != nil:
		d.record.drop()
	}
}

// Close implements [store.Draft].
func (d *draft) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if !d.committed && d.err == nil && d.record != nil && d.store.keepPart(d.record, d.file, d.room.Load()) {
		return d.file.Close()
	}
	if !d.committed && d.record != nil {
		d.record.drop()
	}
	err := d.file.Close()
	if !d.committed {
		if rerr := d.store.discard(d.name); err == nil {
			err = rerr
		}
		d.store.space.release(d.room.Load() + metaRoom)
	}
	return err
}
