package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A View reads a store's directory, whether a process has the store open or not.
// It takes no lock and changes nothing, not even what tells when an entry was used
// last; only Remove does. It is safe for concurrent use.
type View struct{ store *Store }

// OpenView opens the directory of a store, which must be there.
func OpenView(root string) (*View, error) {
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, log: slog.New(slog.DiscardHandler), now: time.Now, closing: make(chan struct{})}
	if s.root, err = os.OpenRoot(dir); err == nil {
		s.rootDir, err = s.root.Open(".")
	}
	if err != nil {
		s.release()
		return nil, fmt.Errorf("open store: %w", err)
	}
	_, err = s.root.Lstat(sidecarDir)
	s.sidecars.Store(err == nil)
	return &View{s}, nil
}

// Close ends the view; content that is open stays readable.
func (v *View) Close() error {
	v.store.release()
	return nil
}

// Open is as [store.Store] has it, but for content that is in doubt after an
// unclean stop, which is not proved, and damaged content, which stays.
func (v *View) Open(ctx context.Context, key exchange.Key) (*exchange.Entry, io.ReadSeekCloser, error) {
	name := place(key)
	for range 8 {
		file, st, at, err := v.store.openContent(name)
		if err != nil {
			return nil, nil, fmt.Errorf("open %v: %w", key, err)
		}
		e, err := v.store.judge(ctx, key, file, st, at)
		if err == nil {
			return e, &plain{file, at}, nil
		}
		file.Close()
		if !errors.Is(err, errReplaced) {
			return nil, nil, fmt.Errorf("open %v: %w", key, err)
		}
	}
	return nil, nil, fmt.Errorf("open %v: %w", key, fs.ErrNotExist)
}

// Entries is as [store.Store] has it.
func (v *View) Entries(ctx context.Context, hub, prefix string) iter.Seq2[*exchange.Entry, error] {
	return v.store.Entries(ctx, hub, prefix)
}

// A File is one that may be content, as it lies there.
type File struct {
	At    string          // slash-separated, relative to the store's root
	Entry *exchange.Entry // nil if Damage is not
	Size  int64           // of the file

	// Damage says why the file is not what its metadata tells: another length, or
	// metadata that nobody can read. What the content is has not been looked at.
	Damage error

	ino  uint64
	open *os.File
}

// Read reads the content.
func (f *File) Read(p []byte) (int, error) { return f.open.Read(p) }

// Files calls each with every file of a hub that may be content under a prefix of
// paths, in no order; "" is every hub. The file is open until each returns, whose
// error ends the walk.
func (v *View) Files(ctx context.Context, hub, prefix string, each func(*File) error) error {
	s := v.store
	return s.walk(s.top(hub, prefix), func(at string, st stat) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		open, err := s.openFile(at)
		if err != nil {
			return nil // it went meanwhile
		}
		defer open.Close()
		if st, err = statFile(open); err != nil || !st.regular {
			return nil
		}
		f := &File{At: at, Size: st.size, ino: st.ino, open: open}
		f.Entry, err = s.readMeta(open, st)
		switch {
		case err == nil && place(f.Entry.Key) != placeOf(at): // moved here by hand
			return nil
		case errors.Is(err, errNoMeta):
			if f.Entry = s.entryAt(hub, at); f.Entry == nil {
				return nil
			}
		case errors.Is(err, errDamaged):
			f.Damage = err
			key, _ := placeKey(hubOf(hub), at)
			if hub != "" && !strings.HasPrefix(key.Path, prefix) {
				return nil
			}
			return each(f)
		case err != nil:
			return fmt.Errorf("%s: %w", at, err)
		}
		if hub != "" && f.Entry.Key.Hub != hub || !strings.HasPrefix(f.Entry.Key.Path, prefix) {
			return nil
		}
		return each(f)
	})
}

func hubOf(hub string) string {
	if hub == "" {
		return defaultHub
	}
	return hub
}

// Remove removes a file, unless another one has taken its place.
func (v *View) Remove(f *File) error {
	now, err := v.store.lstat(f.At)
	if err != nil && missing(err) || err == nil && now.ino != f.ino {
		return nil
	}
	if err != nil {
		return err
	}
	return v.store.root.Remove(f.At)
}
