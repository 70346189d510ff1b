package deb822

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 5*MaxLine)
	var got []string
	require.NoError(t, Lines(io.MultiReader(strings.NewReader("a\n\n"+long+"\nb\r\n"), strings.NewReader(long)), func(line []byte) error {
		got = append(got, string(line))
		return nil
	}))
	assert.Equal(t, []string{"a", "", long[:MaxLine], "b", long[:MaxLine]}, got)
	assert.ErrorIs(t, Lines(strings.NewReader("a"), func([]byte) error { return io.ErrClosedPipe }), io.ErrClosedPipe)
}

func TestField(t *testing.T) {
	for _, test := range []struct{ name, line, field, value string }{
		{"field", "Size: 12 ", "Size", "12"},
		{"empty", "Files:", "Files", ""},
		{"colons", "A:b:c", "A", "b:c"},
		{"goes on", " 00 1 s.dsc", "", "00 1 s.dsc"},
		{"goes on with a tab", "\tx: y", "", "x: y"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name, value, err := Field([]byte(test.line))
			require.NoError(t, err)
			assert.Equal(t, test.field, string(name))
			assert.Equal(t, test.value, string(value))
		})
	}
	for _, line := range []string{"<html>", ": x", "see here: x"} {
		_, _, err := Field([]byte(line))
		assert.ErrorIs(t, err, ErrSyntax, line)
	}
}

func rows(text string) (got [][2]string, err error) {
	err = Rows(strings.NewReader(text), []string{"Package", "Version"}, func(values []string) { got = append(got, [2]string(values)) })
	return got, err
}

func TestRows(t *testing.T) {
	got, err := rows("\n\nPackage: a\nDepends: R (>= 3.5),\n  b\nVersion: 1\n - x\n \n\nOther: x\n\nVersion: 2\nPackage: b")
	require.NoError(t, err)
	assert.Equal(t, [][2]string{{"a", "1"}, {"", ""}, {"b", "2"}}, got)
	got, err = rows("")
	require.NoError(t, err)
	assert.Empty(t, got)
	_, err = rows("Package: a\n\n<html>please log in</html>")
	assert.ErrorIs(t, err, ErrSyntax)
}

// FuzzRows: no value has more than a line, and there is no row without a field.
func FuzzRows(f *testing.F) {
	f.Add("Package: a\nVersion: 1\n\nPackage:b\r\n")
	f.Add("\tx\nPackage:\n b\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, _ := rows(text)
		assert.LessOrEqual(t, len(got), strings.Count(text, ":"))
		for _, r := range got {
			assert.NotContains(t, r[0]+r[1], "\n")
		}
	})
}
