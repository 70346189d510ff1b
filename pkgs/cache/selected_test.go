package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

// late is a store that takes a second for each entry with content.
type late struct{ store.Store }

func (s *late) Draft(ctx context.Context, size int64) (store.Draft, error) {
	d, err := s.Store.Draft(ctx, size)
	return &lateDraft{d}, err
}

type lateDraft struct{ store.Draft }

func (d *lateDraft) Commit(ctx context.Context, e *exchange.Entry) error {
	if e.Size > 0 {
		time.Sleep(time.Second)
	}
	return d.Draft.Commit(ctx, e)
}

// That a response was selected by fields is known with its head only: who says the same
// while it is being stored shares it, and others do not.
func TestSelectedIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, &late{new(mem.Store)})
		defer b.close()
		time.Sleep(time.Minute)
		get := func(foo string) string {
			req := wired("GET", "/a", "Foo", foo)
			got, _ := b.get(t, req)
			return string(got)
		}
		b.set(always(200, "one", "Cache-Control", "max-age=60", "Vary", "Foo"))
		assert.Equal(t, "one", get("1"))
		b.set(always(200, "two", "Cache-Control", "max-age=60", "Vary", "Foo"))
		assert.Equal(t, "one", get("1"), "it is not stored yet")
		assert.Equal(t, "two", get("2"))
		assert.Equal(t, "two", get("2"))
		assert.Equal(t, 2, b.hits())
		time.Sleep(time.Minute / 2)
		assert.Equal(t, "one", get("1"))
		assert.Equal(t, "two", get("2"))
		assert.Equal(t, 2, b.hits(), "both are stored")
	})
}
