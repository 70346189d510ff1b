package rds

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// matrix is that of an object with the columns a and b.
func matrix(content io.Reader) (rows [][2]string, err error) {
	err = Matrix(content, []string{"b", "none", "a"}, func(values []string) { rows = append(rows, [2]string{values[2], values[0]}) })
	return rows, err
}

// object is what begins an object, and then numbers.
func object(t testing.TB, numbers ...int32) []byte {
	t.Helper()
	b, err := binary.Append([]byte(Magic), binary.BigEndian, numbers)
	require.NoError(t, err)
	return b
}

// text is a string; a missing one is nil.
func text(s *string) []byte {
	b := binary.BigEndian.AppendUint32(nil, typeChars)
	if s == nil {
		return binary.BigEndian.AppendUint32(b, 0xffffffff)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(*s))), *s...)
}

// small is a matrix of the columns a and b, in the newer form.
func small(t testing.TB, cells ...*string) []byte {
	b := object(t, 3, 0x040202, 0x030500, 5)
	add := func(numbers ...int32) { b = append(b, object(t, numbers...)[len(Magic):]...) }
	symbol := func(name string) {
		add(typePairs|hasTag, typeSymbol)
		b = append(b, text(&name)...)
	}
	b = append(b, "UTF-8"...)
	add(typeStrings|hasAttributes, int32(len(cells)))
	for _, c := range cells {
		b = append(b, text(c)...)
	}
	symbol("dim")
	add(typeIntegers, 2, int32(len(cells)/2), 2)
	symbol("dimnames")
	add(typeList, 2, typeNil, typeStrings, 2)
	for _, name := range []string{"a", "b"} {
		b = append(b, text(&name)...)
	}
	add(typeNil)
	return b
}

func TestMatrix(t *testing.T) {
	word := func(s string) *string { return &s }
	long := strings.Repeat("x", maxKept+1)
	got, err := matrix(bytes.NewReader(small(t, word("1"), nil, &long, word("2"), word("3"), word("4"))))
	require.NoError(t, err)
	assert.Equal(t, [][2]string{{"1", "2"}, {"", "3"}, {"", "4"}}, got, "column by column; what is missing or long is empty")
}

// TestWritten: R 4.2.2 has written it, in the older form.
func TestWritten(t *testing.T) {
	packed, err := os.ReadFile("testdata/v2.rds")
	require.NoError(t, err)
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	var got []string
	require.NoError(t, Matrix(plain, []string{"Package", "MD5sum"}, func(values []string) { got = append(got, values...) }))
	assert.Equal(t, []string{"demo", "12c4d3bea121ec6427856426005fa148", "leaf", "ec979c04993581ffe1cea58b6017c4a4"}, got)
}

func TestMatrixRefuses(t *testing.T) {
	const table = typeStrings | hasAttributes
	for name, content := range map[string][]byte{
		"nothing":             nil,
		"another form":        []byte("A\n2\n"),
		"cut":                 object(t, 2, 0),
		"another version":     object(t, 4, 0, 0, table, 0, typeNil),
		"a list":              object(t, 2, 0, 0, typeList, 0),
		"no names":            object(t, 2, 0, 0, table, 0, typeNil),
		"an endless promise":  object(t, 2, 0, 0, table, maxStrings, typeChars),
		"more than there may": object(t, 2, 0, 0, table, maxStrings+1),
		"a negative length":   object(t, 2, 0, 0, table, -1),
		"no symbol":           object(t, 2, 0, 0, table, 0, typePairs|hasTag, typeRef|5<<8, typeNil),
		"a closure":           object(t, 2, 0, 0, table, 0, typePairs|hasTag, 3),
		"half a row":          small(t, nil, nil, nil),
	} {
		_, err := matrix(bytes.NewReader(content))
		assert.Error(t, err, name)
	}
	deep := []int32{2, 0, 0, table, 0, typePairs | hasTag}
	for range 100_000 {
		deep = append(deep, typeList, 1)
	}
	_, err := matrix(bytes.NewReader(object(t, deep...)))
	assert.ErrorContains(t, err, "too deep")
}

// FuzzMatrix: an object of any bytes ends soon, and what is kept of it is short.
func FuzzMatrix(f *testing.F) {
	one := "1"
	f.Add(small(f, &one, nil))
	f.Add(object(f, 2, 0, 0, typeStrings|hasAttributes, 0, typePairs|hasTag, typeRef|1<<8, typeNil))
	f.Fuzz(func(t *testing.T, content []byte) {
		rows, _ := matrix(bytes.NewReader(content))
		for _, r := range rows {
			assert.LessOrEqual(t, len(r[0]), maxKept)
			assert.LessOrEqual(t, len(r[1]), maxKept)
		}
	})
}
