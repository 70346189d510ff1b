package cache

import (
	"context"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Purge forgets what is stored under a key, and what is remembered of it: that no
// mirror has it, that it could not be validated, that a mirror's content was
// wrong. Of nothing it is no error. A transfer under way goes on, and is stored.
//
// A key without Variant is also all that a transparent cache has selected under it
// (RFC 9111 §4.1), and the part of its content: none of that is found any more.
func (c *Cache) Purge(ctx context.Context, key exchange.Key) error {
	if key.Variant == "" {
		c.variants.forget(ctx, key)
		part := key
		part.Variant = partVariant
		if err := c.store.Delete(ctx, part); err != nil {
			return err
		}
	}
	c.negative.delete(key)
	c.backoff.delete(key)
	c.wrong.delete(key)
	return c.store.Delete(ctx, key)
}
