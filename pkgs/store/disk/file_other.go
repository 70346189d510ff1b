//go:build darwin || freebsd

package disk

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What only Linux has; see file_linux.go for the meaning.

func openBeneath(*os.File, string) (*os.File, error, bool) { return nil, nil, false }

func reopenDescriptor(*os.File) (*os.File, error) { return nil, os.ErrNotExist }

func createUnnamed(*os.File, string) (*os.File, error) { return nil, errors.ErrUnsupported }

func linkUnnamed(_, _ *os.File, _ string) error { return errors.ErrUnsupported }

func setTimes(file *os.File, atime, mtime time.Time) error {
	times := []unix.Timeval{unix.NsecToTimeval(atime.UnixNano()), unix.NsecToTimeval(mtime.UnixNano())}
	return control(file, func(fd int) error { return unix.Futimes(fd, times) })
}

func exchangeNames(*os.File, string, *os.File, string) error { return errors.ErrUnsupported }

func allocate(*os.File, int64) error { return nil }

const canSyncFileSystem = false

func syncFileSystem(*os.File) error { return errors.ErrUnsupported }

func statFileSystem(root *os.File) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := control(root, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return 0, 0, fmt.Errorf("statfs: %w", err)
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil
}

func noAttribute(err error) bool { return errors.Is(err, unix.ENOATTR) || noAttributes(err) }
