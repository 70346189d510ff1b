package cache_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

// looked is a store that counts who looks, and does something behind a look.
type looked struct {
	store.Store
	looks  atomic.Int32
	behind func(look int32)
}

func (s *looked) Open(ctx context.Context, key exchange.Key) (*exchange.Entry, io.ReadSeekCloser, error) {
	look := s.looks.Add(1)
	e, body, err := s.Store.Open(ctx, key)
	if s.behind != nil {
		s.behind(look)
	}
	return e, body, err
}

// A miss looks at the store once, and a second time only if a flight may have landed
// since: then it does not fetch again.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &looked{Store: new(mem.Store)}
		b := start(t, s)
		defer b.close()
		content := random(1000)
		var fetched atomic.Int32
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			fetched.Add(1)
			return whole(content)(ctx, r)
		})
		got, _ := b.get(t, request("/once"))
		assert.Equal(t, content, got)
		assert.EqualValues(t, 1, s.looks.Load())
		assert.EqualValues(t, 1, fetched.Load())

		s.looks.Store(0)
		s.behind = func(look int32) {
			if look == 1 { // between the look and the flight that it leads to
				b.get(t, request("/twice"))
				synctest.Wait()
			}
		}
		got, resp := b.get(t, request("/twice"))
		assert.Equal(t, content, got)
		assert.True(t, resp.Outcome.Hit)
		assert.EqualValues(t, 2, fetched.Load(), "by one of the two")
	})
}
