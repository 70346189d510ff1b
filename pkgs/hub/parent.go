package hub

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// OwnVia is how the names begin that caches of this kind have in Via (RFC 9110
// §7.6.3).
const OwnVia = "cache-proxy-"

// parental says whether an entry came through a cache of this kind: its indexes are
// edited already, and may be what this one would make of them.
func parental(e *exchange.Entry) bool {
	for _, line := range e.Header["Via"] {
		for member := range strings.SplitSeq(line, ",") {
			if _, by, ok := strings.Cut(strings.TrimSpace(member), " "); ok && strings.HasPrefix(strings.TrimSpace(by), OwnVia) {
				return true
			}
		}
	}
	return false
}

// asIsField is in the entry that is kept in place of an edited index which is its
// original, so that there are no two of it.
const asIsField = "X-Edited-As-Is"

func isAsIs(e *exchange.Entry) bool { return e.Header.Get(asIsField) != "" }

// asIs is that entry as a response; nil: edit changes the original, or that cannot be
// known.
func (o *Options) asIs(ctx context.Context, next exchange.Source, req *exchange.Request, digest exchange.Digest, edit Edit) *exchange.Response {
	var copies [2]*exchange.Response
	for i := range copies {
		resp, err := next.Get(ctx, req)
		if err != nil {
			return nil
		}
		defer resp.Body.Close()
		if e := resp.Entry; e.Status != http.StatusOK || e.Digest != digest || e.Header.Get("Content-Encoding") != "" {
			return nil
		}
		copies[i] = resp
	}
	same := &comparing{want: copies[1].Body}
	if err := guarded(edit, same, copies[0].Body); err != nil || !same.ended() {
		return nil
	}
	e := *copies[0].Entry
	e.Header = http.Header{asIsField: {"1"}}
	e.Digest, e.Proved, e.Size = "", "", 0
	e.Requested, e.Received = o.Time(), o.Time()
	return &exchange.Response{Entry: &e, Body: http.NoBody}
}

var errDiffers = errors.New("it differs")

// comparing fails where what is written is not want.
type comparing struct {
	want io.Reader
	buf  []byte
}

func (c *comparing) Write(p []byte) (int, error) {
	if cap(c.buf) < len(p) {
		c.buf = make([]byte, len(p))
	}
	buf := c.buf[:len(p)]
	if _, err := io.ReadFull(c.want, buf); err != nil || !bytes.Equal(buf, p) {
		return 0, errDiffers
	}
	return len(p), nil
}

// ended says whether all of want was written.
func (c *comparing) ended() bool {
	n, err := io.ReadFull(c.want, make([]byte, 1))
	return n == 0 && err == io.EOF
}
