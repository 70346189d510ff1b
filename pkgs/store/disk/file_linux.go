package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// openBeneath is os.Root's promise in one system call, which counts on a hit.
// ok is false where the kernel or a sandbox does not have it.
func openBeneath(root *os.File, name string) (file *os.File, err error, ok bool) {
	fd, err := openHow(root, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.E2BIG), errors.Is(err, unix.EINVAL):
		return nil, nil, false
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}, true
	}
	return os.NewFile(uintptr(fd), name), nil, true
}

// reopenDescriptor opens the file behind a descriptor anew, whatever its name is by now.
func reopenDescriptor(file *os.File) (again *os.File, err error) {
	err = control(file, func(fd int) (err error) {
		again, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
		return err
	})
	return again, err
}

// createUnnamed makes a file in dir, beneath root, that has no name: it is gone
// with its last descriptor.
func createUnnamed(root *os.File, dir string) (*os.File, error) {
	fd, err := openHow(root, dir, &unix.OpenHow{
		Flags:   unix.O_RDWR | unix.O_TMPFILE | unix.O_CLOEXEC,
		Mode:    0o644,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// linkUnnamed gives a file made by createUnnamed a name beneath root, which
// nothing has; else it is [fs.ErrExist].
func linkUnnamed(file, root *os.File, name string) error {
	dir, err := openHow(root, path.Dir(name), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == nil {
		defer unix.Close(dir)
		err = control(file, func(fd int) error {
			err := unix.Linkat(fd, "", dir, path.Base(name), unix.AT_EMPTY_PATH)
			if err == unix.ENOENT { // before Linux 6.10 that needs a privilege
				err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), dir, path.Base(name), unix.AT_SYMLINK_FOLLOW)
			}
			return err
		})
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: file.Name(), New: name, Err: err}
	}
	return nil
}

func openHow(root *os.File, name string, how *unix.OpenHow) (fd int, err error) {
	err = control(root, func(dir int) (err error) {
		for {
			// EAGAIN: a directory of the path was renamed meanwhile.
			if fd, err = unix.Openat2(dir, name, how); err != unix.EINTR && err != unix.EAGAIN {
				return err
			}
		}
	})
	return fd, err
}

// setTimes sets the times of an open file.
func setTimes(file *os.File, atime, mtime time.Time) error {
	times := []unix.Timespec{unix.NsecToTimespec(atime.UnixNano()), unix.NsecToTimespec(mtime.UnixNano())}
	return control(file, func(fd int) error {
		err := unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
		if err == unix.EINVAL || err == unix.ENOENT { // before Linux 5.8
			err = unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), times, 0)
		}
		return err
	})
}

// exchangeNames swaps two names at once.
func exchangeNames(olddir *os.File, oldname string, newdir *os.File, newname string) error {
	return control(olddir, func(from int) error {
		return control(newdir, func(to int) error {
			return unix.Renameat2(from, oldname, to, newname, unix.RENAME_EXCHANGE)
		})
	})
}

// allocate reserves blocks for a large file, in one piece if it can be had; the
// file's size stays. A file system that does not know how is no error.
func allocate(file *os.File, size int64) error {
	err := control(file, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, size)
	})
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return err
	}
	return nil
}

const canSyncFileSystem = true

// syncFileSystem writes out everything at once, for large groups.
func syncFileSystem(root *os.File) error {
	return control(root, unix.Syncfs)
}

func statFileSystem(root *os.File) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := control(root, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return 0, 0, fmt.Errorf("statfs: %w", err)
	}
	unit := st.Frsize
	if unit == 0 {
		unit = st.Bsize
	}
	return int64(st.Blocks) * int64(unit), int64(st.Bavail) * int64(unit), nil
}

// noAttribute reports that a file has no such extended attribute.
func noAttribute(err error) bool { return errors.Is(err, unix.ENODATA) || noAttributes(err) }
