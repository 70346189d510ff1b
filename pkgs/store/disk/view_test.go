package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/storetest"
)

func look(t *testing.T, root string) *View {
	t.Helper()
	v, err := OpenView(root)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, v.Close()) })
	return v
}

// seen is what a view finds, by place; damage by its path alone.
func seen(t *testing.T, v *View, hub, prefix string) (whole, damaged []string) {
	t.Helper()
	require.NoError(t, v.Files(t.Context(), hub, prefix, func(f *File) error {
		content, err := io.ReadAll(f)
		require.NoError(t, err)
		assert.Len(t, content, int(f.Size))
		if f.Damage != nil {
			assert.Nil(t, f.Entry)
			damaged = append(damaged, f.At)
			return nil
		}
		whole = append(whole, f.Entry.Key.String()+" "+string(content))
		return nil
	}))
	slices.Sort(whole)
	slices.Sort(damaged)
	return whole, damaged
}

// tree is every file's path, size and times.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		if d.Type().IsRegular() {
			st, err := os.Stat(name)
			require.NoError(t, err)
			all[name] = info.ModTime().String() + " " + st.Mode().String()
		}
		return nil
	}))
	return all
}

// TestView: what a store has, read while a process has it open, and after; and
// nothing is another for it.
func TestView(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
	}{{"attributes", Options{}}, {"sidecars", Options{DisableXattr: true}}} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			test.o.Root = root
			s, err := Open(test.o)
			require.NoError(t, err)
			a, b := exchange.Key{Hub: "npm", Path: "/a"}, exchange.Key{Hub: "npm", Path: "/a/b", Variant: "json"}
			storetest.Put(t, s, a, []byte("one"))
			storetest.Put(t, s, b, []byte("two"))
			storetest.Put(t, s, exchange.Key{Hub: "other", Path: "/c"}, []byte("three"))

			v := look(t, root)
			check := func() {
				t.Helper()
				whole, damaged := seen(t, v, "npm", "/a")
				assert.Equal(t, []string{a.String() + " one", b.String() + " two"}, whole)
				assert.Empty(t, damaged)
				whole, _ = seen(t, v, "npm", "/a/")
				assert.Equal(t, []string{b.String() + " two"}, whole)
				whole, _ = seen(t, v, "", "")
				assert.Len(t, whole, 3)

				e, content, err := v.Open(t.Context(), b)
				require.NoError(t, err)
				defer content.Close()
				text, err := io.ReadAll(content)
				require.NoError(t, err)
				assert.Equal(t, "two", string(text))
				assert.Equal(t, b, e.Key)
				assert.NotEmpty(t, e.Digest)
				_, _, err = v.Open(t.Context(), exchange.Key{Hub: "npm", Path: "/a/b"})
				assert.ErrorIs(t, err, fs.ErrNotExist)
				n := 0
				for e, err := range v.Entries(t.Context(), "npm", "/") {
					require.NoError(t, err)
					assert.Equal(t, "npm", e.Key.Hub)
					n++
				}
				assert.Equal(t, 2, n)
			}
			check()
			require.NoError(t, s.Close())
			before := tree(t, root)
			check()
			assert.Equal(t, before, tree(t, root), "nothing is written")

			again, err := Open(test.o)
			require.NoError(t, err, "no lock is held")
			require.NoError(t, again.Close())
		})
	}
}

// TestViewOfDamage: what is not as its metadata says is told, stays, and goes when it is removed.
func TestViewOfDamage(t *testing.T) {
	root := t.TempDir()
	s := open(t, Options{Root: root})
	short, right := exchange.Key{Hub: "npm", Path: "/short"}, exchange.Key{Hub: "npm", Path: "/right"}
	storetest.Put(t, s, short, []byte("12345"))
	storetest.Put(t, s, right, []byte("right"))
	put := func(at string) { // by hand, as from an rsync
		require.NoError(t, os.WriteFile(filepath.Join(root, at), []byte("by hand"), 0o644))
	}
	put("npm/hand")
	require.NoError(t, os.Truncate(filepath.Join(root, "npm/short"), 3))
	v := look(t, root)
	whole, damaged := seen(t, v, "npm", "")
	assert.Equal(t, []string{"npm:/hand by hand", "npm:/right right"}, whole)
	assert.Equal(t, []string{"npm/short"}, damaged)
	_, damaged = seen(t, v, "npm", "/r")
	assert.Empty(t, damaged, "it is not below the prefix")
	_, _, err := v.Open(t.Context(), short)
	assert.Error(t, err)
	assert.FileExists(t, filepath.Join(root, "npm/short"), "damage stays")

	// Removed: that file, and no other that has taken its place.
	stop := errors.New("enough")
	require.ErrorIs(t, v.Files(t.Context(), "npm", "", func(f *File) error {
		if f.Damage == nil {
			return nil
		}
		put("npm/new")
		require.NoError(t, os.Rename(filepath.Join(root, "npm/new"), filepath.Join(root, "npm/short")))
		require.NoError(t, v.Remove(f))
		assert.FileExists(t, filepath.Join(root, "npm/short"), "another one, of after")
		return stop
	}), stop)
	require.NoError(t, v.Files(t.Context(), "npm", "/short", func(f *File) error {
		require.NoError(t, v.Remove(f))
		require.NoError(t, v.Remove(f), "of nothing is no error")
		return nil
	}))
	assert.NoFileExists(t, filepath.Join(root, "npm/short"))
}

// TestViewEnds: a walk ends with its context, and needs the directory.
func TestViewEnds(t *testing.T) {
	_, err := OpenView(filepath.Join(t.TempDir(), "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	root := t.TempDir()
	s := open(t, Options{Root: root})
	for _, path := range []string{"/a", "/b", "/c"} {
		storetest.Put(t, s, exchange.Key{Hub: "npm", Path: path}, []byte("x"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	n := 0
	err = look(t, root).Files(ctx, "npm", "", func(*File) error {
		n++
		cancel()
		return nil
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, n)
}
