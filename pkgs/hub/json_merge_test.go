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

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var mergedMembers = []hub.JSONMember{{Name: "versions", By: "v", Needed: true}, {Name: "tags"}}

func mergeJSON(texts ...string) (string, error) {
	var parts []hub.Part
	for _, text := range texts {
		parts = append(parts, hub.Part{Entry: &exchange.Entry{Mirror: "https://m.example"}, Body: strings.NewReader(text)})
	}
	var b bytes.Buffer
	err := hub.MergeJSON(&b, parts, mergedMembers...)
	return b.String(), err
}

func TestMergeJSON(t *testing.T) {
	for _, test := range []struct{ name, a, b, want string }{
		{"of both", `{"z":1e400,"versions":[{"v":"1","from":"a"},{"v":"2"}],"tags":{"x":"1"}}`, `{"y":0,"versions":[{"v":"3"},{"v":"1","from":"b"}],"tags":{"x":"2","\u0079":"3"}}`,
			`{"tags":{"x":"1","y":"3"},"versions":[{"v":"1","from":"a"},{"v":"2"},{"v":"3"}],"z":1e400}`},
		{"nothing in the first", `{"versions":[],"tags":{}}`, `{"versions":[{"v":"1"}]}`, `{"tags":{},"versions":[{"v":"1"}]}`},
		{"no such member in the first", `{"a":1}`, `{"versions":[{"v":"1"}],"tags":{"x":1}}`, `{"a":1,"tags":{"x":1},"versions":[{"v":"1"}]}`},
		{"a member twice", `{"versions":[{"v":"1"}],"versions":[{"v":"2"}]}`, `{}`, `{"versions":[{"v":"1"},{"v":"2"}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := mergeJSON(test.a, test.b)
			require.NoError(t, err)
			assert.Equal(t, test.want+"\n", got)
		})
	}
	good := `{"versions":[{"v":"1"}]}`
	for _, bad := range []string{"", "[]", "<html>", `{"versions":[{"v":"1"}`, `{"versions":[{}]}`, `{"versions":[1]}`, `{"versions":[{"v":1}]}`, `{"versions":"1"}`, good + good} {
		for _, texts := range [][2]string{{bad, good}, {good, bad}} {
			_, err := mergeJSON(texts[0], texts[1])
			assert.Error(t, err, texts)
		}
	}
	_, err := mergeJSON(`{}`, `{"versions":[]}`)
	assert.Error(t, err, "no element that is needed")
}

func FuzzMergeJSON(f *testing.F) {
	f.Add(`{"versions":[{"v":"1"}],"tags":{"a":1}}`, `{"versions":[{"v":"2"}],"tags":1}`)
	f.Add(`{"versions":{"a":{"v":"1"}}}`, `{"tags":[1,2]}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		got, err := mergeJSON(a, b)
		if err != nil {
			return
		}
		assert.True(t, json.Valid([]byte(got)), got)
		again, err := mergeJSON(a, b)
		require.NoError(t, err)
		assert.Equal(t, got, again, "equal parts make equal bytes")
	})
}

func TestJSONRules(t *testing.T) {
	var s string
	var ends []string
	enough := errors.New("enough")
	rules := hub.JSONRules{
		"a/*/s": hub.JSONInto(&s),
		"a/*/x": hub.JSONSet([]byte("true")),
		"a/*/": hub.JSONEnd(func() error {
			ends = append(ends, s)
			if s == "end" {
				return enough
			}
			return nil
		}),
	}
	var b strings.Builder
	require.NoError(t, hub.CopyJSON(&b, strings.NewReader(`{"a":[{"s":"\u0078","x":[1]},{"s":1,"x": 1}]}`), rules))
	assert.Equal(t, `{"a":[{"s":"\u0078","x":[1]},{"s":1,"x": true}]}`, b.String(), "a rule is for scalars")
	assert.Equal(t, []string{"x", ""}, ends)
	assert.ErrorIs(t, hub.CopyJSON(io.Discard, strings.NewReader(`{"a":[{"s":"end"}]}`), rules), enough)

	closed := 0
	rules = hub.JSONRules{"/": hub.JSONEnd(func() error { closed++; return nil }), "a": hub.JSONInto(&s)}
	require.NoError(t, hub.CopyJSON(io.Discard, strings.NewReader(`{"a":"x","b":{"c":[]}}`), rules))
	assert.Equal(t, 1, closed, "the end of the text, and of nothing in it")
	assert.Equal(t, "x", s)

	kept := make([]byte, 0, 8)
	into := hub.JSONBytesInto(&kept)
	for value, want := range map[string]string{`"\u0078y"`: "xy", `"z"`: "z", `17`: ""} {
		same, err := into([]byte(value))
		require.NoError(t, err)
		assert.Equal(t, value, string(same))
		assert.Equal(t, want, string(kept))
	}
}
