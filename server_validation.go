package cacheproxy

import (
	"context"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Validation is by which validator upstream is asked whether an entry has changed.
type Validation string

// The validations.
const (
	ValidationAll          Validation = "all" // by what the entry has, ETag and Last-Modified alike
	ValidationETag         Validation = "etag"
	ValidationLastModified Validation = "last-modified"
	ValidationNever        Validation = "never" // the content is had again
)

func (v *Validation) set(s string) error {
	return setOneOf(v, s, ValidationAll, ValidationETag, ValidationLastModified, ValidationNever)
}

// validating is next, asked for changes by v alone. It stands below whatever
// judges answers, which goes on to know the whole entry.
func validating(v Validation, next exchange.Source) exchange.Source {
	var without string
	switch v {
	case ValidationETag:
		without = "Last-Modified"
	case ValidationLastModified:
		without = "Etag"
	case ValidationNever:
	default:
		return next
	}
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if old := req.Validate; old != nil {
			req = req.Clone()
			if req.Validate = nil; without != "" {
				e := *old
				e.Header = old.Header.Clone()
				e.Header.Del(without)
				req.Validate = &e
			}
		}
		return next.Get(ctx, req)
	})
}
