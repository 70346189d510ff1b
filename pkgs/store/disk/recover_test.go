package disk

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

var key = storetest.Key

// crash ends a store as kill -9 does: nothing is synced, no state is written.
func crash(s *Store) {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.background.Wait()
		s.release()
	})
}

// waitScan waits until the store has been counted.
func waitScan(t testing.TB, s *Store) {
	t.Helper()
	require.Eventually(t, s.scanned.Load, 5*time.Second, time.Millisecond)
}

func both(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("attributes", func(t *testing.T) { f(t, Options{Root: t.TempDir()}) })
	t.Run("sidecars", func(t *testing.T) { f(t, Options{Root: t.TempDir(), DisableXattr: true}) })
}

func TestLock(t *testing.T) {
	o := Options{Root: t.TempDir()}
	s, err := Open(o)
	require.NoError(t, err)
	_, err = Open(o)
	require.ErrorContains(t, err, o.Root+" is in use by another cache-proxy (pid ")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice is no error")
	open(t, o)
}

func TestOptions(t *testing.T) {
	_, err := Open(Options{})
	require.Error(t, err)
	_, err = Open(Options{Root: t.TempDir(), TemporaryPattern: "../x*"})
	require.Error(t, err)

	o := Options{Root: filepath.Join(t.TempDir(), "not", "yet"), TemporaryPattern: "part-*.tmp"}
	s := open(t, o)
	d, err := s.Draft(t.Context(), smallContent+1)
	require.NoError(t, err)
	found, err := filepath.Glob(filepath.Join(o.Root, tempDir, "part-*.tmp"))
	require.NoError(t, err)
	assert.Len(t, found, 1)
	require.NoError(t, d.Close())
	found, err = filepath.Glob(filepath.Join(o.Root, tempDir, "*"))
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestRestart(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := open(t, o)
		want := storetest.Put(t, s, key("/a/b"), []byte("hello"))
		storetest.Put(t, s, key("/a"), []byte("parent"))
		d, err := s.Draft(t.Context(), smallContent+1)
		require.NoError(t, err)
		defer d.Close()
		crash(s)
		require.NoError(t, os.WriteFile(filepath.Join(o.Root, tempDir, "temp.1"), []byte("half"), 0o600))

		s = open(t, o)
		temps, err := os.ReadDir(filepath.Join(o.Root, tempDir))
		require.NoError(t, err)
		assert.Empty(t, temps)
		e, b := storetest.Get(t, s, key("/a/b"))
		assert.Equal(t, want.Digest, e.Digest)
		assert.Equal(t, want.Header, e.Header)
		assert.Equal(t, "hello", string(b))
		storetest.Get(t, s, key("/a"))
		waitScan(t, s)
		assert.EqualValues(t, 2, s.Stats().Entries)
	})
}

// after a crash, content that is not what its entry says is never served, and
// what is whole is.
func TestCrash(t *testing.T) { // F24, F26
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, file string)
		lost   bool
	}{
		{"nothing", func(*testing.T, string) {}, false},
		{"truncated", func(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 3)) }, true},
		{"empty", func(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 0)) }, true},
		{"longer", func(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 30)) }, true},
		{"flipped bit", func(t *testing.T, file string) {
			st, err := os.Stat(file)
			require.NoError(t, err)
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("i"), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			require.NoError(t, os.Chtimes(file, time.Time{}, st.ModTime()))
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			both(t, func(t *testing.T, o Options) {
				s := open(t, o)
				storetest.Put(t, s, key("/a"), []byte("hello"))
				crash(s)
				test.damage(t, filepath.Join(o.Root, "a"))
				s = open(t, o)
				if !test.lost {
					_, b := storetest.Get(t, s, key("/a"))
					assert.Equal(t, "hello", string(b))
					return
				}
				storetest.Missing(t, s, key("/a"))
				storetest.Put(t, s, key("/a"), []byte("again"))
				_, b := storetest.Get(t, s, key("/a"))
				assert.Equal(t, "again", string(b))
			})
		})
	}
}

