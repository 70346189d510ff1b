package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

// unprivileged makes this goroutine one that the modes of files count for, and the
// owner of what is below root.
func unprivileged(t *testing.T, root string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	require.NoError(t, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		return os.Lchown(name, nobody, nobody)
	}))
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	_, _, errno := syscall.RawSyscall(unix.SYS_SETFSUID, nobody, 0, 0)
	require.Zero(t, errno)
}

// What is in folders that may not be read is nobody's content; all else is counted,
// listed and evicted as without them. The lost+found of a file system is the usual one.
func TestFoldersThatMayNotBeRead(t *testing.T) {
	for _, test := range []struct {
		name, folder string
		told         bool
	}{
		{"of the file system", lostDir, false},
		{"of somebody else", "d/private", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Root: t.TempDir()}
			s := open(t, o)
			waitScan(t, s)
			for _, path := range []string{"/a/1", "/d/2", "/z/3"} {
				storetest.Put(t, s, key(path), make([]byte, 8192))
			}
			closed := filepath.Join(o.Root, test.folder)
			require.NoError(t, os.Mkdir(closed, 0))
			t.Cleanup(func() { os.Chmod(closed, 0o700) })
			t.Run("seen", func(t *testing.T) { // on a goroutine of its own
				unprivileged(t, o.Root)
				var left error
				listed := 0
				for _, err := range s.Entries(t.Context(), "", "") {
					if err != nil {
						left = err
						continue
					}
					listed++
				}
				assert.Equal(t, 3, listed)
				assert.Equal(t, test.told, left != nil, "a list says that it is not all there is: %v", left)

				s.scanned.Store(false)
				s.scan()
				assert.True(t, s.scanned.Load(), "all that is the store's was counted")

				s.space.mu.Lock()
				s.space.max, s.space.maxBytes = Size{Bytes: 4096}, 4096
				s.space.mu.Unlock()
				assert.Equal(t, 3, s.evict())
				left = s.walk(".", func(at string, _ stat) error {
					assert.Fail(t, "not evicted", at)
					return nil
				})
				assert.Equal(t, test.told, left != nil && strings.Contains(left.Error(), test.folder), "%v", left)
			})
		})
	}
}
