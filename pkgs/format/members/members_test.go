package members

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pack is one member.
func pack(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Name = "a name" // so that the header is read in pieces
	_, err := z.Write(content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestNext(t *testing.T) {
	contents := [][]byte{[]byte("one"), noise(200 << 10), nil, bytes.Repeat([]byte("x"), 1<<20)}
	var packed [][]byte
	for _, content := range contents {
		packed = append(packed, pack(t, content))
	}
	file := bytes.Join(packed, nil)
	for name, src := range map[string]io.Reader{
		"whole":        bytes.NewReader(file),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(file)),
	} {
		r := NewReader(src)
		for i := range contents {
			var is bytes.Buffer
			content, err := r.Next(&is)
			require.NoError(t, err, name)
			got, err := io.ReadAll(content)
			require.NoError(t, err, name)
			assert.True(t, bytes.Equal(contents[i], got), "%s: content of %d", name, i)
			assert.True(t, bytes.Equal(packed[i], is.Bytes()), "%s: member %d", name, i)
		}
		_, err := r.Next(io.Discard)
		assert.ErrorIs(t, err, io.EOF, name)
	}
}

func TestRest(t *testing.T) {
	first := pack(t, []byte("one"))
	r := NewReader(io.MultiReader(bytes.NewReader(first), bytes.NewReader([]byte("no member"))))
	content, err := r.Next(io.Discard)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, content)
	require.NoError(t, err)
	rest, err := io.ReadAll(r.Rest())
	require.NoError(t, err)
	assert.Equal(t, "no member", string(rest))
}

func TestNextRefuses(t *testing.T) {
	one := pack(t, []byte("one"))
	wrong := bytes.Clone(one)
	wrong[len(wrong)-6] ^= 4 // of its CRC-32
	for name, file := range map[string][]byte{"no gzip": []byte("<html>log in</html>"), "a cut header": one[:12], "cut": one[:len(one)-1], "wrong": wrong} {
		content, err := NewReader(bytes.NewReader(file)).Next(io.Discard)
		if err == nil {
			_, err = io.Copy(io.Discard, content)
		}
		assert.Error(t, err, name)
		assert.NotErrorIs(t, err, io.EOF, name)
	}
	content, err := NewReader(bytes.NewReader(one)).Next(failing{})
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, content)
	assert.ErrorIs(t, err, io.ErrClosedPipe, "what is packed cannot be written")
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// FuzzNext: members, one behind the other, are what the file begins with.
func FuzzNext(f *testing.F) {
	f.Add(append(pack(f, []byte("one")), pack(f, noise(1000))...))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := NewReader(bytes.NewReader(file))
		var again bytes.Buffer
		for {
			content, err := r.Next(&again)
			if err == nil {
				_, err = io.Copy(io.Discard, io.LimitReader(content, 1<<20))
			}
			if err != nil {
				return // nothing is known of what was read of it
			}
			if n, err := content.Read(make([]byte, 1)); n > 0 || err != io.EOF {
				return
			}
			assert.True(t, bytes.HasPrefix(file, again.Bytes()))
		}
	})
}