// Damage is told by a fast digest too.
func TestCrashFast(t *testing.T) {
	o := Options{Root: t.TempDir()}
	s := open(t, o)
	for _, path := range []string{"/whole", "/damaged"} {
		e := storetest.Entry(key(path), []byte("hello"))
		h := exchange.Digest(exchange.Fast + ":").New()
		_, _ = h.Write([]byte("hello"))
		e.Digest = exchange.NewDigest(exchange.Fast, h.Sum(nil))
		d, err := s.Draft(t.Context(), e.Size)
		require.NoError(t, err)
		_, err = d.WriteAt([]byte("hello"), 0)
		require.NoError(t, err)
		require.NoError(t, d.Commit(t.Context(), e))
		require.NoError(t, d.Close())
	}
	crash(s)
	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "damaged"), []byte("hellO"), 0o600))
	s = open(t, o)
	_, b := storetest.Get(t, s, key("/whole"))
	assert.Equal(t, "hello", string(b))
	storetest.Missing(t, s, key("/damaged"))
}

func TestProofIsRemembered(t *testing.T) {
	o := Options{Root: t.TempDir()}
	s := open(t, o)
	storetest.Put(t, s, key("/a"), []byte("hello"))
	storetest.Put(t, s, key("/b"), []byte("hello"))
	crash(s)
	s = open(t, o)
	suspect := func(name string) bool {
		st, err := s.lstat(name)
		require.NoError(t, err)
		return s.suspect(st.ctime)
	}
	require.True(t, suspect("a"))
	require.Eventually(t, func() bool { // the file system's clock ticks slowly
		storetest.Get(t, s, key("/a"))
		return !suspect("a")
	}, time.Second, time.Millisecond)
	assert.True(t, suspect("b"))

	require.NoError(t, s.Close())
	s = open(t, o)
	assert.False(t, suspect("a"))
	assert.True(t, suspect("b"), "a clean stop proves nothing that was in doubt before")
}

func TestState(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0).UTC() }
	clean := state{Clean: true, Synced: at(5)}
	unclean := state{Synced: at(5), Suspect: []window{{at(1), at(2)}}}
	for _, test := range []struct {
		name string
		b    []byte
		want []window
	}{
		{"none", nil, nil},
		{"clean", clean.encode(), nil},
		{"unclean", unclean.encode(), []window{{at(1), at(2)}, {at(5), at(9)}}},
		{"empty", []byte{}, []window{{time.Time{}, at(9)}}},
		{"half", clean.encode()[:30], []window{{time.Time{}, at(9)}}},
		{"flipped bit", []byte(strings.Replace(string(unclean.encode()), "05Z", "07Z", 1)), []window{{time.Time{}, at(9)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			next := nextState(test.b, at(9))
			assert.Equal(t, test.want, next.Suspect)
			assert.False(t, next.Clean)
			assert.Equal(t, at(9), next.Synced)
		})
	}
	many := state{Synced: at(1)}
	for i := range 20 {
		many = nextState(many.encode(), at(10*i+10))
	}
	assert.Len(t, many.Suspect, maxWindows)
	assert.Equal(t, at(1), many.Suspect[0].From, "merged, not forgotten")
	assert.Equal(t, at(200), many.Suspect[maxWindows-1].To)
}

// What was synced in a group is not in doubt after a crash.
func TestGroup(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := open(t, o)
		storetest.Put(t, s, key("/dir/a"), []byte("hello"))
		for i := range 2 * groupLimit {
			storetest.Put(t, s, key("/many/"+string(rune('A'+i))), []byte("hello"))
		}
		require.NoError(t, s.syncGroup(false))
		synced := s.state.Synced
		crash(s)
		b, err := os.ReadFile(filepath.Join(o.Root, stateName))
		require.NoError(t, err)
		read, err := decodeState(b)
		require.NoError(t, err)
		assert.True(t, synced.Equal(read.Synced))
		assert.False(t, read.Clean)
	})
}

func TestGroupRuns(t *testing.T) {
	s := open(t, Options{Root: t.TempDir()})
	storetest.Put(t, s, key("/a"), []byte("hello"))
	require.Eventually(t, func() bool {
		b, err := s.root.ReadFile(stateName)
		if err != nil {
			return false
		}
		read, err := decodeState(b)
		return err == nil && read.Synced.After(s.opened.Add(-clockSlack/2))
	}, 5*time.Second, 10*time.Millisecond)
}

