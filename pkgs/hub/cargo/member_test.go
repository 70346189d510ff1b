package cargo

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func TestMerge(t *testing.T) {
	text, err := hubtest.Merge(&Hub{}, `{"vers":"1.0.0","a":1}`, "\n"+`{"vers":"1.0.0+build"}`+"\n"+`{"vers":"1.1.0"}`+"\r\n")
	require.NoError(t, err)
	assert.Equal(t, `{"vers":"1.0.0","a":1}`+"\n"+`{"vers":"1.1.0"}`+"\n", text)
	for _, bad := range []string{"<html>", "{}", `{"vers":1}`} {
		_, err := hubtest.Merge(&Hub{}, `{"vers":"1.0.0"}`, bad)
		assert.Error(t, err, bad)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(`{"vers":"1.0.0"}`, `{"vers":"1.0.0+x"}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := hubtest.Merge(&Hub{}, a, b)
		if err != nil {
			return
		}
		again, err := hubtest.Merge(&Hub{}, text)
		require.NoError(t, err)
		assert.Equal(t, text, again)
	})
}
