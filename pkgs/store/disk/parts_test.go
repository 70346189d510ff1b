package disk

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

func content(n int) []byte { return []byte(strings.Repeat("0123456789abcdef", n/16)) }

// temps are the files of transfers.
func temps(t testing.TB, o Options) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(o.Root, tempDir))
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// saved waits until the records are on disk.
func saved(t testing.TB, s *Store, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		all, err := filepath.Glob(filepath.Join(s.dir, tempDir, "*"+partSuffix))
		return err == nil && len(all) == n
	}, 5*time.Second, time.Millisecond)
}

func TestPartsOverRestarts(t *testing.T) {
	whole := content(1 << 20)
	half := exchange.Span{From: 0, To: 1 << 19}
	for _, test := range []struct {
		name string
		stop func(*Store)
	}{
		{"in order", func(s *Store) { s.Close() }},
		{"kill", crash},
	} {
		t.Run(test.name, func(t *testing.T) {
			both(t, func(t *testing.T, o Options) {
				s := open(t, o)
				storetest.Leave(t, s, key("/x"), whole, "note", half)
				saved(t, s, 1)
				test.stop(s)
				o.Log = nil
				s = open(t, o)
				waitScan(t, s)
				stats := s.Stats()
				assert.EqualValues(t, 1, stats.Parts)
				assert.InDelta(t, 1<<19, stats.PartBytes, 16<<10)
				assert.Equal(t, stats.PartBytes, stats.Bytes)
				assert.Zero(t, stats.Entries)
				d, part, note := storetest.Resume(t, s, key("/x"), whole)
				assert.Equal(t, []exchange.Span{half}, part.Have)
				assert.Equal(t, "note", note)
				assert.Zero(t, s.Stats().Parts)
				assert.GreaterOrEqual(t, s.Stats().Bytes, int64(1<<20), "room for the whole is reserved")
				d.Keep(nil, nil)
				require.NoError(t, d.Close())
				assert.Empty(t, temps(t, o))
				assert.Zero(t, s.Stats().Bytes)
				assert.Zero(t, s.space.reserved)
			})
		})
	}
}

// A transfer that was killed has what its last record says, which is no more
// than what was synced before.
func TestPartOfKilledTransfer(t *testing.T) {
	whole := content(1 << 20)
	o := Options{Root: t.TempDir()}
	s := open(t, o)
	d, err := s.Draft(t.Context(), 1<<20)
	require.NoError(t, err)
	defer d.Close()
	_, err = d.WriteAt(whole[:1<<18], 0)
	require.NoError(t, err)
	have := []exchange.Span{{From: 0, To: 1 << 18}}
	d.(store.Keeper).Keep(&exchange.Part{Entry: storetest.Entry(key("/x"), whole), Have: have}, nil)
	saved(t, s, 1)
	_, err = d.WriteAt(whole[1<<18:1<<19], 1<<18)
	require.NoError(t, err)
	crash(s)

	s = open(t, o)
	_, part, _ := storetest.Resume(t, s, key("/x"), whole)
	assert.Equal(t, have, part.Have)
	st, err := os.Stat(filepath.Join(o.Root, tempDir, temps(t, o)[0]))
	require.NoError(t, err)
	assert.EqualValues(t, 1<<18, st.Size(), "what came after the record is not believed")
}

func TestDamagedParts(t *testing.T) {
	whole := content(1 << 20)
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, file string)
	}{
		{"torn record", func(t *testing.T, file string) { require.NoError(t, os.Truncate(file+partSuffix, 100)) }},
		{"empty record", func(t *testing.T, file string) { require.NoError(t, os.Truncate(file+partSuffix, 0)) }},
		{"no record", func(t *testing.T, file string) { require.NoError(t, os.Remove(file+partSuffix)) }},
		{"flipped bit", func(t *testing.T, file string) {
			b, err := os.ReadFile(file + partSuffix)
			require.NoError(t, err)
			b[len(b)/2] ^= 1
			require.NoError(t, os.WriteFile(file+partSuffix, b, 0o644))
		}},
		{"no file", func(t *testing.T, file string) { require.NoError(t, os.Remove(file)) }},
		{"short file", func(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 1<<19-1)) }},
		{"a link", func(t *testing.T, file string) {
			require.NoError(t, os.Rename(file, file+".x"))
			require.NoError(t, os.Symlink(filepath.Base(file)+".x", file))
		}},
		{"the record of another file", func(t *testing.T, file string) {
			require.NoError(t, os.Rename(file, file+"x"))
			require.NoError(t, os.Rename(file+partSuffix, file+"x"+partSuffix))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Root: t.TempDir()}
			s := open(t, o)
			storetest.Leave(t, s, key("/x"), whole, "", exchange.Span{From: 0, To: 1 << 19})
			saved(t, s, 1)
			require.NoError(t, s.Close())
			names := temps(t, o)
			slices.Sort(names)
			test.damage(t, filepath.Join(o.Root, tempDir, names[0]))
			s = open(t, o)
			storetest.Gone(t, s, key("/x"))
			assert.Empty(t, temps(t, o))
			waitScan(t, s)
			assert.Zero(t, s.Stats().Bytes)
		})
	}
	t.Run("removed while it runs", func(t *testing.T) {
		o := Options{Root: t.TempDir()}
		s := open(t, o)
		storetest.Leave(t, s, key("/x"), whole, "", exchange.Span{From: 0, To: 1 << 19})
		saved(t, s, 1)
		require.NoError(t, os.RemoveAll(o.Root+"/"+tempDir))
		storetest.Gone(t, s, key("/x"))
		assert.Zero(t, s.Stats().Bytes)
	})
}