// In strict nothing is in doubt, however it stops.
func TestStrictCrash(t *testing.T) {
	o := Options{Root: t.TempDir(), Strict: true}
	s := open(t, o)
	e := storetest.Entry(key("/a"), []byte("hello"))
	e.Digest = ""
	d, err := s.Draft(t.Context(), 5)
	require.NoError(t, err)
	_, err = d.WriteAt([]byte("hello"), 0)
	require.NoError(t, err)
	require.NoError(t, d.Commit(t.Context(), e))
	require.NoError(t, d.Close())
	crash(s)
	storetest.Get(t, open(t, o), key("/a"))
}

// A crash between the two renames of a replacement leaves the old content with
// its own sidecar, and the new one's beside it.
func TestSidecarsSideBySide(t *testing.T) {
	o := Options{Root: t.TempDir(), DisableXattr: true}
	s := open(t, o)
	old := storetest.Put(t, s, key("/a"), []byte("hello"))
	waitScan(t, s)
	temp, file, err := s.createTemp()
	require.NoError(t, err)
	_, err = file.WriteString("world")
	require.NoError(t, err)
	st, err := statFile(file)
	require.NoError(t, err)
	require.NoError(t, s.writeMeta(file, storetest.Entry(key("/a"), []byte("world"))))
	require.NoError(t, file.Close())
	require.NoError(t, s.syncGroup(false))
	crash(s)

	s = open(t, o)
	e, b := storetest.Get(t, s, key("/a"))
	assert.Equal(t, old.Digest, e.Digest)
	assert.Equal(t, "hello", string(b))
	_, err = s.root.Lstat(temp)
	require.ErrorIs(t, err, os.ErrNotExist)
	waitScan(t, s)
	_, err = s.root.Lstat(sidecarName(st))
	assert.ErrorIs(t, err, os.ErrNotExist, "an orphan is swept")
	assert.True(t, s.charge(mustStat(t, s, "a")) > mustStat(t, s, "a").blocks, "the other is kept")
}

func mustStat(t *testing.T, s *Store, name string) stat {
	t.Helper()
	st, err := s.lstat(name)
	require.NoError(t, err)
	return st
}

func TestMirrorTree(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		mtime := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
		for name, content := range map[string]string{
			"debian/pool/x+1 ü.html": "page", "debian/dists/sid/Release": "release", "npm/left-pad": "pad", "empty": "",
		} {
			file := filepath.Join(o.Root, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
			require.NoError(t, os.Chtimes(file, mtime, mtime))
		}
		s := open(t, o)
		e, b := storetest.Get(t, s, key("/debian/pool/x+1%20%C3%BC.html"))
		assert.Equal(t, "page", string(b))
		assert.Equal(t, http.StatusOK, e.Status)
		assert.EqualValues(t, 4, e.Size)
		assert.True(t, e.Received.Equal(mtime))
		assert.Equal(t, "Thu, 02 Jan 2025 03:04:05 GMT", e.Header.Get("Last-Modified"))
		assert.Contains(t, e.Header.Get("Content-Type"), "text/html")
		storetest.Get(t, s, key("/empty"))
		npm := key("/left-pad")
		npm.Hub = "npm"
		e, _ = storetest.Get(t, s, npm)
		assert.Equal(t, npm, e.Key)
		storetest.Missing(t, s, key("/debian/pool"))

		var listed []string
		for e, err := range s.Entries(t.Context(), "default", "/debian/") {
			require.NoError(t, err)
			listed = append(listed, e.Key.Path)
		}
		assert.ElementsMatch(t, []string{"/debian/pool/x+1%20%C3%BC.html", "/debian/dists/sid/Release"}, listed)

		e, _ = storetest.Get(t, s, key("/debian/dists/sid/Release"))
		validated := e.Freshened(e)
		validated.Received = mtime.Add(time.Hour)
		require.NoError(t, s.Update(t.Context(), validated), "it may be validated")
		e, _ = storetest.Get(t, s, key("/debian/dists/sid/Release"))
		assert.True(t, e.Received.Equal(mtime.Add(time.Hour)))
		storetest.Put(t, s, key("/debian/pool"), []byte("listing"))
		storetest.Get(t, s, key("/debian/pool/x+1%20%C3%BC.html"))
	})
}

