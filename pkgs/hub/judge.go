package hub

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// maxTries is how many mirrors are asked for content that is judged.
const maxTries = 4

// Judged is, for a Gate, the answer of the first mirror whose content judge takes;
// other answers than 200 pass. judge takes the answer's body over, and gives one in
// its place; its error is for the log. If no mirror's content is taken, the error
// is a 502, on which the cache keeps to what it has.
func (o *Options) Judged(ctx context.Context, next exchange.Source, req *exchange.Request,
	judge func(*exchange.Response) (io.ReadCloser, error)) (*exchange.Response, error) {
	ask := req.Clone()
	ask.Resume = nil // it is looked into from its beginning
	for try := 1; ; try++ {
		resp, err := next.Get(ctx, ask)
		if err != nil || resp.Entry.Status != http.StatusOK {
			return resp, err
		}
		body, err := judge(resp)
		if err == nil {
			own := *resp
			own.Body, own.Ranges = body, nil // what else upstream has was not judged
			return &own, nil
		}
		if o.Log != nil {
			o.Log.WarnContext(ctx, "content refused", "hub", req.Key.Hub, "key", req.Key.Path, "mirror", resp.Entry.Mirror, "err", err)
		}
		if try == maxTries || len(o.Mirrors) <= try || ctx.Err() != nil {
			return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has the right content", Err: err}
		}
		ask = ask.Clone() // mirrors that were asked may still be reading it
		ask.Avoid = append(slices.Clip(ask.Avoid), resp.Entry.Mirror)
	}
}

// Beginning is a judge for [Options.Judged] of content by its first n bytes, or all if
// it has no more: check is to say what is wrong with them. The content stays whole.
func Beginning(n int64, check func(head []byte) error) func(*exchange.Response) (io.ReadCloser, error) {
	return func(resp *exchange.Response) (io.ReadCloser, error) {
		head, body, err := Peek(resp.Body, n)
		if err != nil {
			return nil, err
		}
		if err := check(head); err != nil {
			body.Close()
			return nil, err
		}
		return body, nil
	}
}

// Peek is the first n bytes of content, or all if it has no more, and the whole content
// again: body itself where it is an [io.Seeker]. On an error body is closed.
func Peek(body io.ReadCloser, n int64) (head []byte, whole io.ReadCloser, err error) {
	head, err = io.ReadAll(io.LimitReader(body, n))
	if s, ok := body.(io.Seeker); ok && err == nil {
		if _, err = s.Seek(0, io.SeekStart); err == nil {
			return head, body, nil
		}
	}
	if err != nil {
		body.Close()
		return nil, nil, err
	}
	return head, rest{io.MultiReader(bytes.NewReader(head), body), body}, nil
}

// BeginsWith is a judge for [Options.Judged] of content that begins with prefix, as
// packed content does and a page that asks for a login does not.
func BeginsWith(prefix string) func(*exchange.Response) (io.ReadCloser, error) {
	return Beginning(int64(len(prefix)), func(head []byte) error {
		if string(head) != prefix {
			return fmt.Errorf("content that begins with %q, not %q", head, prefix)
		}
		return nil
	})
}
