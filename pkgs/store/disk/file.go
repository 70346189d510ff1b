package disk

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// plain is committed content: a regular file, opened for reading.
type plain struct {
	*os.File
	at string // relative to the root
}

// Path implements [store.Plain].
func (p *plain) Path() string { return p.at }

// stat is what we ask of a file.
type stat struct {
	dir, regular bool
	ino          uint64
	size         int64
	blocks       int64 // bytes allocated
	atime        time.Time
	mtime        time.Time
	ctime        time.Time
}

func newStat(st *unix.Stat_t) stat {
	kind := uint32(st.Mode) & unix.S_IFMT
	return stat{
		dir:     kind == unix.S_IFDIR,
		regular: kind == unix.S_IFREG,
		ino:     st.Ino,
		size:    st.Size,
		blocks:  st.Blocks * 512,
		atime:   time.Unix(st.Atim.Unix()),
		mtime:   time.Unix(st.Mtim.Unix()),
		ctime:   time.Unix(st.Ctim.Unix()),
	}
}

// same reports whether two stats are of one file.
func (s stat) same(t stat) bool { return s.ino == t.ino && s.regular == t.regular }

// control calls f with the descriptor of file, which stays open meanwhile.
func control(file *os.File, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func statFile(file *os.File) (stat, error) {
	var st unix.Stat_t
	err := control(file, func(fd int) error { return unix.Fstat(fd, &st) })
	if err != nil {
		return stat{}, &fs.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	return newStat(&st), nil
}

// lstat is the stat of name, which is not followed if it is a symbolic link.
func (s *Store) lstat(name string) (stat, error) {
	dir, err := s.root.Open(path.Dir(name))
	if err != nil {
		return stat{}, err
	}
	defer dir.Close()
	return statAt(dir, path.Base(name))
}

func statAt(dir *os.File, base string) (stat, error) {
	var st unix.Stat_t
	err := control(dir, func(fd int) error { return unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return stat{}, &fs.PathError{Op: "lstat", Path: path.Join(dir.Name(), base), Err: err}
	}
	return newStat(&st), nil
}

// openContent opens the content at place name. Anything but a regular file is
// [fs.ErrNotExist]: a FIFO never blocks, a symbolic link is not followed.
// at is name, or the file within if name is a directory.
func (s *Store) openContent(name string) (file *os.File, st stat, at string, err error) {
	at = name
	for range 2 {
		file, err = s.openFile(at)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && missing(err) {
				err = &fs.PathError{Op: "open", Path: at, Err: fs.ErrNotExist}
			}
			return nil, stat{}, "", err
		}
		if st, err = statFile(file); err != nil {
			file.Close()
			return nil, stat{}, "", err
		}
		if st.regular {
			return file, st, at, nil
		}
		file.Close()
		if !st.dir {
			break
		}
		at = name + "/" + contentName
	}
	return nil, stat{}, "", &fs.PathError{Op: "open", Path: at, Err: fs.ErrNotExist}
}

// missing reports whether err means that no content can be there: a directory
// of the path is a file, the name is a link, a socket or too long.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) ||
		errors.Is(err, unix.EMLINK) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENAMETOOLONG) ||
		errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}

// openFile opens name for reading without following a symbolic link at its end.
func (s *Store) openFile(name string) (*os.File, error) {
	if file, err, ok := openBeneath(s.rootDir, name); ok {
		return file, err
	}
	before, err := s.lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.regular && !before.dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	file, err := s.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	after, err := statFile(file)
	if err == nil && (before.ino != after.ino || before.dir != after.dir) {
		// It was exchanged between the two calls: harmless if by a regular file,
		// but it may have been a link. A miss is safe.
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// removeEmpty removes the directories above name that became empty. A commit
// that loses its directory to this makes it again.
func (s *Store) removeEmpty(name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		parent, err := s.root.Open(path.Dir(dir))
		if err != nil {
			return
		}
		// Root.Remove would remove a file, too, if one has taken the name meanwhile.
		err = control(parent, func(fd int) error { return unix.Unlinkat(fd, path.Base(dir), unix.AT_REMOVEDIR) })
		parent.Close()
		if err != nil {
			return
		}
	}
}

func (s *Store) syncDir(name string) error {
	dir, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
