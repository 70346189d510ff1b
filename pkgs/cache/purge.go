package cache

import (
	"context"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Purge forgets what is stored under a key, and what is remembered of it: that no
// mirror has it, that it could not be validated, that a mirror's content was
// wrong. Of nothing it is no error. A transfer under way goes on, and is stored.
func (c *Cache) Purge(ctx context.Context, key exchange.Key) error {
	c.negative.delete(key)
	c.backoff.delete(key)
	c.wrong.delete(key)
	return c.store.Delete(ctx, key)
}
