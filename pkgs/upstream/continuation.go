package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

var errOther = errors.New("not the rest of the same content")

// A continuation says what the rest of a body must be, so that bytes of
// different objects are never mixed (DESIGN decision 3).
type continuation struct {
	from, size int64
	to         int64  // where it ends; 0: at size
	etag       string // strong; must be equal, unless a digest will prove the whole
	date       string // Last-Modified, where it is strong (RFC 9110 §8.8.2.2); believed of the first mirror only
	digest     bool   // the whole will be proved
	mirror     string // whose the beginning is
	encoding   string
}

// continuable is what the rest of an answer must be; nil if nothing would vouch for it.
func continuable(req *exchange.Request, e *exchange.Entry) *continuation {
	if req.Head || req.Post != nil || e.Status != http.StatusOK || e.Size <= 0 {
		return nil
	}
	c := &continuation{size: e.Size, digest: req.Digest != "", mirror: e.Mirror, encoding: e.Header.Get("Content-Encoding")}
	if etag := e.Header.Get("Etag"); strong(etag) {
		c.etag = etag
	} else if strongDate(e.Header) {
		c.date = e.Header.Get("Last-Modified")
	}
	if !c.digest && c.etag == "" && c.date == "" {
		return nil
	}
	return c
}

// strongDate reports whether Last-Modified is a strong validator: the content
// has not changed in the minute before it was sent.
func strongDate(h http.Header) bool {
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return false
	}
	sent, err := http.ParseTime(h.Get("Date"))
	return err == nil && sent.Sub(modified) >= time.Minute
}

// anywhere reports whether other mirrors than the first may go on.
func (c *continuation) anywhere() bool { return c.digest || c.etag != "" }

// part is the n bytes at off of the same content.
func (c *continuation) part(off, n int64) *continuation {
	p := *c
	p.from, p.to = off, off+n
	return &p
}

// section is a part that no digest will prove: it has to have the validator.
func (c *continuation) section(off, n int64) *continuation {
	p := c.part(off, n)
	p.digest = false
	return p
}

func (c *continuation) end() int64 {
	if c.to > 0 {
		return c.to
	}
	return c.size
}

// request asks for the rest.
func (c *continuation) request(req *exchange.Request) *exchange.Request {
	ask := req.Clone()
	ask.Validate, ask.From = nil, 0
	if ask.Header == nil {
		ask.Header = make(http.Header, 2)
	}
	span := "bytes=" + strconv.FormatInt(c.from, 10) + "-"
	if c.to > 0 {
		span += strconv.FormatInt(c.to-1, 10)
		ask.Size = c.to - c.from // which is what the records are asked about
	}
	ask.Header.Set("Range", span)
	switch { // RFC 9110 §13.1.5
	case c.digest: // mirrors of the same content may well have tags of their own
	case c.etag != "":
		ask.Header.Set("If-Range", c.etag)
	case c.date != "":
		ask.Header.Set("If-Range", c.date)
	}
	return ask
}

// check says why an answer of status 206 is not the rest; nil if it is.
func (c *continuation) check(mirror string, res *http.Response) error {
	want := fmt.Sprintf("bytes %d-%d/%d", c.from, c.end()-1, c.size)
	etag := res.Header.Get("Etag")
	switch {
	case !strings.EqualFold(res.Header.Get("Content-Range"), want):
		return fmt.Errorf("%w: %.100q, where %q was asked for", errOther, res.Header.Get("Content-Range"), want)
	case res.ContentLength != c.end()-c.from:
		return fmt.Errorf("%w: %d bytes of %d", errOther, res.ContentLength, c.end()-c.from)
	case res.Header.Get("Content-Encoding") != c.encoding:
		return fmt.Errorf("%w: another encoding", errOther)
	case c.etag != "" && etag != c.etag && (!c.digest || mirror == c.mirror):
		return fmt.Errorf("%w: its tag is %.100q, not %q", errOther, etag, c.etag)
	case c.etag == "" && c.date != "" && mirror == c.mirror && res.Header.Get("Last-Modified") != c.date:
		return fmt.Errorf("%w: it has changed", errOther)
	}
	return nil
}
