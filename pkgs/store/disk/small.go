package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

var (
	_ store.Keeper   = (*smallDraft)(nil)
	_ store.Reopener = (*smallDraft)(nil)
)

const (
	smallContent = 256 << 10 // content up to this size is in memory until it is committed
	smallBudget  = 32 << 20  // bytes of all that is in memory so; past that drafts are files
)

// A smallDraft is content in memory that becomes a file when it is committed, so
// that those who read it do not wait for the file system; and the file needs no
// name before its last one. What outgrows memory is a [draft] from then on.
type smallDraft struct {
	store *Store
	held  int64 // of the budget

	// doing is held while content is written, committed, kept or closed; before mu.
	doing     sync.Mutex
	room      int64 // guarded by doing; reserved for content, until file has it
	err       error // guarded by doing; why nothing can be committed any more
	committed bool  // guarded by doing
	closed    bool  // guarded by doing

	mu   sync.RWMutex // both are changed under doing, too
	b    []byte       // guarded by mu; content as far as it is written; nil once it is in file, or closed
	file *draft       // guarded by mu; nil while content is in memory alone
}

// smallDraft is a draft in memory, for which room and metaRoom are reserved; nil
// if there is to be a file: the content is too long, or there is no memory for it.
func (s *Store) smallDraft(size, room int64) *smallDraft {
	if !s.unnamed || size > smallContent || s.noXattr.Load() {
		return nil
	}
	held := size
	if size < 0 {
		held = smallContent
	}
	if s.held.Add(held) > smallBudget {
		s.held.Add(-held)
		return nil
	}
	return &smallDraft{store: s, held: held, room: room, b: make([]byte, 0, max(size, 1))}
}

// WriteAt implements [io.WriterAt].
func (d *smallDraft) WriteAt(p []byte, off int64) (int, error) {
	d.doing.Lock()
	defer d.doing.Unlock()
	switch {
	case d.closed:
		return 0, os.ErrClosed
	case d.err != nil:
		return 0, d.err
	case d.committed:
		return 0, errors.New("write to a committed draft")
	}
	end := off + int64(len(p))
	if end > smallContent {
		if err := d.outgrow(); err != nil {
			return 0, err
		}
	}
	if d.file != nil {
		return d.file.WriteAt(p, off)
	}
	if more := pages(end) - d.room; more > 0 {
		if err := d.store.reserve(more); err != nil {
			d.err = err
			return 0, err
		}
		d.room += more
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if more := end - int64(len(d.b)); more > 0 {
		d.b = append(d.b, make([]byte, more)...)
	}
	return copy(d.b[off:], p), nil
}

// outgrow sees to a file. Callers hold doing.
func (d *smallDraft) outgrow() error {
	if d.file != nil {
		return nil
	}
	file, err := d.store.fileDraft(-1, d.room)
	if err != nil {
		d.err = err
		return err
	}
	if _, err = file.WriteAt(d.b, 0); err != nil {
		file.Close()
		d.room = -metaRoom // which the file had, and has given back
		d.err = err
		return err // those who read have what is in memory
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.file, d.b = file, nil // the file has the room, too
	return nil
}

// ReadAt implements [io.ReaderAt]; it ends where writing got to.
func (d *smallDraft) ReadAt(p []byte, off int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch {
	case d.file != nil:
		return d.file.ReadAt(p, off)
	case d.b == nil:
		return 0, os.ErrClosed
	case off >= int64(len(d.b)):
		return 0, io.EOF
	}
	n := copy(p, d.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Reopen implements [store.Reopener].
func (d *smallDraft) Reopen() (*os.File, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.file == nil {
		return nil, errors.ErrUnsupported
	}
	return d.file.Reopen()
}

// Keep implements [store.Keeper].
func (d *smallDraft) Keep(part *exchange.Part, note []byte) {
	d.doing.Lock()
	defer d.doing.Unlock()
	if d.closed || d.committed || d.err != nil || d.file == nil && part == nil || d.outgrow() != nil {
		return
	}
	d.file.Keep(part, note)
}

// Commit implements [store.Draft].
func (d *smallDraft) Commit(ctx context.Context, e *exchange.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.doing.Lock()
	defer d.doing.Unlock()
	switch {
	case d.err != nil:
		return fmt.Errorf("commit %v: %w", e.Key, d.err)
	case d.closed || d.committed:
		return fmt.Errorf("commit %v: %w", e.Key, os.ErrClosed)
	case d.file != nil:
		d.err = d.file.Commit(ctx, e)
		return d.err
	case e.Size != int64(len(d.b)):
		return fmt.Errorf("commit %v: %d bytes, want %d", e.Key, len(d.b), e.Size)
	}
	if err := d.publish(e); err != nil {
		d.err = err
		return fmt.Errorf("commit %v: %w", e.Key, err)
	}
	d.committed = true
	return nil
}

// publish writes the file, while readers go on. Callers hold doing.
func (d *smallDraft) publish(e *exchange.Entry) error {
	s := d.store
	file, temp, err := s.createUnnamed()
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.WriteAt(d.b, 0); err == nil {
		defer s.change(e.Key)()
		_, err = s.commit(file, temp, d.room, e)
	}
	if err != nil && temp != "" {
		s.discard(temp)
	}
	return err
}

// Close implements [store.Draft].
func (d *smallDraft) Close() error {
	d.doing.Lock()
	defer d.doing.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.store.held.Add(-d.held)
	if d.file != nil {
		return d.file.Close()
	}
	d.mu.Lock()
	d.b = nil
	d.mu.Unlock()
	if !d.committed {
		d.store.space.release(d.room + metaRoom)
	}
	return nil
}

// createUnnamed makes a temporary file, without a name if that can be had.
func (s *Store) createUnnamed() (file *os.File, temp string, err error) {
	for range 2 {
		if file, err = createUnnamed(s.rootDir, tempDir); err == nil {
			return file, "", nil
		}
		if !missing(err) { // somebody removed everything: that is allowed
			break
		}
		if err = s.root.MkdirAll(tempDir, 0o755); err != nil {
			return nil, "", err
		}
	}
	temp, file, err = s.createTemp()
	return file, temp, err
}

// Spool makes a temporary file, for reading and writing, that no entry comes of: it
// is gone when it is closed, and has no name. It does not count as used room. The
// caller closes it.
func (s *Store) Spool() (*os.File, error) {
	file, temp, err := s.createUnnamed()
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if temp != "" {
		s.discard(temp) // now or later
	}
	return file, nil
}

// canUnnamed tries whether files may be made without a name and get one later.
func (s *Store) canUnnamed() bool {
	file, err := createUnnamed(s.rootDir, tempDir)
	if err != nil {
		return false
	}
	defer file.Close()
	name := s.tempName()
	if linkUnnamed(file, s.rootDir, name) != nil {
		return false
	}
	s.root.Remove(name)
	return true
}
