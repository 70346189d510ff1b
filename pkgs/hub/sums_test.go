package hub_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestReadSums(t *testing.T) {
	a, b := strings.Repeat("0a", 32), strings.Repeat("Bc", 64)
	tests := []struct {
		name, path, text string
		want             map[string]string
	}{
		{"sha256sum", "/i/SHA256SUMS", a + "  x.iso\n" + a + " *sub/y z.iso\n", map[string]string{"/i/x.iso": "sha256:" + a, "/i/sub/y%20z.iso": "sha256:" + a}},
		{"BSD", "/i/CHECKSUM", "# a comment\nSHA512 (x.iso) = " + b + "\n", map[string]string{"/i/x.iso": "sha512:" + strings.ToLower(b)}},
		{"alone", "/i/x.tar.gz.sha256", a + "\n", map[string]string{"/i/x.tar.gz": "sha256:" + a}},
		{"named", "/i/x.tar.gz.sha256", a + "  ./x.tar.gz\r\n", map[string]string{"/i/x.tar.gz": "sha256:" + a}},
		{"at the top", "/SHA256SUMS", a + "  x\n", map[string]string{"/x": "sha256:" + a}},
		{"out of the directory", "/i/SHA256SUMS", a + "  ../x\n" + a + "  /x\n" + a + "  a/../../x\n", map[string]string{}},
		{"signed", "/i/CHECKSUM", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + a + "  x\n-----BEGIN PGP SIGNATURE-----\n", map[string]string{"/i/x": "sha256:" + a}},
		{"no sums", "/i/SHA256SUMS", "<html>404</html>\nzz  x\n", map[string]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := map[string]string{}
			require.NoError(t, hub.ReadSums(tt.path, strings.NewReader(tt.text), func(p string, f exchange.Fact) { got[p] = string(f.Digest) }))
			assert.Equal(t, tt.want, got)
		})
	}
}

func FuzzReadSums(f *testing.F) {
	f.Add(strings.Repeat("0a", 32) + "  x.iso\nSHA256 (y) = " + strings.Repeat("0a", 32))
	f.Fuzz(func(t *testing.T, text string) {
		_ = hub.ReadSums("/i/SHA256SUMS", strings.NewReader(text), func(p string, fact exchange.Fact) {
			assert.True(t, strings.HasPrefix(p, "/i/"), p)
			_, err := exchange.ParseDigest(string(fact.Digest))
			assert.NoError(t, err)
			u, err := url.Parse(p)
			if assert.NoError(t, err) {
				canonical, _, err := hub.Path(u)
				assert.NoError(t, err)
				assert.Equal(t, p, canonical)
			}
		})
	})
}
