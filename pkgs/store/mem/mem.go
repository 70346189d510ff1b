// Package mem is a store in memory: for tests, and for what is small. It never
// evicts; nothing of it survives the process.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"sync"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

var _ store.Store = (*Store)(nil)

// A Store is a map. The zero Store is empty and without a limit.
type Store struct {
	// Limit is how many bytes of content it holds, drafts included; 0 is no
	// limit. It is not changed once the store is in use.
	Limit int64

	mu      sync.Mutex
	entries map[exchange.Key]item // guarded by mu
	parts   map[exchange.Key]part // guarded by mu
	used    int64                 // guarded by mu; bytes of entries, parts and drafts
}

type item struct {
	entry   *exchange.Entry
	content []byte // never written again
}

// Open implements [store.Store].
func (s *Store) Open(ctx context.Context, key exchange.Key) (*exchange.Entry, io.ReadSeekCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	it, ok := s.entries[key]
	s.mu.Unlock()
	if !ok {
		return nil, nil, fmt.Errorf("open %v: %w", key, fs.ErrNotExist)
	}
	return it.entry, reader{bytes.NewReader(it.content)}, nil
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// Draft implements [store.Store].
func (s *Store) Draft(ctx context.Context, size int64) (store.Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d := &draft{store: s}
	if err := d.reserve(max(size, 0)); err != nil {
		return nil, err
	}
	return d, nil
}

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, e *exchange.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.entries[e.Key]
	if !ok || it.entry.Digest != e.Digest || it.entry.Size != e.Size {
		return fmt.Errorf("update %v: %w", e.Key, fs.ErrNotExist)
	}
	it.entry = e
	s.entries[e.Key] = it
	return nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key exchange.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropPart(key)
	s.used -= int64(len(s.entries[key].content))
	delete(s.entries, key)
	return nil
}

// Entries implements [store.Store].
func (s *Store) Entries(ctx context.Context, hub, prefix string) iter.Seq2[*exchange.Entry, error] {
	return func(yield func(*exchange.Entry, error) bool) {
		var found []*exchange.Entry
		s.mu.Lock()
		for key, it := range s.entries {
			if (hub == "" || key.Hub == hub) && strings.HasPrefix(key.Path, prefix) {
				found = append(found, it.entry)
			}
		}
		s.mu.Unlock()
		for _, e := range found {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// A draft grows in memory; Commit hands its bytes to the store.
type draft struct {
	store *Store

	mu        sync.RWMutex
	content   []byte // guarded by mu
	room      int64  // guarded by mu; reserved
	kept      kept   // guarded by mu
	err       error  // guarded by mu; of the first write that failed
	committed bool   // guarded by mu
	closed    bool   // guarded by mu
}

// reserve takes room for n bytes in all.
func (d *draft) reserve(n int64) error {
	if n <= d.room {
		return nil
	}
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.parts {
		if s.Limit <= 0 || s.used+n-d.room <= s.Limit {
			break
		}
		s.dropPart(key)
	}
	if s.Limit > 0 && s.used+n-d.room > s.Limit {
		return store.ErrFull
	}
	s.used += n - d.room
	d.room = n
	return nil
}

// WriteAt implements [io.WriterAt].
func (d *draft) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return 0, d.err
	}
	if d.closed || d.committed {
		return 0, os.ErrClosed
	}
	end := off + int64(len(p))
	if d.err = d.reserve(end); d.err != nil {
		return 0, d.err
	}
	if more := end - int64(len(d.content)); more > 0 {
		d.content = append(d.content, make([]byte, more)...)
	}
	return copy(d.content[off:], p), nil
}

// ReadAt implements [io.ReaderAt].
func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return 0, os.ErrClosed
	}
	return bytes.NewReader(d.content).ReadAt(p, off)
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
	case e.Size != int64(len(d.content)):
		return fmt.Errorf("commit %v: %d bytes, want %d", e.Key, len(d.content), e.Size)
	}
	d.committed = true
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[exchange.Key]item{}
	}
	s.dropPart(e.Key)
	s.used += e.Size - d.room - int64(len(s.entries[e.Key].content))
	s.entries[e.Key] = item{e, d.content}
	return nil
}

// Close implements [store.Draft].
func (d *draft) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.committed {
		return nil
	}
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if p := d.kept.part; p != nil && len(p.Have) > 0 && d.err == nil {
		d.store.leave(d)
		return nil
	}
	d.store.used -= d.room
	return nil
}
