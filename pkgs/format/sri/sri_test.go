package sri_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/sri"
)

func text(size int, b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, size))
}

func TestStrongest(t *testing.T) {
	for _, test := range []struct {
		name, list, algorithm string
		b                     byte
		size                  int
	}{
		{"one", "sha512-" + text(64, 1), "sha512", 1, 64},
		{"options", "sha384-" + text(48, 1) + "?a?b", "sha384", 1, 48},
		{"the strongest", "sha1-" + text(20, 1) + " sha512-" + text(64, 2) + "\tsha256-" + text(32, 3), "sha512", 2, 64},
		{"the first of equals", "md5-" + text(16, 1) + " md5-" + text(16, 2), "md5", 1, 16},
		{"a short sum", "sha512-" + text(20, 1) + " sha256-" + text(32, 2), "sha256", 2, 32},
		{"no base64", "sha512-!!!! sha1-" + text(20, 2), "sha1", 2, 20},
		{"another algorithm", "sha3-" + text(64, 1), "", 0, 0},
		{"long", "sha512-" + text(1000, 1), "", 0, 0},
		{"nothing", "", "", 0, 0},
		{"blanks", "  \n", "", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			algorithm, sum := sri.Strongest([]byte("x"), []byte(test.list))
			assert.Equal(t, test.algorithm, algorithm)
			if test.size > 0 {
				assert.Equal(t, append([]byte("x"), bytes.Repeat([]byte{test.b}, test.size)...), sum)
			} else {
				assert.Empty(t, sum)
			}
		})
	}
}

func FuzzStrongest(f *testing.F) {
	f.Add("sha512-" + text(64, 1) + "?opt sha1-" + text(20, 2))
	f.Fuzz(func(t *testing.T, list string) {
		algorithm, sum := sri.Strongest(nil, []byte(list))
		size := map[string]int{"sha512": 64, "sha384": 48, "sha256": 32, "sha1": 20, "md5": 16}[algorithm]
		assert.Len(t, sum, size)
		if algorithm != "" {
			assert.Contains(t, list, algorithm+"-")
		}
	})
}
