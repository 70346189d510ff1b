package msgpack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// walk is what a visitor hears, a line each.
func walk(r io.Reader) (heard []string, err error) {
	err = Walk(r, Visitor{
		Scalar: func(keys []string, text []byte, n int64) error {
			heard = append(heard, fmt.Sprintf("%s %q %d", strings.Join(keys, "/"), text, n))
			return nil
		},
		End: func(keys []string) { heard = append(heard, strings.Join(keys, "/")+" ends") },
	})
	return heard, err
}

// document has a value of each kind.
const document = "\x86" +
	"\xa1a\x83" + "\xa4text\xd9\x01x" + "\xd9\x05bytes\xc4\x02yz" + "\xa1n\xcd\x01\x00" +
	"\xa1b\xdc\x00\x03" + "\x07" + "\xff" + "\x81\xa1c\xd3\xff\xff\xff\xff\xff\xff\xff\xfe" +
	"\xa1f\xcb\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\xa1g\xc7\x03\x05abc" +
	"\xa1h\xc0" +
	"\xa1i\xcf\xff\xff\xff\xff\xff\xff\xff\xff"

func TestWalk(t *testing.T) {
	want := []string{
		`a/text "x" 0`, `a/bytes "yz" 0`, `a/n "" 256`, `a ends`,
		`b "" 7`, `b "" -1`, `b/c "" -2`, `b ends`,
		`f "" 0`, `g "" 0`, `h "" 0`, `i "" -1`,
	}
	for name, r := range map[string]io.Reader{
		"whole":         strings.NewReader(document),
		"byte by byte":  iotest.OneByteReader(strings.NewReader(document)),
		"end with data": iotest.DataErrReader(strings.NewReader(document)),
	} {
		got, err := walk(r)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
	got, err := walk(strings.NewReader("\xa1x"))
	require.NoError(t, err)
	assert.Empty(t, got, "what is in no map is nobody's")
}

func TestWalkEnds(t *testing.T) {
	enough := errors.New("enough")
	assert.ErrorIs(t, Walk(strings.NewReader(document), Visitor{Scalar: func([]string, []byte, int64) error { return enough }}), enough)
	require.NoError(t, Walk(strings.NewReader(document), Visitor{Scalar: func([]string, []byte, int64) error { return nil }}))
}

func TestWalkRefuses(t *testing.T) {
	for cut := range len(document) {
		_, err := walk(strings.NewReader(document[:cut]))
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", cut)
	}
	_, err := walk(strings.NewReader("\x81\xa1f\xcb\x00")) // in what is passed over
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	for name, text := range map[string]string{
		"no value":         "\xc1",
		"a number as key":  "\x81\x01\x01",
		"bytes as key":     "\x81\xc4\x01a\x01",
		"a long string":    "\x81\xa1a\xdb\x00\x10\x00\x01" + strings.Repeat("x", maxText+1),
		"a promise":        "\x81\xa1a\xdb\xff\xff\xff\xff",
		"a long key":       "\x81\xdb\x00\x10\x00\x01" + strings.Repeat("k", maxText+1),
		"long bytes":       "\x81\xa1a\xc6\xff\xff\xff\xff",
		"too deep":         strings.Repeat("\x91", maxDepth+1) + "\xc0",
		"deep, by maps":    strings.Repeat("\x81\xa0", maxDepth+1) + "\xc0",
		"an empty promise": "\xdf\xff\xff\xff\xff",
	} {
		_, err := walk(strings.NewReader(text))
		assert.Error(t, err, name)
	}
}

// FuzzWalk: a document of any bytes ends soon, and is read alike however it comes.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(document))
	f.Add([]byte("\xde\x00\x01\xa0\xd4\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err := walk(bytes.NewReader(b))
		pieces, again := walk(iotest.HalfReader(bytes.NewReader(b)))
		assert.Equal(t, whole, pieces)
		assert.Equal(t, err == nil, again == nil)
	})
}
