package ini

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const text = "# a=1\n;b=1\nnone = 0\n[One] \n a = 1 = 2 \r\nb=\n=\n\n[Two]\nno key\n [Three] # x=y\na=1"

func TestCopy(t *testing.T) {
	var heard []string
	var out strings.Builder
	require.NoError(t, Copy(&out, strings.NewReader(text), func(group, key, value string) (string, error) {
		heard = append(heard, group+"|"+key+"|"+value)
		if key == "a" {
			return "new", nil
		}
		return value, nil
	}))
	assert.Equal(t, []string{"|none|0", "One||", "One|a|1 = 2", "One|b|", "One||", "Two||", "Three||", "Three|a|1"}, heard)
	assert.Equal(t, "# a=1\n;b=1\nnone = 0\n[One] \n a =new\nb=\n=\n\n[Two]\nno key\n [Three] # x=y\na=new\n", out.String())
	assert.ErrorIs(t, Copy(&out, strings.NewReader(strings.Repeat("x", MaxLine+1)), nil), bufio.ErrTooLong)
}

func TestRead(t *testing.T) {
	for _, stop := range []string{"none", "One", "a"} {
		err := Read(strings.NewReader(text), func(group, key, _ string) error {
			if key == stop || key == "" && group == stop {
				return io.ErrClosedPipe
			}
			return nil
		})
		assert.ErrorIs(t, err, io.ErrClosedPipe, stop)
	}
	require.NoError(t, Read(strings.NewReader(text), func(string, string, string) error { return nil }))
}

// FuzzCopy: a text whose values stay is the same text, line by line.
func FuzzCopy(f *testing.F) {
	f.Add(text)
	f.Add("[\n=\n#")
	f.Fuzz(func(t *testing.T, text string) {
		var out strings.Builder
		if Copy(&out, strings.NewReader(text), func(_, _, value string) (string, error) { return value, nil }) != nil {
			return
		}
		want := strings.ReplaceAll(text, "\r\n", "\n")
		if want != "" && !strings.HasSuffix(want, "\n") {
			want = strings.TrimSuffix(want, "\r") + "\n"
		}
		assert.Equal(t, want, out.String())
	})
}
