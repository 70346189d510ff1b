package hub

import (
	"context"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Pinned answers req with the content that f names, from whichever mirror has that, or
// with an error. Where none has it the list that f is from may be out of date: if
// renewed, which asks for it anew, says something else, with that.
func Pinned(ctx context.Context, next exchange.Source, req *exchange.Request, f exchange.Fact,
	renewed func() (exchange.Fact, bool)) (*exchange.Response, error) {
	resp, err := next.Get(ctx, pinnedTo(req, f))
	if err == nil && resp.Entry.Status < http.StatusBadRequest || ctx.Err() != nil {
		return resp, err
	}
	newer, ok := renewed()
	if !ok || newer == f {
		return resp, err
	}
	if err == nil {
		resp.Body.Close()
	}
	return next.Get(ctx, pinnedTo(req, newer))
}

// pinnedTo is the request for the content that f names, which has a key of its own.
func pinnedTo(req *exchange.Request, f exchange.Fact) *exchange.Request {
	req = req.Clone()
	req.Digest, req.Size = f.Digest, f.Size
	req.Key.Variant = string(f.Digest)
	req.Policy.Class, req.Policy.Negative = freshness.Immutable, 0
	return req
}
