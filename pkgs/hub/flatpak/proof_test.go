package flatpak

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// hashed is the digest of content that comes in pieces.
func hashed(algorithm string, content []byte, piece int) exchange.Digest {
	h := NewHash(algorithm)
	for len(content) > 0 {
		n := min(piece, len(content))
		_, _ = h.Write(content[:n])
		content = content[n:]
	}
	return exchange.NewDigest(algorithm, h.Sum(nil))
}

// makeObject is a file or a link as a repository has it, and its name.
func makeObject(t testing.TB, content []byte, link string) (packed []byte, name exchange.Digest) {
	t.Helper()
	// (uuuusa(ayay)) without extended attributes, behind a size or not.
	header := func(lead []byte) []byte {
		b := append(lead, make([]byte, 16)...)
		b = append(append(b, link...), 0)
		end := len(b)
		for _, width := range []int{1, 2, 4} {
			if all := len(b) + width; all < 1<<(8*width) {
				b = append(b, binary.LittleEndian.AppendUint64(nil, uint64(end))[:width]...)
				break
			}
		}
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), 0, 0, 0, 0), b...)
	}
	var b bytes.Buffer
	b.Write(header(binary.BigEndian.AppendUint64(nil, uint64(len(content)))))
	if content != nil {
		z, err := flate.NewWriter(&b, flate.BestSpeed)
		require.NoError(t, err)
		_, err = z.Write(content)
		require.NoError(t, err)
		require.NoError(t, z.Close())
	}
	sum := sha256.Sum256(append(header(nil), content...))
	return b.Bytes(), exchange.NewDigest(File, sum[:])
}

func TestHash(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, test := range []struct {
		name    string
		content []byte
		link    string
	}{
		{"file", []byte("hello"), ""},
		{"empty", []byte{}, ""},
		{"large", large, ""},
		{"link", nil, "target"},
	} {
		t.Run(test.name, func(t *testing.T) {
			packed, name := makeObject(t, test.content, test.link)
			for _, piece := range []int{1 << 10, 1 << 20} {
				assert.Equal(t, name, hashed(File, packed, piece))
			}
		})
	}
	// An offset is of another width in each header where the container is about 256
	// or 65536 bytes long.
	for _, about := range []int{256, 65536} {
		for n := about - 40; n < about+10; n++ {
			packed, name := makeObject(t, nil, strings.Repeat("x", n))
			assert.Equal(t, name, hashed(File, packed, 1<<20), "a link of %d bytes", n)
		}
	}
}

func TestHashRefuses(t *testing.T) {
	packed, name := makeObject(t, []byte("hello"), "")
	zero := exchange.NewDigest(File, make([]byte, 32))
	for about, content := range map[string][]byte{
		"nothing":       nil,
		"a page":        []byte("<html>please log in, thank you for flying</html>"),
		"header alone":  packed[:8+26],
		"long header":   append([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, packed[8:]...),
		"short header":  append([]byte{0, 0, 0, 1, 0, 0, 0, 0}, packed[8:]...),
		"wrong size":    append(append(bytes.Clone(packed[:15]), 9), packed[16:]...),
		"no deflate":    append(bytes.Clone(packed[:8+26]), "\xff\xff\xff"...),
		"two of them":   append(bytes.Clone(packed), packed...),
		"outer offset":  append(append(bytes.Clone(packed[:8+25]), 0xff), packed[8+26:]...),
		"early offset":  append(append(bytes.Clone(packed[:8+25]), 1), packed[8+26:]...),
		"padding taken": append(append(bytes.Clone(packed[:4]), 1), packed[5:]...),
	} {
		assert.Equal(t, zero, hashed(File, content, 1<<20), about)
	}
	assert.NotEqual(t, zero, name)
}

func TestPacked(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprint(z, "summary")
	require.NoError(t, z.Close())
	sum := sha256.Sum256([]byte("summary"))
	assert.Equal(t, exchange.NewDigest(Packed, sum[:]), hashed(Packed, b.Bytes(), 5))
	assert.NotEqual(t, exchange.NewDigest(Packed, sum[:]), hashed(Packed, b.Bytes()[:20], 5))
	assert.Nil(t, NewHash("sha256"))
}

// TestHashEnds: no goroutine stays, whether its hash came to an end or not.
func TestHashEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	packed, name := makeObject(t, bytes.Repeat([]byte("x"), 1<<16), "")
	for range 50 {
		h := NewHash(File)
		_, _ = h.Write(packed[:20])
		h.Reset()
		_, _ = h.Write(packed)
		assert.Equal(t, name, exchange.NewDigest(File, h.Sum(nil)))
		assert.Equal(t, name, exchange.NewDigest(File, h.Sum(nil)), "once more")
		_, _ = NewHash(File).Write(packed[:20]) // garbage
	}
	assert.Eventually(t, func() bool { runtime.GC(); return runtime.NumGoroutine() <= before+2 }, 20*time.Second, 10*time.Millisecond)
}

func FuzzHash(f *testing.F) {
	packed, _ := makeObject(f, []byte("hello"), "")
	f.Add(packed, 3)
	link, _ := makeObject(f, nil, "target")
	f.Add(link, 1)
	f.Fuzz(func(t *testing.T, content []byte, piece int) {
		if piece > 0 {
			assert.Equal(t, hashed(File, content, len(content)+1), hashed(File, content, piece))
		}
	})
}
