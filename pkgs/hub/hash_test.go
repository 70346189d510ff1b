package hub_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// bodyOf is a hash of what lies behind the first byte, which must be 'x'.
func bodyOf() hash.Hash {
	return hub.NewHash(sha256.Size, func(content io.Reader) ([]byte, error) {
		var first [1]byte
		if _, err := io.ReadFull(content, first[:]); err != nil || first[0] != 'x' {
			return nil, errors.New("no x")
		}
		sum := sha256.New()
		_, err := io.Copy(sum, content)
		return sum.Sum(nil), err
	})
}

func TestNewHash(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 1<<16)
	want, zeros := sha256.Sum256(body), make([]byte, sha256.Size)
	h := bodyOf()
	assert.Equal(t, sha256.Size, h.Size())
	for name, test := range map[string]struct{ content, want []byte }{
		"right":   {append([]byte("x"), body...), want[:]},
		"wrong":   {append([]byte("y"), body...), zeros},
		"nothing": {nil, zeros},
	} {
		for _, piece := range []int{1000, len(test.content) + 1} {
			h.Reset()
			for rest := test.content; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				n, err := h.Write(rest[:min(piece, len(rest))])
				assert.NoError(t, err)
				assert.Equal(t, min(piece, len(rest)), n, name)
			}
			assert.Equal(t, test.want, h.Sum(nil), name)
			_, err := h.Write([]byte("more"))
			assert.NoError(t, err)
			assert.Equal(t, append([]byte("sum "), test.want...), h.Sum([]byte("sum ")), "%s: the content has ended", name)
		}
	}
}

// TestNewHashEnds: no goroutine stays, whether its hash came to an end or not.
func TestNewHashEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 50 {
		h := bodyOf()
		h.Write([]byte("xbegun"))
		h.Reset()
		h.Write([]byte("xended"))
		h.Sum(nil)
		bodyOf().Write([]byte("xgarbage"))
	}
	assert.Eventually(t, func() bool { runtime.GC(); return runtime.NumGoroutine() <= before+2 }, 20*time.Second, 10*time.Millisecond)
}
