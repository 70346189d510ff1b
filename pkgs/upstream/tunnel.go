package upstream

import (
	"context"
	"net"
	"time"
)

// Dial connects to a "host:port" that is public, or allowed. As for redirects, the
// address is judged after name resolution. Other errors of it are [net.OpError]s.
func (a Allowed) Dial(ctx context.Context, address string, timeout time.Duration) (net.Conn, error) {
	o := Options{Allowed: a}
	o.Limits.Dial = timeout
	return newGuard(&o).dial(ctx, "tcp", address)
}
