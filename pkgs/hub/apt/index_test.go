package apt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/deb822"
)

var (
	hex256 = strings.Repeat("0a", 32)
	hex512 = strings.Repeat("0b", 64)
)

func fact(size int64, digest string) exchange.Fact {
	return exchange.Fact{Size: size, Digest: exchange.Digest(digest)}
}

func TestReadIndex(t *testing.T) {
	long := "Depends: " + strings.Repeat("x, ", 60_000) + "\n"
	for _, c := range []struct {
		name, text string
		want       map[string]exchange.Fact
		bad        bool
	}{
		{name: "empty", want: map[string]exchange.Fact{}},
		{name: "packages", text: "Package: a\nFilename: pool/a_1_all.deb\nSize: 12\nMD5sum: 00\nSHA256: " + hex256 + "\n\n" +
			"Package: b\r\n" + long + "Description: b\n Filename: no\nFilename: ./b_1_all.deb\nSize: 7",
			want: map[string]exchange.Fact{"pool/a_1_all.deb": fact(12, "sha256:"+hex256), "./b_1_all.deb": fact(7, "")}},
		{name: "strongest that counts", text: "SHA512: " + hex512 + "\nFilename: a\nSHA256: " + hex256 + "\n\nFilename: b\nSHA512: " + hex512 + "\n",
			want: map[string]exchange.Fact{"a": fact(0, "sha256:"+hex256), "b": fact(0, "sha512:"+hex512)}},
		{name: "sources", text: "Package: s\nFiles:\n 00 1 s.dsc\nChecksums-Sha256:\n " + hex256 + " 5 s_1.dsc\n bad 6 s_2.dsc\nDirectory: pool/s\n",
			want: map[string]exchange.Fact{"pool/s/s_1.dsc": fact(5, "sha256:"+hex256)}},
		{name: "html", text: "<html>\n<body>\n", bad: true},
		{name: "text", text: "no such file\n", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]exchange.Fact{}
			err := readIndex(strings.NewReader(c.text), func(file string, f exchange.Fact) { got[file] = f })
			if c.bad {
				require.ErrorIs(t, err, deb822.ErrSyntax)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestReadDiffIndex(t *testing.T) {
	got := map[string]exchange.Fact{}
	require.NoError(t, readDiffIndex(strings.NewReader("SHA256-Current: "+hex256+" 3\nSHA256-Patches:\n "+hex256+" 1 T-1\nSHA256-Download:\n "+
		hex256+" 2 T-1-F-0.gz\nX-Patch-Precedence: merged\n"), func(file string, f exchange.Fact) { got[file] = f }))
	assert.Equal(t, map[string]exchange.Fact{"T-1-F-0.gz": fact(2, "sha256:"+hex256)}, got)
}

const releaseText = `Origin: Demo
Suite: stable
Date: Sat, 21 Nov 2026 08:07:06 UTC
Valid-Until: Sat, 28 Nov 2026 08:07:06 +0000
Acquire-By-Hash: yes
MD5Sum:
 00000000000000000000000000000000 9 main/binary-amd64/Packages
SHA256:
 %s   11 main/binary-amd64/Packages
 %s 12 main/binary-amd64/Packages.xz
 %s 13 /etc/passwd
Description: the end
`

func TestReadRelease(t *testing.T) {
	text := fmt.Sprintf(releaseText, hex256, hex256, hex256)
	clear := "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + strings.Replace(text, "Origin", "- Origin", 1) +
		"-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
	for name, text := range map[string]string{"Release": text, "InRelease": clear} {
		t.Run(name, func(t *testing.T) {
			rel, err := readRelease(strings.NewReader(text))
			require.NoError(t, err)
			assert.Equal(t, time.Date(2026, 11, 21, 8, 7, 6, 0, time.UTC), rel.date)
			assert.Equal(t, time.Date(2026, 11, 28, 8, 7, 6, 0, time.UTC), rel.validUntil)
			assert.True(t, rel.byHash)
			assert.Equal(t, map[string]exchange.Fact{
				"main/binary-amd64/Packages":    fact(11, "sha256:"+hex256),
				"main/binary-amd64/Packages.xz": fact(12, "sha256:"+hex256),
			}, rel.members)
		})
	}
	for name, text := range map[string]string{"nothing": "", "html": "<html>", "no text": "-----BEGIN PGP SIGNATURE-----\n"} {
		t.Run(name, func(t *testing.T) {
			_, err := readRelease(strings.NewReader(text))
			assert.Error(t, err)
		})
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		root, file string
		want       []string
	}{
		{"/debian/", "pool/libx++_1.0~rc1_all.deb", []string{"/debian/pool/libx++_1.0~rc1_all.deb"}},
		{"/r/sub/", "./x_1%3a2_all.deb", []string{"/r/sub/x_1%253a2_all.deb"}},
		{"/r/sub/", "sub/x.deb", []string{"/r/sub/sub/x.deb", "/r/sub/x.deb"}},
		{"/r/", "../../etc/passwd", nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			var got []string
			place(c.root, c.file, func(p string) { got = append(got, p) })
			assert.Equal(t, c.want, got)
		})
	}
}

func FuzzReadIndex(f *testing.F) {
	f.Add([]byte("Package: a\nFilename: pool/a_1_all.deb\nSize: 12\nSHA256: " + hex256 + "\n\n"))
	f.Add([]byte("Checksums-Sha256:\n " + hex256 + " 5 s_1.dsc\nDirectory: pool/s\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		teach := func(file string, f exchange.Fact) {
			place("/a/b/", file, func(p string) { assert.True(t, strings.HasPrefix(p, "/")) })
		}
		_ = readIndex(bytes.NewReader(text), teach)
		_ = readDiffIndex(bytes.NewReader(text), teach)
	})
}

func FuzzReadRelease(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(releaseText, hex256, hex256, hex256)))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nDate: x\n-----BEGIN PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rel, err := readRelease(bytes.NewReader(text))
		if err == nil {
			for name, fact := range rel.members {
				assert.NotEmpty(t, name)
				_, err := exchange.ParseDigest(string(fact.Digest))
				assert.NoError(t, err)
			}
		}
	})
}

// packages is a Packages file of some 50 MB: the real one's proportions.
func packages() []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < 50<<20; i++ {
		fmt.Fprintf(&b, "Package: package-%d\nVersion: 1.0-%d\nInstalled-Size: 1234\nMaintainer: Somebody <somebody@example.org>\nArchitecture: amd64\n"+
			"Depends: libc6 (>= 2.34), libgcc-s1 (>= 3.0), libstdc++6 (>= 11), package-%d-data (= 1.0-%d)\nDescription: a package of some use\n"+
			"Homepage: https://example.org/%d\nDescription-md5: 0123456789abcdef0123456789abcdef\nTag: implemented-in::c++, role::program\nSection: misc\nPriority: optional\n"+
			"Filename: pool/main/p/package-%d/package-%d_1.0-%d_amd64.deb\nSize: %d\nMD5sum: 0123456789abcdef0123456789abcdef\nSHA256: %064x\n\n",
			i, i, i, i, i, i, i, i, i, i)
	}
	return b.Bytes()
}

func BenchmarkReadIndex(b *testing.B) {
	text := packages()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		err := readIndex(bytes.NewReader(text), func(file string, f exchange.Fact) {
			place("/debian/", file, func(string) {})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
