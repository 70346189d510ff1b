package npm

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func merge(texts ...string) (string, error) {
	var parts []hub.Part
	for i, text := range texts {
		e := &exchange.Entry{Key: exchange.Key{Hub: "npm", Path: "/demo"}, Mirror: []string{"https://a.example.org", "https://b.example.org/npm"}[i]}
		parts = append(parts, hub.Part{Entry: e, Body: strings.NewReader(text)})
	}
	var b bytes.Buffer
	err := (&Hub{}).Merge(&b, nil, parts)
	return b.String(), err
}

func TestMerge(t *testing.T) {
	text, err := merge(
		`{"name":"demo","readme":"a","versions":{"1.0.0":{"dist":{"tarball":"https://a.example.org/x.tgz"}}},"dist-tags":{"latest":"1.0.0"},"time":{"created":"1"}}`,
		`{"name":"demo","readme":"b","versions":{"1.0.0":{"evil":true},"2.0.0":{"dist":{"tarball":"/npm/y.tgz"}}},"dist-tags":{"latest":"2.0.0","next":"2.0.0"},"time":{"created":"2","2.0.0":"3"}}`)
	require.NoError(t, err)
	assert.JSONEq(t, `{"name":"demo","readme":"a",
		"versions":{"1.0.0":{"dist":{"tarball":"https://a.example.org/x.tgz"}},"2.0.0":{"dist":{"tarball":"https://b.example.org/npm/y.tgz"}}},
		"dist-tags":{"latest":"1.0.0","next":"2.0.0"},"time":{"created":"1","2.0.0":"3"}}`, text)
	for _, bad := range []string{"", "[]", `{"versions":{`, `{}`} {
		_, err := merge(bad, bad)
		assert.Error(t, err, bad)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(`{"versions":{"1.0.0":{"dist":{"tarball":"x"}}},"time":1}`, `{"versions":{"2.0.0":[]},"dist-tags":[1]}`)
	f.Add(`{"versions":{"a":1,"a":2}}`, `{}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := merge(a, b)
		if err != nil {
			return
		}
		assert.True(t, json.Valid([]byte(text)), text)
		again, err := merge(a, b)
		require.NoError(t, err)
		assert.Equal(t, text, again, "equal parts make equal bytes")
	})
}
