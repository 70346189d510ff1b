package cache_test

import (
	"crypto/sha256"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

// Who has found an entry that is replaced before he joins a flight, which validates
// what has replaced it, gets that, and not the content that he has found under the
// other's entry.
func TestFreshenedIsAnother(t *testing.T) {
	for name, ask := range map[string]func() *exchange.Request{
		"by policy":       func() *exchange.Request { return request("/r") },
		"by its own word": func() *exchange.Request { return wired("GET", "/r") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &looked{Store: new(mem.Store)}
				b := start(t, s)
				defer b.close()
				time.Sleep(time.Minute)
				b.set(always(200, "older", "Cache-Control", "max-age=60", "Etag", `"1"`))
				b.get(t, ask())
				time.Sleep(2 * time.Hour)
				s.looks.Store(0)
				s.behind = func(look int32) {
					if look != 1 {
						return
					}
					b.set(always(200, "newer", "Cache-Control", "max-age=60", "Etag", `"2"`))
					b.get(t, ask())
					synctest.Wait()
					time.Sleep(2 * time.Hour)
					b.set(slowly(always(304, "", "Cache-Control", "max-age=60", "Etag", `"2"`))) // until he has joined
					go func() {
						resp, err := b.src.Get(t.Context(), ask())
						if assert.NoError(t, err) {
							resp.Body.Close()
						}
					}()
					synctest.Wait()
				}
				resp, err := b.src.Get(t.Context(), ask())
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				sum := sha256.Sum256(body)
				assert.Equal(t, exchange.NewDigest("sha256", sum[:]), resp.Entry.Digest, "an entry with another's content")
				assert.Equal(t, "newer", string(body))
			})
		})
	}
}
