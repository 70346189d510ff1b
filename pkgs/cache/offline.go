package cache

import (
	"context"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// While a hub is offline, nothing is asked of its upstreams: what is stored
// answers, however old it is, and the rest is a 504. Transfers that were under
// way go on.

// errOffline is the answer for what is not here.
var errOffline = &exchange.Error{Status: http.StatusGatewayTimeout, Message: "offline: this is not in the cache", Reason: "offline"}

// unreachable is the source of a hub that is offline.
var unreachable = exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
	return nil, errOffline
})

// here answers from what is stored. A transparent response may forbid that it
// answers stale (RFC 9111 §4.2.4): then it does not.
func (c *Cache) here(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	switch {
	case req.Policy.Class == freshness.Passthrough:
		return nil, errOffline
	case req.Policy.Class == freshness.Transparent && req.Wire != nil:
		if m := req.Wire.Method; m != http.MethodGet && m != http.MethodHead {
			return nil, errOffline
		}
		gone := *req
		gone.Policy.StaleIfError = freshness.Forever
		return c.transparent(ctx, unreachable, &gone)
	}
	entry, body, err := c.store.Open(ctx, req.Key)
	if err != nil {
		return nil, errOffline
	}
	if !entry.Matches(c.fact(ctx, req)) { // an index has said otherwise since
		body.Close()
		return nil, errOffline
	}
	verdict, left := req.Policy.Judge(entry.Received, c.now())
	if verdict == freshness.Fresh {
		return hit(req, entry, body, left), nil
	}
	return stored{entry, body, verdict, left}.stale(req, exchange.Outcome{Hit: true, Detail: "offline"}), nil
}
