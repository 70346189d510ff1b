package rubygems

import (
	"context"
	"crypto/md5"
	"io"
	"net/http"
	"regexp"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// ownTag is an entity tag that is an MD5, as those of the repositories that Bundler
// was made for are.
var ownTag = regexp.MustCompile(`^(?:W/)?"([0-9a-f]{32})"$`)

// maxSums is how many sums are remembered.
const maxSums = 20_000

// tagged is next's answer with the MD5 of the content as its ETag, and that as a
// digest; "" where it is not known, and then there is no ETag. An origin that has
// other ones is waited for to the end, since nothing tells the MD5 before.
func (h *Hub) tagged(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, exchange.Digest, error) {
	resp, err := next.Get(ctx, req)
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, "", err
	}
	if m := ownTag.FindStringSubmatch(resp.Entry.Header.Get("Etag")); m != nil {
		return resp, exchange.Digest("md5:" + m[1]), nil
	}
	if sum, ok := h.md5.Get(resp.Entry.Digest); ok {
		return hub.WithTag(resp, sum), sum, nil
	}
	if req.Head { // the head does not tell
		resp.Body.Close()
		if resp, err = next.Get(ctx, hub.Whole(req)); err != nil || resp.Entry.Status != http.StatusOK {
			return resp, "", err
		}
	}
	algorithm := exchange.OwnAlgorithm(resp.Entry.Size) // of what h.md5 is asked by, when it is stored
	sums, stored := md5.New(), exchange.Digest(algorithm+":").New()
	_, err = io.Copy(io.MultiWriter(sums, stored), resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, "", &exchange.Error{Status: http.StatusBadGateway, Message: "the index was cut short", Err: err}
	}
	read, sum := resp.Entry, exchange.NewDigest("md5", sums.Sum(nil))
	h.md5.Put(exchange.NewDigest(algorithm, stored.Sum(nil)), sum)
	if resp, err = next.Get(ctx, req); err != nil || resp.Entry.Status != http.StatusOK {
		return resp, "", err
	}
	// A transfer that is just ending may be shared once more; its entry has no digest yet.
	if e := resp.Entry; e.Digest != "" || !e.Received.Equal(read.Received) || e.Mirror != read.Mirror {
		sum, _ = h.md5.Get(e.Digest)
	}
	return hub.WithTag(resp, sum), sum, nil
}