func TestMirrorTreeAfterCrash(t *testing.T) {
	o := Options{Root: t.TempDir()}
	crash(open(t, o))
	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "empty"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "some"), []byte("x"), 0o644))
	s := open(t, o)
	storetest.Missing(t, s, key("/empty"))
	storetest.Get(t, s, key("/some"))
}

func TestModified(t *testing.T) {
	s := open(t, Options{Root: t.TempDir()})
	storetest.Put(t, s, key("/a"), []byte("x"))
	assert.Equal(t, "2026-02-02T03:04:05Z", mustStat(t, s, "a").mtime.UTC().Format(time.RFC3339))
}

// Whatever is planted under a key is a miss, does not hang, leads nowhere and
// can be replaced.
func TestPlanted(t *testing.T) { // F24, B30
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o644))
	for _, test := range []struct {
		name  string
		plant func(file string) error
	}{
		{"link out", func(file string) error { return os.Symlink(outside, file) }},
		{"link inside", func(file string) error { return os.Symlink("real", file) }},
		{"dangling link", func(file string) error { return os.Symlink("nothing", file) }},
		{"fifo", func(file string) error { return syscall.Mkfifo(file, 0o644) }},
		{"directory", func(file string) error { return os.Mkdir(file, 0o755) }},
		{"link in a directory", func(file string) error {
			if err := os.Mkdir(file, 0o755); err != nil {
				return err
			}
			return os.Symlink(outside, filepath.Join(file, contentName))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			both(t, func(t *testing.T, o Options) {
				require.NoError(t, os.WriteFile(filepath.Join(o.Root, "real"), []byte("real"), 0o644))
				require.NoError(t, test.plant(filepath.Join(o.Root, "x")))
				s := open(t, o)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, _, err := s.Open(ctx, key("/x"))
				require.ErrorIs(t, err, os.ErrNotExist)
				storetest.Missing(t, s, key("/x/y"))
				require.NoError(t, s.Delete(t.Context(), key("/x")))
				storetest.Put(t, s, key("/x"), []byte("mine"))
				_, b := storetest.Get(t, s, key("/x"))
				assert.Equal(t, "mine", string(b))
				_, b = storetest.Get(t, s, key("/real"))
				assert.Equal(t, "real", string(b))
				b, err = os.ReadFile(outside)
				require.NoError(t, err)
				assert.Equal(t, "secret", string(b))
			})
		})
	}
	t.Run("link to a directory outside", func(t *testing.T) {
		o := Options{Root: t.TempDir()}
		require.NoError(t, os.Symlink(filepath.Dir(outside), filepath.Join(o.Root, "x")))
		s := open(t, o)
		_, _, err := s.Open(t.Context(), key("/x/secret"))
		require.ErrorIs(t, err, os.ErrNotExist)
		d, err := s.Draft(t.Context(), 0)
		require.NoError(t, err)
		defer d.Close()
		require.Error(t, d.Commit(t.Context(), storetest.Entry(key("/x/new"), nil)))
		_, err = os.Lstat(filepath.Join(filepath.Dir(outside), "new"))
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

// Everything may be removed by hand at any time.
func TestRemovedByHand(t *testing.T) { // F27
	both(t, func(t *testing.T, o Options) {
		s := open(t, o)
		storetest.Put(t, s, key("/a/b"), []byte("x"))
		_, r, err := s.Open(t.Context(), key("/a/b"))
		require.NoError(t, err)
		defer r.Close()
		entries, err := os.ReadDir(o.Root)
		require.NoError(t, err)
		for _, e := range entries {
			require.NoError(t, os.RemoveAll(filepath.Join(o.Root, e.Name())))
		}
		storetest.Missing(t, s, key("/a/b"))
		b := make([]byte, 1)
		_, err = r.Read(b)
		require.NoError(t, err)
		storetest.Put(t, s, key("/a/b"), []byte("y"))
		storetest.Get(t, s, key("/a/b"))
	})
}
