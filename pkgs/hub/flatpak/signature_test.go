package flatpak

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// TestAgrees: with a summary that ostree 2022.7 has signed by GnuPG.
func TestAgrees(t *testing.T) {
	summary, err := os.ReadFile("testdata/summary")
	require.NoError(t, err)
	signature, err := os.ReadFile("testdata/summary.sig")
	require.NoError(t, err)
	root, err := readRoot(summaryPath, bytes.NewReader(summary))
	require.NoError(t, err)
	assert.True(t, agrees(root, "", signature))
	assert.True(t, agrees(&hub.Root{}, "", signature), "a root without a date")
	assert.False(t, agrees(&hub.Root{Order: root.Order + 3600}, "", signature), "a newer summary")
	assert.False(t, agrees(root, "", signature[:100]), "cut")
	assert.False(t, agrees(root, "", []byte("<html>log in</html>")))
	assert.True(t, agrees(root, "", nil), "no signatures")
}

func FuzzAgrees(f *testing.F) {
	signature, err := os.ReadFile("testdata/summary.sig")
	require.NoError(f, err)
	f.Add(signature)
	f.Add([]byte("\x88\x99\x04\x00\x01\x0a\x00\x01\x00"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		agrees(&hub.Root{Order: 1}, "", b)
	})
}
