package rpm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const treeinfo = `[header]
type = productmd.treeinfo
[checksums]
images/boot.iso = sha256:2C26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
images/pxeboot/vm linuz = sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
images/odd.img = sha256:zz
../above.img = sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
repodata/repomd.xml = sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae

[general]
images/other.img = sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
`

func TestReadTree(t *testing.T) {
	got := map[string]exchange.Fact{}
	require.NoError(t, readTree("/9/os/.treeinfo", strings.NewReader(treeinfo), func(p string, f exchange.Fact) { got[p] = f }))
	fact := exchange.Fact{Digest: "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}
	assert.Equal(t, map[string]exchange.Fact{"/9/os/images/boot.iso": fact, "/9/os/images/pxeboot/vm%20linuz": fact}, got)
}

func FuzzReadTree(f *testing.F) {
	f.Add(treeinfo)
	f.Fuzz(func(t *testing.T, text string) {
		_ = readTree("/9/os/.treeinfo", strings.NewReader(text), func(p string, f exchange.Fact) {
			assert.True(t, strings.HasPrefix(p, "/9/os/"), p)
			assert.NotEmpty(t, f.Digest)
		})
	})
}

func TestTreeOf(t *testing.T) {
	for p, want := range map[string]string{
		"/9/os/images/pxeboot/vmlinuz": "/9/os/", "/9/os/EFI/BOOT/grub.cfg": "/9/os/", "/9/os/isolinux/initrd.img": "/9/os/",
		"/images/boot.iso": "/", "/9/os/Packages/images-1-1.noarch.rpm": "",
	} {
		assert.Equal(t, want, treeOf(p), p)
	}
}
