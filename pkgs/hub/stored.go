package hub

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Stored is the answer to req that the cache has, however old: for a hub that
// judges one thing by another. It asks nobody; an error matching fs.ErrNotExist
// says that there is none. Content that is on its way is waited for, so it must
// not be called for the key that a Gate is asked for.
func (o *Options) Stored(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	none := fmt.Errorf("%v is not stored: %w", req.Key, fs.ErrNotExist)
	if o.Cache == nil {
		return nil, none
	}
	cache := o.Cache(exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return nil, none
	}))
	// Of a miss only the question for the head leaves no trace: any other one
	// starts a transfer, whose failure all who ask meanwhile would share.
	kept := req.Clone()
	kept.Head, kept.Policy.Class = true, freshness.Immutable
	resp, err := cache.Get(ctx, kept)
	if err != nil {
		return nil, err
	}
	if resp.Entry.Status != http.StatusOK {
		resp.Body.Close()
		return nil, none
	}
	if req.Head {
		return resp, nil
	}
	resp.Body.Close()
	kept.Head = false
	return cache.Get(ctx, kept)
}
