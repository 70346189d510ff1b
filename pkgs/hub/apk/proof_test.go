package apk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pkg is a package in its three streams.
type pkg struct{ signature, control, data []byte }

func (p *pkg) bytes() []byte { return bytes.Join([][]byte{p.signature, p.control, p.data}, nil) }

func (p *pkg) sum() []byte {
	sum := sha1.Sum(p.control)
	return sum[:]
}

// newPkg makes a package whose control and data are of about these sizes when packed.
func newPkg(t testing.TB, control, data int) *pkg {
	t.Helper()
	r := rand.NewChaCha8([32]byte{1})
	noise := func(n int) string { // in lines
		b := make([]byte, n/2)
		r.Read(b)
		var text strings.Builder
		for line := range slices.Chunk(b, 100) {
			fmt.Fprintf(&text, "# %x\n", line)
		}
		return text.String()
	}
	p := &pkg{data: stream(t, "usr/share/demo", noise(data), true)}
	sum := sha256.Sum256(p.data)
	p.control = stream(t, ".PKGINFO", fmt.Sprintf("pkgname = demo\n%sdatahash = %x\n", noise(control), sum), false)
	p.signature = stream(t, ".SIGN.RSA.demo.rsa.pub", noise(256), false)
	return p
}

// packed is the beginning of a stream that unpacks to much more than it has.
func packed(t testing.TB, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}))
	for line := bytes.Repeat([]byte("# "+strings.Repeat("x", 1021)+"\n"), 64); size > 0; size -= int64(len(line)) {
		_, err := w.Write(line)
		require.NoError(t, err)
	}
	require.NoError(t, w.Flush())
	require.NoError(t, z.Close())
	return b.Bytes()
}

func written(t testing.TB, algorithm string, content []byte, piece int) []byte {
	t.Helper()
	h := NewHash(algorithm)
	for len(content) > 0 {
		n := min(piece, len(content))
		_, err := h.Write(content[:n])
		require.NoError(t, err)
		content = content[n:]
	}
	assert.Equal(t, h.Sum(nil), h.Sum(nil), "a sum changes nothing")
	return h.Sum(nil)
}

func TestHash(t *testing.T) {
	small, large := newPkg(t, 0, 100), newPkg(t, 200<<10, 300<<10)
	unsigned := *small
	unsigned.signature = nil
	of256 := sha256.Sum256(small.control)
	long := newPkg(t, 2<<20, 100)
	zeros := make([]byte, sha1.Size)
	for _, c := range []struct {
		name, algorithm string
		content, want   []byte
	}{
		{"small", Q1, small.bytes(), small.sum()},
		{"sha256", Q2, small.bytes(), of256[:]},
		{"control and data beyond the first look", Q1, large.bytes(), large.sum()},
		{"no signature", Q1, unsigned.bytes(), small.sum()},
		{"other data", Q1, append(bytes.Clone(small.signature), append(bytes.Clone(small.control), large.data...)...), zeros},
		{"more data", Q1, append(small.bytes(), 0), zeros},
		{"no data", Q1, append(bytes.Clone(small.signature), small.control...), zeros},
		{"cut in the control", Q1, small.bytes()[:len(small.signature)+100], zeros},
		{"no package", Q1, []byte("<html>sign in to go on</html>"), zeros},
		{"empty", Q1, nil, zeros},
		{"a long control", Q1, long.bytes(), long.sum()},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, piece := range []int{509, 64 << 10, 1 << 30} {
				assert.Equal(t, c.want, written(t, c.algorithm, c.content, piece), "in pieces of %d", piece)
			}
		})
	}
	endless := packed(t, ".PKGINFO", maxUnpacked)
	assert.Equal(t, zeros, written(t, Q1, endless, 1<<30), "endless control")
	assert.Nil(t, NewHash("sha1"))
}

// TestFlipped: a bit that is wrong in the middle of any stream is found.
func TestFlipped(t *testing.T) {
	p := newPkg(t, 100, 1000)
	at := 0
	for _, s := range [][]byte{p.signature, p.control, p.data} {
		for _, off := range []int{15, len(s) / 2, len(s) - 6} { // in the middle, and in the CRC-32
			content := p.bytes()
			content[at+off] ^= 4
			assert.NotEqual(t, p.sum(), written(t, Q1, content, 1<<30), "at %d of %d", off, len(s))
		}
		at += len(s)
	}
}

func FuzzHash(f *testing.F) {
	p := newPkg(f, 100, 100)
	f.Add(p.bytes(), 100)
	f.Add(p.control, 1)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, content []byte, cut int) {
		cut = max(0, min(cut, len(content)))
		h := NewHash(Q1)
		h.Write(content[:cut])
		h.Write(content[cut:])
		assert.Equal(t, written(t, Q1, content, 1<<20), h.Sum(nil), "how content is cut does not matter")
	})
}

func BenchmarkHash(b *testing.B) {
	content := newPkg(b, 1<<10, 16<<20).bytes()
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		h := NewHash(Q1)
		h.Write(content)
		h.Sum(nil)
	}
}
