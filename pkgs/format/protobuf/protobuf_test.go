package protobuf_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/protobuf"
)

// sample has field 1 twice, a number, eight bytes, four bytes, and an empty field 2.
const sample = "\x0a\x01a\x18\x96\x01\x0a\x02bc\x31eightbyt\x3dfour\x12\x00"

func TestParse(t *testing.T) {
	m, err := protobuf.Parse([]byte(sample))
	require.NoError(t, err)
	assert.Equal(t, protobuf.Message{1: {[]byte("a"), []byte("bc")}, 2: {{}}}, m)
	assert.Equal(t, "bc", string(m.Last(1)))
	assert.NotNil(t, m.Last(2))
	assert.Nil(t, m.Last(3))
	m, err = protobuf.Parse(nil)
	require.NoError(t, err)
	assert.Empty(t, m)
	for name, text := range map[string]string{
		"a length beyond": "\x0a\x05abc", "an endless number": "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a group's end": "\x0c", "no field 0": "\x02\x00",
		"cut": "\x31eigh", "a page": "<html>",
	} {
		_, err := protobuf.Parse([]byte(text))
		assert.Error(t, err, name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("\x0b\x0a\x01a\x0c"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := protobuf.Parse(text)
		if err != nil {
			return
		}
		size := 0
		for number, values := range m {
			assert.Positive(t, number)
			for _, value := range values {
				size += len(value)
			}
		}
		assert.LessOrEqual(t, size, len(text))
	})
}
