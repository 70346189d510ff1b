package gomod

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
	text, err := merge("v1.10.0\nv1.2.0\n", "v1.2.0\n<html>\nv2.0.0+incompatible")
	require.NoError(t, err)
	assert.Equal(t, "v1.2.0\nv1.10.0\nv2.0.0+incompatible\n", text)
	_, err = merge("v1.0.0", strings.Repeat("x", 1<<20))
	assert.Error(t, err)
}

func FuzzMerge(f *testing.F) {
	f.Add("v1.0.0\n", "v0.1.0\r\nv1.0.0")
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := merge(a, b)
		if err != nil {
			return
		}
		again, err := merge(text, text)
		require.NoError(t, err)
		assert.Equal(t, text, again)
	})
}
