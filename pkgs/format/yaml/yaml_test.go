package yaml

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// edit is a text in which what /a/*/b/* and /a/*/c are stands in other words, and what
// was heard of it.
func edit(t testing.TB, text string) (out string, heard []string) {
	t.Helper()
	say := func(what string) func(string) string {
		return func(s string) string {
			heard = append(heard, strings.TrimSpace(what+" "+s))
			return s
		}
	}
	var b strings.Builder
	require.NoError(t, Copy(&b, iotest.OneByteReader(strings.NewReader(text)), Rules{
		"a/":      say("end of a"),
		"a/*/":    say("end of one"),
		"a/*/c":   say("c"),
		"a/*/b/":  say("end of b"),
		"a/x/b/*": say("x"),
		"a/*/b/*": func(s string) string {
			heard = append(heard, "b "+s)
			if s == "same" {
				return s
			}
			return strings.ToUpper(s)
		},
	}))
	return b.String(), heard
}

func TestCopy(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		heard            []string
	}{
		{"mappings", "a:\n  one:\n    c: 1\n    b:\n    - p\n    - same # x\n    - same\n  x:\n    b: [q]\nz: 1\n",
			"a:\n  one:\n    c: 1\n    b:\n    - \"P\"\n    - same # x\n    - same\n  x:\n    b: [q]\nz: 1\n",
			[]string{"c 1", "b p", "b same", "end of b", "end of one", "x q", "end of a"}},
		{"sequence", "a:\n- b:\n  - p\n  - q\n  c: 'it''s'\n-   c: 2\n    b:\n        -   \"\\u0072\"\n",
			"a:\n- b:\n  - \"P\"\n  - \"Q\"\n  c: 'it''s'\n-   c: 2\n    b:\n        -   \"R\"\n",
			[]string{"b p", "b q", "end of b", "c it's", "end of one", "c 2", "b r", "end of b", "end of one", "end of a"}},
		{"comments, tags and anchors", "a: # x\n\n  # y\n  - &z\n    b: !!seq\n      - p\n",
			"a: # x\n\n  # y\n  - &z\n    b: !!seq\n      - \"P\"\n", []string{"b p", "end of b", "end of one", "end of a"}},
		{"flow", "a:\n  k: {c: 1}\n  l:\n    b: [ \"p\" ] \n    b: [p, q]\n    b: []\n",
			"a:\n  k: {c: 1}\n  l:\n    b: [ \"P\" ] \n    b: [p, q]\n    b: []\n",
			[]string{"end of one", "b p", "end of b", "end of b", "end of b", "end of one", "end of a"}},
		{"flow of several lines", "a:\n  k: {b: 1,\n    c: 2}\n  l: text\n    c: 3\n", "a:\n  k: {b: 1,\n    c: 2}\n  l: text\n    c: 3\n", []string{"end of one", "end of a"}},
		{"nothing in it", "a:\nz:\na: {}\na: null\na: no", "a:\nz:\na: {}\na: null\na: no", []string{"end of a", "end of a", "end of a"}},
		{"text of several lines", "t: |\n  a:\n    one:\n      c: 1\na:\n  one:\n    t: >-\n      c: 2\n    u: plain\n      c: 3\n    c: 4\n",
			"t: |\n  a:\n    one:\n      c: 1\na:\n  one:\n    t: >-\n      c: 2\n    u: plain\n      c: 3\n    c: 4\n",
			[]string{"c 4", "end of one", "end of a"}},
		{"what is not a string", "a:\n  one:\n    c: *z\n    c: 'x\n    c: \"x\\y\"\n    c: ''\n    c: x: y\n    c: \xff\n    b:\n    - - p\n    -\n    - k: p\n",
			"a:\n  one:\n    c: *z\n    c: 'x\n    c: \"x\\y\"\n    c: ''\n    c: x: y\n    c: \xff\n    b:\n    - - p\n    -\n    - k: p\n",
			[]string{"end of b", "end of one", "end of a"}},
		{"documents", "---\na:\n  one:\n    c: 1\n---\n  one:\n    c: 2\n", "---\na:\n  one:\n    c: 1\n---\n  one:\n    c: 2\n", []string{"c 1", "end of one", "end of a"}},
		{"keys that begin with a colon", "a:\n  :one:\n    c: 1\n", "a:\n  :one:\n    c: 1\n", []string{"c 1", "end of one", "end of a"}},
		{"beside each other", "z:\n- c: 1\na:\n- c: 2\n- k:\n    c: 3\n  c: 4\n", "z:\n- c: 1\na:\n- c: 2\n- k:\n    c: 3\n  c: 4\n",
			[]string{"c 2", "end of one", "c 4", "end of one", "end of a"}},
		{"ends of lines", "a:\r\n- b:\r\n  - p\r\n  - q", "a:\r\n- b:\r\n  - \"P\"\r\n  - \"Q\"", []string{"b p", "b q", "end of b", "end of one", "end of a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, heard := edit(t, test.text)
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.heard, heard)
		})
	}
}

// TestLong: a line that is too long passes, and counts where it stands.
func TestLong(t *testing.T) {
	long := strings.Repeat("b: ", MaxLine)
	got, heard := edit(t, "a:\n- t: "+long+"\n  b:\n  - "+long+"\n  - p\n")
	assert.Equal(t, []string{"b p", "end of b", "end of one", "end of a"}, heard)
	assert.True(t, "a:\n- t: "+long+"\n  b:\n  - "+long+"\n  - \"P\"\n" == got)
}

func TestCopyFails(t *testing.T) {
	var b bytes.Buffer
	assert.ErrorIs(t, Copy(&b, iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("a: b"))), nil), iotest.ErrTimeout)
}

// FuzzCopy: where nothing is changed the text is the same, and lines stay lines.
func FuzzCopy(f *testing.F) {
	f.Add("a:\n- b:\n  - p\n  c: \"1\"\n")
	f.Add("a:\n  x:\n   - - - b: [ 'p ]\n\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		same := func(s string) string { return s }
		var b strings.Builder
		require.NoError(t, Copy(&b, strings.NewReader(text), Rules{"a/*/b/*": same, "a/*/c": same, "*/": same}))
		require.Equal(t, text, b.String())
		out, _ := edit(t, text)
		require.Equal(t, strings.Count(text, "\n"), strings.Count(out, "\n"))
	})
}
