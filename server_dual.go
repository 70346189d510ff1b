package cacheproxy

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// dual is a hub that falls back to plain files where its module fails by a fault
// of its own, in one of two ways. Parse: an error that is neither a refusal (an
// [*exchange.Error]) nor [fs.ErrNotExist]; then the files hub says what the
// request means. Rewrite: a status of 500 or more though the content was had;
// then the client gets that content as it is. A module that fails in the middle
// of a body fails: what was sent cannot be taken back.
type dual struct {
	module, files hub.Hub
	log           *slog.Logger
}

func (d *dual) Parse(r *http.Request) (*exchange.Request, error) {
	req, err := d.module.Parse(r)
	var refusal *exchange.Error
	if err == nil || errors.As(err, &refusal) || errors.Is(err, fs.ErrNotExist) {
		return req, err
	}
	d.log.Warn("the module cannot parse a request; it is answered as plain files", "path", r.URL.EscapedPath(), "err", err)
	return d.files.Parse(r)
}

// had is whether content came to the module, in the context of its request.
type had struct{ ok atomic.Bool }

type hadKey struct{}

func (d *dual) Rewrite(next exchange.Source) exchange.Source {
	module := d.module.Rewrite(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if h, _ := ctx.Value(hadKey{}).(*had); h != nil {
			h.ok.Store(err == nil)
		}
		return resp, err
	}))
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		var h had
		resp, err := module.Get(context.WithValue(ctx, hadKey{}, &h), req)
		if err == nil || !h.ok.Load() || !ownFault(err) || ctx.Err() != nil {
			return resp, err
		}
		d.log.Warn("the module cannot rewrite an answer; it is sent as it came", "hub", req.Key.Hub, "key", req.Key.Path, "err", err)
		return next.Get(ctx, req)
	})
}

// ownFault says whether an error is none of the client's or of what it asked for.
func ownFault(err error) bool {
	var stated *exchange.Error
	if errors.As(err, &stated) {
		return stated.Status >= 500
	}
	return !errors.Is(err, fs.ErrNotExist)
}
