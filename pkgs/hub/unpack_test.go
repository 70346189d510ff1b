package hub_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// packers of an index, by name.
var packers = map[string]func(io.Writer) io.WriteCloser{
	"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"xz": func(w io.Writer) io.WriteCloser {
		z, _ := xz.NewWriter(w)
		return z
	},
	"zstd": func(w io.Writer) io.WriteCloser {
		z, _ := zstd.NewWriter(w)
		return z
	},
}

func pack(t testing.TB, name string, write func(io.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	z := packers[name](&b)
	write(z)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestUnpack(t *testing.T) {
	text := strings.Repeat("Package: left-pad\n", 10_000)
	for name := range packers {
		t.Run(name, func(t *testing.T) {
			packed := pack(t, name, func(w io.Writer) { io.WriteString(w, text) })
			r, err := hub.Unpack(bytes.NewReader(packed))
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			assert.Equal(t, text, string(got))

			r, err = hub.Unpack(bytes.NewReader(packed[:len(packed)/2]))
			if err == nil {
				_, err = io.ReadAll(r)
				r.Close()
			}
			assert.Error(t, err, "cut")
		})
	}
	for _, plain := range []string{"", "a", text} {
		r, err := hub.Unpack(strings.NewReader(plain))
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, plain, string(got))
	}
}

// Zeros without end, packed small (B26).
func TestBomb(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for name := range packers {
		t.Run(name, func(t *testing.T) {
			size := 8
			if name == "xz" {
				size = 4
			}
			packed := pack(t, name, func(w io.Writer) {
				for range size {
					w.Write(zeros)
				}
			})
			r, err := hub.Unpack(bytes.NewReader(packed))
			require.NoError(t, err)
			defer r.Close()
			n, err := io.Copy(io.Discard, r)
			if len(packed) > size<<10 {
				t.Skipf("%s packs zeros no smaller than is allowed: %d bytes", name, len(packed))
			}
			require.ErrorIs(t, err, hub.ErrBomb)
			assert.Less(t, n, int64(size)<<20)
		})
	}
}

func TestReadAll(t *testing.T) {
	text, err := hub.ReadAll(strings.NewReader("abc"), 3)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(text))
	_, err = hub.ReadAll(strings.NewReader("abcd"), 3)
	assert.EqualError(t, err, "more than 3 bytes")
	_, err = hub.ReadAll(iotest.ErrReader(io.ErrClosedPipe), 3)
	assert.Equal(t, io.ErrClosedPipe, err)
}

func TestLines(t *testing.T) {
	lines := func(text string, stop string) (all []string, err error) {
		err = hub.Lines(strings.NewReader(text), 10, func(line []byte) error {
			all = append(all, string(line))
			if string(line) == stop {
				return io.ErrNoProgress
			}
			return nil
		})
		return all, err
	}
	all, err := lines("a\r\n\nb", "-")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "", "b"}, all)
	all, err = lines("a\nb\nc\n", "b")
	assert.Equal(t, io.ErrNoProgress, err)
	assert.Equal(t, []string{"a", "b"}, all)
	_, err = lines("a\n01234567890\n", "-")
	assert.Error(t, err, "a long line")
}

func FuzzUnpack(f *testing.F) {
	for name := range packers {
		f.Add(pack(f, name, func(w io.Writer) { io.WriteString(w, "Package: a\n") }))
	}
	f.Add([]byte("BZh91AY&SY"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := hub.Unpack(bytes.NewReader(b))
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, io.LimitReader(r, 8<<20))
		r.Close()
		if n > 1<<20 && n > 1000*int64(len(b))+1<<20 {
			t.Errorf("%d bytes from %d", n, len(b))
		}
	})
}
