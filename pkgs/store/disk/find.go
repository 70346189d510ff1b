package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Open implements [store.Store].
func (s *Store) Open(ctx context.Context, key exchange.Key) (*exchange.Entry, io.ReadSeekCloser, error) {
	e, file, err := s.find(ctx, key)
	if err != nil {
		return nil, nil, &keyError{"open", key, err}
	}
	return e, file, nil
}

// A keyError is what failed with a key. Nobody reads most of them, which say that
// there is nothing; so the text is made for who does.
type keyError struct {
	act string
	key exchange.Key
	err error
}

func (e *keyError) Error() string { return fmt.Sprintf("%s %v: %v", e.act, e.key, e.err) }
func (e *keyError) Unwrap() error { return e.err }

// find opens the content of key and its entry, which is proved if it has to be.
func (s *Store) find(ctx context.Context, key exchange.Key) (*exchange.Entry, *plain, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	name := place(key)
	for range 8 {
		file, st, at, err := s.openContent(name)
		if err != nil {
			return nil, nil, err
		}
		e, err := s.judge(ctx, key, file, st, at)
		if err == nil {
			s.touch(name, at, st)
			return e, &plain{file, at}, nil
		}
		if errors.Is(err, errDamaged) && s.removeFile(name, at, st) {
			s.damaged.Add(1)
			s.log.Warn("damaged entry dropped", "hub", key.Hub, "key", key.String(), "err", err)
		}
		file.Close() // only now: the inode must stay this file's until it is removed
		switch {
		case errors.Is(err, errReplaced):
			continue
		case errors.Is(err, errDamaged):
			return nil, nil, fmt.Errorf("%w (%w)", fs.ErrNotExist, err)
		}
		return nil, nil, err
	}
	return nil, nil, fs.ErrNotExist // replaced faster than we can look
}

var errReplaced = errors.New("replaced meanwhile")

// judge is the entry of an open file, if that is content of key.
func (s *Store) judge(ctx context.Context, key exchange.Key, file *os.File, st stat, at string) (*exchange.Entry, error) {
	suspect := s.suspect(st.ctime)
	e, err := s.readMeta(file, st)
	if errors.Is(err, errNoMeta) {
		return s.judgeBare(key, st, at, suspect)
	}
	if err != nil {
		return nil, err
	}
	if e.Key != key { // the default hub's /npm/x and npm's /x, or a file moved by hand
		return nil, fmt.Errorf("%w: the place has %v", fs.ErrNotExist, e.Key)
	}
	if suspect {
		if err := s.prove(ctx, file, at, e); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// judgeBare is the entry of a file without metadata.
func (s *Store) judgeBare(key exchange.Key, st stat, at string, suspect bool) (*exchange.Entry, error) {
	if s.sidecars.Load() {
		// The sidecar of a file goes after the file: look whether it is still there.
		if now, err := s.lstat(at); err != nil || !now.same(st) {
			return nil, errReplaced
		}
		if suspect { // the sidecar may be what was lost
			return nil, fs.ErrNotExist
		}
	}
	if suspect && st.size == 0 {
		return nil, fmt.Errorf("%w: empty after an unclean stop", errDamaged)
	}
	return bareEntry(key, st), nil
}
