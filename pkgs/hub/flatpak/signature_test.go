package flatpak

import (
	"bytes"
	"os"
	"strings"
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

func TestMadeAt(t *testing.T) {
	// Version, type, algorithms; length of the hashed subpackets; these: a
	// fingerprint, a long one, and the time.
	body := "\x04\x00\x01\x0a\x00\xcf" + "\x02\x21\x04" + "\xc0\x01\x14" + strings.Repeat("n", 192) + "\x05\x82\x01\x02\x03\x04" + "\x02\x10\x00"
	body = strings.Replace(body, "\x00\xcf", "\x00"+string([]byte{byte(len(body) - 6)}), 1)
	for _, test := range []struct {
		name, packet string
		ok           bool
	}{
		{"old, one byte", "\x88\x99" + body, true},
		{"old, two", "\x89\x00\x99" + body, true},
		{"old, four", "\x8a\x00\x00\x00\x99" + body, true},
		{"old, without a length", "\x8b" + body, false},
		{"new, one byte", "\xc2\x99" + body, true},
		{"new, two", "\xc2\xc0\x99" + body, true},
		{"new, five", "\xc2\xff\x00\x00\x00\x99" + body, true},
		{"another packet", "\x99\x00\x99" + body, false},
		{"version 3", "\x88\x99\x03" + body[1:], false},
		{"no time", "\x88\x99\x04\x00\x01\x0a\x00\x03\x02\x21\x04", false},
		{"empty subpacket", "\x88\x99\x04\x00\x01\x0a\x00\x01\x00", false},
		{"beyond", "\x88\x99\x04\x00\x01\x0a\x00\x02\x09\x02", false},
		{"cut", "\x88\x99\x04\x00\x01\x0a\x01\x00", false},
		{"nothing", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			at, ok := madeAt([]byte(test.packet))
			assert.Equal(t, test.ok, ok)
			if ok {
				assert.Equal(t, int64(0x01020304), at)
			}
		})
	}
}

func FuzzAgrees(f *testing.F) {
	signature, err := os.ReadFile("testdata/summary.sig")
	require.NoError(f, err)
	f.Add(signature)
	f.Add([]byte("\x88\x99\x04\x00\x01\x0a\x00\x01\x00"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		agrees(&hub.Root{Order: 1}, "", b)
		_, _ = madeAt(b)
	})
}