// A part whose sync fails behind the end of its transfer does not stay until
// somebody looks for what is too old (F23, F32).
func TestDeadPart(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := open(t, o)
		storetest.Leave(t, s, key("/x"), content(1<<20), "note", exchange.Span{From: 0, To: 1 << 19})
		saved(t, s, 1)
		s.parts.mu.Lock()
		record := s.parts.all[key("/x")]
		s.parts.mu.Unlock()
		record.fail(unix.EIO)
		assert.Empty(t, temps(t, o))
		assert.Zero(t, s.Stats().Bytes)
		assert.Zero(t, s.Stats().Parts)
		_, _, _, err := s.Resume(t.Context(), key("/x"))
		assert.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestPartsAreBounded(t *testing.T) {
	t.Run("number", func(t *testing.T) {
		now := time.Now()
		o := Options{Root: t.TempDir(), Now: func() time.Time { return now }}
		s := open(t, o)
		for i := range maxParts + 5 {
			now = now.Add(time.Second)
			storetest.Leave(t, s, key(fmt.Sprintf("/%d", i)), content(64), "", exchange.Span{From: 0, To: 16})
		}
		assert.EqualValues(t, maxParts, s.Stats().Parts)
		storetest.Gone(t, s, key("/4"))
		storetest.Resume(t, s, key("/5"), content(64))
	})
	t.Run("bytes", func(t *testing.T) {
		o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 8 << 20}}
		s := open(t, o)
		whole := content(2 << 20)
		for i := range 4 {
			storetest.Leave(t, s, key(fmt.Sprintf("/%d", i)), whole, "", exchange.Span{From: 0, To: 800 << 10})
		}
		assert.EqualValues(t, 2, s.Stats().Parts, "a quarter of the limit")
		storetest.Gone(t, s, key("/1"))
	})
	t.Run("age", func(t *testing.T) {
		now := time.Now()
		o := Options{Root: t.TempDir(), Now: func() time.Time { return now }}
		s := open(t, o)
		have := exchange.Span{From: 0, To: 16}
		storetest.Leave(t, s, key("/1"), content(64), "", have)
		now = now.Add(maxPartAge - time.Second)
		storetest.Leave(t, s, key("/2"), content(64), "", have)
		now = now.Add(2 * time.Second)
		storetest.Gone(t, s, key("/1"))
		saved(t, s, 1)
		now = now.Add(maxPartAge)
		s.ageParts()
		assert.Zero(t, s.Stats().Parts)
		assert.Empty(t, temps(t, o))
		storetest.Leave(t, s, key("/3"), content(64), "", have)
		saved(t, s, 1)
		require.NoError(t, s.Close())
		now = now.Add(maxPartAge + time.Second)
		s = open(t, o)
		assert.Zero(t, s.Stats().Parts)
		assert.Empty(t, temps(t, o))
	})
	t.Run("they go before any entry", func(t *testing.T) {
		o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 16 << 20}}
		s := open(t, o)
		waitScan(t, s)
		whole := content(4 << 20)
		storetest.Put(t, s, key("/old"), content(8<<20))
		storetest.Leave(t, s, key("/part"), whole, "", exchange.Span{From: 0, To: 3 << 20})
		storetest.Put(t, s, key("/new"), content(6<<20))
		storetest.Gone(t, s, key("/part"))
		storetest.Get(t, s, key("/old"))
		storetest.Get(t, s, key("/new"))
		assert.Zero(t, s.Stats().Evictions)
	})
	t.Run("no room for the rest", func(t *testing.T) {
		o := Options{Root: t.TempDir(), MaxSize: Size{Bytes: 8 << 20}}
		s := open(t, o)
		waitScan(t, s)
		whole := content(4 << 20)
		storetest.Leave(t, s, key("/part"), whole, "", exchange.Span{From: 0, To: 1 << 20})
		d, err := s.Draft(t.Context(), 6<<20)
		require.NoError(t, err)
		_, _, _, err = s.Resume(t.Context(), key("/part"))
		require.ErrorIs(t, err, store.ErrFull)
		require.NoError(t, d.Close())
		assert.Zero(t, s.Stats().Bytes)
		storetest.Gone(t, s, key("/part"))
	})
}

func TestResumeCancelled(t *testing.T) {
	s := open(t, Options{Root: t.TempDir()})
	storetest.Leave(t, s, key("/x"), content(64), "", exchange.Span{From: 0, To: 16})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, _, err := s.Resume(ctx, key("/x"))
	require.ErrorIs(t, err, context.Canceled)
	storetest.Resume(t, s, key("/x"), content(64))
}

func FuzzRecord(f *testing.F) {
	k := &kept{
		&exchange.Part{Entry: storetest.Entry(key("/x"), content(64)), Have: []exchange.Span{{From: 0, To: 16}, {From: 20, To: 64}}},
		[]byte("note"), time.Now(),
	}
	good, err := k.encode("temp.1")
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(seal([]byte(`{"file":"temp.1","have":[{"from":5,"to":1}],"entry":{"key":{"path":"/x"},"size":10}}`)))
	f.Add(seal([]byte(`{"file":"temp.1","have":[{"from":0,"to":100}],"entry":{"key":{"path":"/x"},"size":10}}`)))
	f.Add(seal([]byte(`{"file":"temp.1","have":[{"from":0,"to":1}],"entry":null}`)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(b)} {
			if k, err := decodeRecord(b, "temp.1"); err == nil {
				require.True(t, k.part.Valid())
				require.Positive(t, k.end())
				require.LessOrEqual(t, k.end(), k.part.Entry.Size)
				again, err := k.encode("temp.1")
				require.NoError(t, err)
				_, err = decodeRecord(again, "temp.1")
				require.NoError(t, err)
			}
		}
	})
}
