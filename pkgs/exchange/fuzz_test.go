package exchange_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// FuzzParseDigest: a digest that is accepted can be computed, and is spelled in one way.
func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("sha256:E3")
	f.Add("md5:../../etc/passwd")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := exchange.ParseDigest(s)
		if err != nil {
			assert.Empty(t, d)
			return
		}
		assert.Equal(t, s, string(d))
		assert.Len(t, d.Hex(), 2*d.New().Size())
		assert.NotContains(t, d.Hex(), "/")
	})
}
