package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const lockName = metaDir + "/lock"

// acquire makes us the only process in the directory.
func (s *Store) acquire() error {
	if s.lock != nil {
		return s.signLock()
	}
	file, err := s.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = control(file, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock: %w", err)
		}
		b, _ := io.ReadAll(io.LimitReader(file, 20))
		return fmt.Errorf("%s is in use by another cache-proxy (pid %s)", s.dir, bytes.TrimSpace(b))
	}
	s.lock = file
	return s.signLock()
}

// signLock says in the lock whose it is.
func (s *Store) signLock() error {
	if err := s.lock.Truncate(0); err != nil {
		return err
	}
	_, err := s.lock.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	return err
}

// recover clears what the last run left in the middle, but for what can be gone
// on with, and learns how it ended. It touches no content.
func (s *Store) recover() error {
	if !s.predecessor {
		entries, err := fs.ReadDir(s.root.FS(), tempDir)
		if err != nil {
			return err
		}
		if err := s.clearTemp(entries); err != nil {
			return err
		}
	}
	if _, err := s.root.Lstat(sidecarDir); err == nil {
		s.sidecars.Store(true)
	}
	b, err := s.root.ReadFile(stateName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	if s.predecessor {
		// The run before goes on: nothing of it is lost, and nothing of it is known to
		// be on disk that it has not said.
		if s.state, err = decodeState(b); err == nil {
			s.windows = slices.Clone(s.state.Suspect)
			s.state.Clean = false
			return s.writeState()
		}
	}
	s.state = nextState(b, time.Now())
	s.windows = slices.Clone(s.state.Suspect)
	s.state.Synced = s.state.Synced.Add(-clockSlack)
	s.state.Clean = s.strict && !s.predecessor // strict leaves nothing to prove, however it stops
	return s.writeState()
}

// clearTemp removes temporary files, but for what can be gone on with.
func (s *Store) clearTemp(entries []fs.DirEntry) error {
	stays := s.recoverParts(entries)
	for _, entry := range entries {
		if stays[entry.Name()] {
			continue
		}
		if err := s.root.RemoveAll(tempDir + "/" + entry.Name()); err != nil {
			return err
		}
	}
	return nil
}

// prove decides about an entry that changed shortly before an unclean stop: its
// content must have the digest. What was proved is remembered by its ctime.
func (s *Store) prove(ctx context.Context, file *os.File, at string, e *exchange.Entry) error {
	h := e.Digest.New()
	if h == nil {
		return fmt.Errorf("%w: no digest to prove it after an unclean stop", errDamaged)
	}
	buffer := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := file.Read(buffer)
		h.Write(buffer[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := exchange.NewDigest(e.Digest.Algorithm(), h.Sum(nil)); got != e.Digest {
		return fmt.Errorf("%w: content is %s, want %s", errDamaged, got, e.Digest)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s.root.Chtimes(at, s.now(), time.Time{}) // if it fails, it is proved again
	s.syncer.mark("")
	return nil
}

// sweepSidecars removes sidecars whose content is gone.
func (s *Store) sweepSidecars() error {
	if !s.sidecars.Load() {
		return nil
	}
	return fs.WalkDir(s.root.FS(), sidecarDir, func(name string, d fs.DirEntry, err error) error {
		if s.isClosing() {
			return os.ErrClosed
		}
		if err != nil || d.IsDir() {
			return nil
		}
		b, err := s.root.ReadFile(name)
		if err != nil {
			return nil
		}
		size, ok := sidecarSize(name)
		e, err := decodeEntry(b, size)
		if ok && err == nil {
			at := place(e.Key)
			mu := s.place(at)
			mu.Lock()
			defer mu.Unlock()
			st, err := s.lstat(at)
			if err == nil && st.dir {
				st, err = s.lstat(at + "/" + contentName)
			}
			if err == nil && sidecarName(st) == name {
				return nil
			}
			// A commit writes its sidecar first: leave what is young.
			if info, err := s.root.Lstat(name); err != nil || info.ModTime().After(s.opened) {
				return nil
			}
		}
		s.root.Remove(name)
		return nil
	})
}

// sidecarSize is the content's size by the sidecar's name.
func sidecarSize(name string) (int64, bool) {
	_, rest, _ := strings.Cut(path.Base(name), "-")
	digits, _, _ := strings.Cut(rest, "-")
	size, err := strconv.ParseInt(digits, 16, 64)
	return size, err == nil
}
