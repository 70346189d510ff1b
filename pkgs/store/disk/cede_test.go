package disk

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

// successor opens the store that s cedes, as another process would.
func successor(t testing.TB, s *Store, o Options) *Store {
	t.Helper()
	lock, err := s.Cede()
	require.NoError(t, err)
	o.Ceded = duplicate(t, lock)
	return open(t, o)
}

// duplicate is the open file under another descriptor, as a child gets it.
func duplicate(t testing.TB, file *os.File) *os.File {
	t.Helper()
	fd := -1
	require.NoError(t, control(file, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	}))
	return os.NewFile(uintptr(fd), file.Name())
}

func readState(t testing.TB, o Options) state {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(o.Root, stateName))
	require.NoError(t, err)
	st, err := decodeState(b)
	require.NoError(t, err)
	return st
}

// A store changes hands while a transfer is under way: that is committed, found
// by the next process, and counted there.
func TestCede(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		old := open(t, o)
		storetest.Put(t, old, key("/before"), []byte("before"))
		whole := content(1 << 20)
		e := storetest.Entry(key("/late"), whole)
		d, err := old.Draft(t.Context(), e.Size)
		require.NoError(t, err)
		defer d.Close()
		_, err = d.WriteAt(whole[:1<<19], 0)
		require.NoError(t, err)
		storetest.Leave(t, old, key("/part"), whole, "note", exchange.Span{From: 0, To: 1 << 19})
		saved(t, old, 1)

		next := successor(t, old, o)
		waitScan(t, next)
		pid, err := os.ReadFile(filepath.Join(o.Root, lockName))
		require.NoError(t, err)
		assert.Equal(t, strconv.Itoa(os.Getpid()), string(pid))
		assert.Len(t, temps(t, o), 3, "what the process before is at stays")
		storetest.Get(t, next, key("/before"))
		storetest.Missing(t, next, key("/late"))
		storetest.Put(t, next, key("/new"), []byte("new"))
		storetest.Get(t, old, key("/new"))
		mine, err := next.Draft(t.Context(), e.Size)
		require.NoError(t, err)
		defer mine.Close()

		_, err = d.WriteAt(whole[1<<19:], 1<<19)
		require.NoError(t, err)
		require.NoError(t, d.Commit(t.Context(), e))
		entries := next.Stats().Entries
		next.Recount(e.Key)
		next.Recount(e.Key)
		assert.Equal(t, entries+1, next.Stats().Entries)
		_, b := storetest.Get(t, next, key("/late"))
		assert.Equal(t, whole, b)
		_, err = next.Cede()
		require.Error(t, err, "not before the first one has ended")

		require.NoError(t, d.Close())
		crash(old)
		require.NoError(t, next.Settle())
		require.NoError(t, next.Settle(), "twice is no error")
		assert.Len(t, temps(t, o), 3, "the part with its record, and the draft of ours")
		_, part, note := storetest.Resume(t, next, key("/part"), whole)
		assert.Equal(t, []exchange.Span{{From: 0, To: 1 << 19}}, part.Have)
		assert.Equal(t, "note", note)
		require.NoError(t, mine.Close())
	})
}

// Deleting is told as well.
func TestRecountOfNothing(t *testing.T) {
	o := Options{Root: t.TempDir()}
	old := open(t, o)
	storetest.Put(t, old, key("/x"), []byte("x"))
	next := successor(t, old, o)
	waitScan(t, next)
	require.NotZero(t, next.Stats().Bytes)
	require.NoError(t, old.Delete(t.Context(), key("/x")))
	next.Recount(key("/x"))
	assert.Zero(t, next.Stats().Entries)
	assert.Zero(t, next.Stats().Bytes)
}

// The lock is never free: neither while both live, nor when only the second does.
func TestCededLock(t *testing.T) {
	o := Options{Root: t.TempDir()}
	old, err := Open(o)
	require.NoError(t, err)
	next := successor(t, old, o)
	_, err = Open(o)
	require.ErrorContains(t, err, "in use by another")
	require.NoError(t, old.Close())
	_, err = Open(o)
	require.ErrorContains(t, err, "in use by another")
	require.NoError(t, next.Close())
	open(t, o)
}

