package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, e *exchange.Entry) error {
	defer s.change(e.Key)()
	if err := s.update(ctx, e); err != nil {
		return fmt.Errorf("update %v: %w", e.Key, err)
	}
	return nil
}

func (s *Store) update(ctx context.Context, e *exchange.Entry) error {
	old, content, err := s.find(ctx, e.Key)
	if err != nil {
		return err
	}
	content.Close()
	if old.Digest != e.Digest || old.Size != e.Size {
		return fmt.Errorf("%w: the content is another one", fs.ErrNotExist)
	}
	name := place(e.Key)
	mu := s.place(name)
	mu.Lock()
	defer mu.Unlock()
	file, st, at, err := s.openContent(name)
	if err != nil {
		return err
	}
	defer file.Close()
	now, err := s.readMeta(file, st)
	if err != nil && !errors.Is(err, errNoMeta) {
		return fmt.Errorf("%w (%w)", fs.ErrNotExist, err)
	}
	if err == nil && (now.Key != e.Key || now.Digest != e.Digest) || st.size != e.Size {
		return fmt.Errorf("%w: the content is another one", fs.ErrNotExist)
	}
	if err := s.writeMeta(file, e); err != nil {
		return err
	}
	if s.strict {
		return file.Sync()
	}
	s.syncer.mark(at, s.sidecarOf(st))
	return nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key exchange.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer s.change(key)()
	s.discardPart(s.parts.take(key))
	name := place(key)
	at, err := s.remove(key, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %v: %w", key, err)
	}
	if err == nil {
		s.removeEmpty(at)
	}
	if err := s.setPin(key, false); err != nil {
		return fmt.Errorf("delete %v: its pin stays: %w", key, err)
	}
	return nil
}

func (s *Store) remove(key exchange.Key, name string) (at string, err error) {
	mu := s.place(name)
	mu.Lock()
	defer mu.Unlock()
	file, st, at, err := s.openContent(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if e, err := s.readMeta(file, st); err == nil && e.Key != key {
		return "", fs.ErrNotExist
	}
	return at, s.removeEntry(name, at, st)
}
