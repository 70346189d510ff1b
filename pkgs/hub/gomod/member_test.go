package gomod

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func TestMerge(t *testing.T) {
	text, err := hubtest.Merge(&Hub{}, "v1.10.0\nv1.2.0\n", "v1.2.0\n<html>\nv2.0.0+incompatible")
	require.NoError(t, err)
	assert.Equal(t, "v1.2.0\nv1.10.0\nv2.0.0+incompatible\n", text)
	_, err = hubtest.Merge(&Hub{}, "v1.0.0", strings.Repeat("x", 1<<20))
	assert.Error(t, err)
}

func FuzzMerge(f *testing.F) {
	f.Add("v1.0.0\n", "v0.1.0\r\nv1.0.0")
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := hubtest.Merge(&Hub{}, a, b)
		if err != nil {
			return
		}
		again, err := hubtest.Merge(&Hub{}, text, text)
		require.NoError(t, err)
		assert.Equal(t, text, again)
	})
}
