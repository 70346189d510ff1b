package hub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// sift drops what is named in hidden, of the members "a" and "b", and any element 0.
func sift(text string, hidden ...string) (string, error) {
	var out bytes.Buffer
	edit := func(name string, text []byte) []byte {
		for _, h := range hidden {
			if name == h && name != "" || string(text) == "0" {
				return nil
			}
		}
		if string(text) == "1" {
			return []byte("2")
		}
		return text
	}
	err := hub.SiftJSON(&out, strings.NewReader(text), map[string]func(string, []byte) []byte{"a": edit, "b": edit})
	return out.String(), err
}

func TestSiftJSON(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"objects", `{"a":{"x":{"k": [1, 2]},"y":{}},"c":{"x":1.0e400}}`, `{"a":{"y":{}},"c":{"x":1.0e400}}`},
		{"the last", `{"a":{"y":5,"x":6}}`, `{"a":{"y":5}}`},
		{"all", `{"a":{"x":5}}`, `{"a":{}}`},
		{"arrays", `{"a":[0,5,0,"q",1],"b":[0]}`, `{"a":[5,"q",2],"b":[]}`},
		{"blanks", " {\n \"a\" : { \"x\" : 1 , \"y\" : [ 1 ] } , \"c\" : [ 1 ] }\n", `{"a":{"y":[ 1 ]},"c":[ 1 ]}`},
		{"escaped names", `{"\u0061":{"\u0078":1,"\u0022":5}}`, `{"a":{"\"":5}}`},
		{"scalars", `{"a":null,"b":"s","c":true}`, `{"a":null,"b":"s","c":true}`},
		{"nothing", `{}`, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sift(tt.in, "x")
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	for _, bad := range []string{"", "[]", "null", `{"a":{"x":1}`, `{"a":{"x":1,}}`, `{"a":1}{}`, `{"a":1} x`, `{"c":tru}`, `{"a":[1}`} {
		_, err := sift(bad, "x")
		assert.Error(t, err, bad)
	}
	large := `{"a":{"x":"` + strings.Repeat("x", 9<<20) + `"}}`
	_, err := sift(large, "x")
	assert.ErrorContains(t, err, "an element of more than")
	_, err = sift(`{"a":[`+strings.Repeat(`"`+strings.Repeat("x", 1<<20)+`",`, 10)+`0]}`, "x")
	assert.NoError(t, err, "many elements are no large one")
	err = hub.SiftJSON(full{}, strings.NewReader(`{"a":[1]}`), nil)
	assert.ErrorIs(t, err, io.ErrShortWrite)
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func FuzzSiftJSON(f *testing.F) {
	f.Add(`{"a":{"x":{"k":[1,2]},"y":{}},"c":1}`)
	f.Add(`{"a":[0,1],"b":"s"}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := sift(text, "x")
		if err != nil {
			return
		}
		require.True(t, json.Valid([]byte(got)), got)
		var out map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(got), &out))
		var members map[string]json.RawMessage
		if json.Unmarshal(out["a"], &members) == nil {
			require.NotContains(t, members, "x")
		}
	})
}

func TestPiped(t *testing.T) {
	upper := func(dst io.Writer, src io.Reader) error {
		text, err := io.ReadAll(src)
		if err == nil {
			_, err = dst.Write(bytes.ToUpper(text))
		}
		return err
	}
	twice := func(dst io.Writer, src io.Reader) error {
		text, err := io.ReadAll(src)
		if err == nil {
			_, err = dst.Write(append(text, text...))
		}
		return err
	}
	bad := errors.New("bad")
	fails := func(io.Writer, io.Reader) error { return bad }
	panics := func(io.Writer, io.Reader) error { panic("bad") }
	var out bytes.Buffer
	require.NoError(t, hub.Piped(&out, strings.NewReader("ab"), upper, twice))
	assert.Equal(t, "ABAB", out.String())
	assert.ErrorIs(t, hub.Piped(io.Discard, strings.NewReader("ab"), fails, twice), bad)
	assert.ErrorIs(t, hub.Piped(io.Discard, strings.NewReader("ab"), upper, fails), bad)
	assert.ErrorContains(t, hub.Piped(io.Discard, strings.NewReader("ab"), panics, twice), "panic: bad")
}
