package gvariant

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Examples of the specification, section 2.5.
const (
	foo  = "foo\x00\xff\xff\xff\xff\x04"                     // (si): ('foo', -1)
	list = "i\x00can\x00has\x00strings?\x00\x02\x06\x0a\x13" // as
)

// dict is {'a': <'x'>, 'bc': <uint32 7>}.
const dict = "a\x00\x00\x00\x00\x00\x00\x00x\x00\x00s\x02" + "\x00\x00\x00" +
	"bc\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00u\x03" + "\x0d\x1f"

func TestDict(t *testing.T) {
	type entry struct{ key, kind, value string }
	var got []entry
	require.NoError(t, Dict([]byte(dict), func(key, kind string, value []byte) error {
		got = append(got, entry{key, kind, string(value)})
		return nil
	}))
	assert.Equal(t, []entry{{"a", "s", "x\x00"}, {"bc", "u", "\x07\x00\x00\x00"}}, got)
	assert.ErrorIs(t, Dict([]byte(dict), func(string, string, []byte) error { return io.EOF }), io.EOF)
	require.NoError(t, Dict(nil, nil), "it is empty")
	for cut := 1; cut < len(dict); cut++ {
		err := Dict([]byte(dict[:cut]), func(string, string, []byte) error { return nil })
		assert.ErrorIs(t, err, ErrForm, "cut at %d", cut)
	}
}

func TestArray(t *testing.T) {
	var got []string
	each := func(e []byte) error { got = append(got, string(e)); return nil }
	require.NoError(t, Array([]byte(list), 1, each))
	assert.Equal(t, []string{"i\x00", "can\x00", "has\x00", "strings?\x00"}, got)
	for name, b := range map[string]string{
		"backwards":         "abc\x02\x01\x03",
		"into the offsets":  "abc\x01\x04\x03",
		"beyond":            "abc\x09",
		"offsets in halves": strings.Repeat("x", 301) + "\x2a\x01",
	} {
		got = nil
		assert.ErrorIs(t, Array([]byte(b), 1, each), ErrForm, name)
		assert.NotContains(t, strings.Join(got, ""), "\x01", "%s: no offset is an element", name)
	}
}

func TestPair(t *testing.T) {
	first, second, err := Pair([]byte(foo), 4)
	require.NoError(t, err)
	assert.Equal(t, "foo\x00", string(first))
	assert.Equal(t, "\xff\xff\xff\xff", string(second))
	for _, b := range []string{"", "\x01", "ab\x03"} {
		_, _, err := Pair([]byte(b), 1)
		assert.ErrorIs(t, err, ErrForm, "%q", b)
	}
}

func TestEnd(t *testing.T) {
	end, err := End([]byte("abcde\x03\x01"), 0) // (ayayay)
	require.NoError(t, err)
	assert.Equal(t, 1, end)
	end, err = End([]byte("abcde\x03\x01"), 1)
	require.NoError(t, err)
	assert.Equal(t, 3, end)
	_, err = End([]byte("a"), 1)
	assert.ErrorIs(t, err, ErrForm)
}

// TestAppendEnd: what is appended is what is read, of whatever width.
func TestAppendEnd(t *testing.T) {
	for _, n := range []int{1, 254, 255, 65533, 65534, 65536, 1 << 17} {
		b := AppendEnd(bytes.Repeat([]byte("x"), n), n-1)
		end, err := End(b, 0)
		require.NoError(t, err)
		assert.Equal(t, n-1, end, "of %d bytes", n)
	}
}

// FuzzDict: whatever the bytes are, what is given of them lies in them.
func FuzzDict(f *testing.F) {
	f.Add([]byte(dict))
	f.Add([]byte(list))
	f.Fuzz(func(t *testing.T, b []byte) {
		given := 0
		_ = Dict(b, func(key, kind string, value []byte) error {
			given += len(key) + len(kind) + len(value)
			return nil
		})
		assert.LessOrEqual(t, given, len(b))
		_ = Array(b, 1, func(e []byte) error { _, _, _ = Pair(e, 8); return nil })
		_, _ = End(b, 3)
	})
}
