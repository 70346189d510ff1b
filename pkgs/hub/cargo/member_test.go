package cargo

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func merge(texts ...string) (string, error) {
	var parts []hub.Part
	for _, text := range texts {
		parts = append(parts, hub.Part{Entry: &exchange.Entry{Mirror: "https://a.example.org"}, Body: strings.NewReader(text)})
	}
	var b bytes.Buffer
	err := (&Hub{}).Merge(&b, nil, parts)
	return b.String(), err
}

func TestMerge(t *testing.T) {
	text, err := merge(`{"vers":"1.0.0","a":1}`, "\n"+`{"vers":"1.0.0+build"}`+"\n"+`{"vers":"1.1.0"}`+"\r\n")
	require.NoError(t, err)
	assert.Equal(t, `{"vers":"1.0.0","a":1}`+"\n"+`{"vers":"1.1.0"}`+"\n", text)
	for _, bad := range []string{"<html>", "{}", `{"vers":1}`} {
		_, err := merge(`{"vers":"1.0.0"}`, bad)
		assert.Error(t, err, bad)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(`{"vers":"1.0.0"}`, `{"vers":"1.0.0+x"}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := merge(a, b)
		if err != nil {
			return
		}
		again, err := merge(text)
		require.NoError(t, err)
		assert.Equal(t, text, again)
	})
}
