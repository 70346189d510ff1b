package upstream

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// burst is how long a bucket that nobody has drawn from lets bytes through unhindered.
const burst = 100 * time.Millisecond

// A Bucket limits the bytes a second of bodies from upstream: one for all
// groups, one for each mirror, or both. It is safe for concurrent use.
type Bucket struct{ limiter *rate.Limiter }

// NewBucket makes a bucket; zero bytes is no limit.
func NewBucket(bytes int64) *Bucket {
	b := &Bucket{rate.NewLimiter(rate.Inf, 0)}
	b.Set(bytes)
	return b
}

// Set changes the limit, from one hour of the day to another say. Bodies on
// their way follow it; zero is none.
func (b *Bucket) Set(bytes int64) {
	if bytes <= 0 {
		b.limiter.SetLimit(rate.Inf)
		return
	}
	size := int64(float64(bytes) * burst.Seconds())
	b.limiter.SetBurst(int(min(max(size, 16<<10), 16<<20)))
	b.limiter.SetLimit(rate.Limit(bytes))
}

// wait pays for n bytes that have come. It returns early only when ctx ends.
func (b *Bucket) wait(ctx context.Context, n int) {
	for n > 0 && b.limiter.Limit() != rate.Inf {
		part := min(n, max(b.limiter.Burst(), 1)) // may shrink meanwhile; then it is tried again
		if b.limiter.WaitN(ctx, part) == nil {
			n -= part
		} else if ctx.Err() != nil {
			return
		}
	}
}

// pay waits for the bytes that the last Read brought: behind it, so that they
// are not held up, and apart from the time that counts as the mirror's.
func (l *leg) pay(n int) {
	if n == 0 || l.options.Bucket == nil && l.mirror.Bucket == nil {
		return
	}
	start := time.Now()
	l.waiting.Store(true)
	for _, b := range [...]*Bucket{l.options.Bucket, l.mirror.Bucket} {
		if b != nil {
			b.wait(l.ctx, n)
		}
	}
	l.waiting.Store(false)
	l.waited.Add(int64(time.Since(start)))
}