// The lock of one directory opens no other.
func TestCededLockOfAnother(t *testing.T) {
	here, there := Options{Root: t.TempDir()}, Options{Root: t.TempDir()}
	s := open(t, here)
	lock, err := s.Cede()
	require.NoError(t, err)
	there.Ceded = duplicate(t, lock)
	held, err := Open(Options{Root: there.Root})
	require.NoError(t, err)
	_, err = Open(there)
	require.ErrorContains(t, err, "in use by another")
	require.NoError(t, held.Close())
	there.Ceded = duplicate(t, lock)
	open(t, there)
	_, err = Open(here)
	require.ErrorContains(t, err, "in use by another")
	require.NoError(t, s.Reclaim())
}

// Nothing counts as synced by both that only one has synced: until the first has
// ended, and a group behind that, an unclean stop leaves all of it in doubt.
func TestCededState(t *testing.T) {
	o := Options{Root: t.TempDir()}
	old := open(t, o)
	storetest.Put(t, old, key("/x"), []byte("x"))
	before := readState(t, o)
	next := successor(t, old, o)
	storetest.Put(t, next, key("/y"), []byte("y"))
	require.NoError(t, next.syncGroup(false))
	assert.True(t, readState(t, o).Synced.Equal(before.Synced), "the first one may have committed since")
	require.NoError(t, old.Close())
	assert.False(t, readState(t, o).Clean, "not the first one's to say any more")
	assert.True(t, readState(t, o).Synced.Equal(before.Synced))
	require.NoError(t, next.Settle())
	require.NoError(t, next.syncGroup(false))
	assert.True(t, readState(t, o).Synced.After(before.Synced))
	require.NoError(t, next.Close())
	st := readState(t, o)
	assert.True(t, st.Clean)
	assert.Empty(t, st.Suspect)
	assert.Empty(t, open(t, o).windows)
}

// A process that ends before the one that ceded to it ends uncleanly.
func TestCededAndClosedFirst(t *testing.T) {
	o := Options{Root: t.TempDir(), Strict: true}
	old := open(t, o)
	next := successor(t, old, o)
	require.NoError(t, next.Close())
	assert.False(t, readState(t, o).Clean)
}

// What could not be synced before is still in doubt with the next process.
func TestCedeUnsynced(t *testing.T) {
	o := Options{Root: t.TempDir()}
	old := open(t, o)
	old.owning.Lock()
	old.unsynced = true
	old.owning.Unlock()
	next := successor(t, old, o)
	assert.Len(t, next.windows, 1)
}

// One who has ceded evicts nothing and pins nothing; after Reclaim all is as before.
func TestReclaim(t *testing.T) {
	o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 1 << 20}}
	old := open(t, o)
	waitScan(t, old)
	for _, path := range []string{"/a", "/b", "/c"} {
		storetest.Put(t, old, key(path), make([]byte, 300<<10))
	}
	_, err := old.Cede()
	require.NoError(t, err)
	_, err = old.Draft(t.Context(), 300<<10)
	require.ErrorIs(t, err, store.ErrFull)
	assert.Zero(t, old.evict())
	require.ErrorIs(t, old.Pin(t.Context(), key("/a"), true), errCeded)
	require.NoError(t, os.Truncate(filepath.Join(o.Root, lockName), 0))

	require.NoError(t, old.Reclaim())
	pid, err := os.ReadFile(filepath.Join(o.Root, lockName))
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(os.Getpid()), string(pid))
	storetest.Put(t, old, key("/d"), make([]byte, 300<<10))
	require.NoError(t, old.Pin(t.Context(), key("/d"), true))
	assert.NotZero(t, old.Stats().Evictions)
	began := readState(t, o).Synced
	require.Eventually(t, func() bool { return readState(t, o).Synced.After(began) }, 10*time.Second, 10*time.Millisecond)
}
