package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// counted is what a Counter has heard.
type counted struct {
	answered, refused []string
	sent              int64
}

func (c *counted) Answered(o exchange.Outcome)      { c.answered = append(c.answered, o.Word()) }
func (c *counted) Sent(_ exchange.Outcome, n int64) { c.sent += n }
func (c *counted) Refused(reason string)            { c.refused = append(c.refused, reason) }

func TestCounter(t *testing.T) {
	const text = "0123456789"
	fails := func(err error) exchange.SourceFunc {
		return func(context.Context, *exchange.Request) (*exchange.Response, error) { return nil, err }
	}
	for _, c := range []struct {
		name, method, target string
		header               http.Header
		source               exchange.SourceFunc
		sent                 int64
		answered, refused    string
	}{
		{name: "a hit", sent: 10, answered: "HIT"},
		{name: "a head", method: "HEAD", answered: "HIT"},
		{name: "a range", header: http.Header{"Range": {"bytes=2-4"}}, sent: 3, answered: "HIT"},
		{name: "not modified", header: http.Header{"If-None-Match": {etag}}, answered: "HIT"},
		{name: "no such range", header: http.Header{"Range": {"bytes=20-"}}, answered: "HIT", refused: "range", sent: -1},
		{name: "too many ranges", header: http.Header{"Range": {"bytes=" + strings.Repeat("0-0,", 20) + "0-0"}}, sent: 10, answered: "HIT", refused: "ranges"},
		{name: "a precondition", header: http.Header{"If-Match": {`"v2"`}}, answered: "HIT", refused: "precondition", sent: -1},
		{name: "cut", source: answer(text, func(r *exchange.Response) { r.Body = io.NopCloser(io.LimitReader(strings.NewReader(text), 4)) }), sent: 4, answered: "HIT", refused: "cut"},
		{name: "method", method: "PUT", refused: "method"},
		{name: "target", target: "/" + strings.Repeat("x", 9000), refused: "target"},
		{name: "path", target: "/a/%2e%2e/b", refused: "path"},
		{name: "absent", target: "/absent", refused: "not-found"},
		{name: "loop", header: http.Header{"Via": {"1.1 me"}}, refused: "loop"},
		{name: "too large", source: fails(&exchange.Error{Status: 502, Reason: "object-size"}), refused: "object-size"},
		{name: "no mirror", source: fails(&exchange.Error{Status: 502}), refused: "upstream"},
		{name: "no such thing", source: fails(fs.ErrNotExist), refused: "not-found"},
		{name: "timeout", source: fails(context.DeadlineExceeded), refused: "timeout"},
		{name: "a teapot", source: fails(&exchange.Error{Status: 418}), refused: "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.source == nil {
				c.source = answer(text, nil)
			}
			if c.target == "" {
				c.target = "/a"
			}
			if c.method == "" {
				c.method = "GET"
			}
			var heard counted
			h := New(Options{Hub: tree{}, Source: c.source, Counter: &heard, Via: "me"})
			r := httptest.NewRequest(c.method, c.target, nil)
			for name, values := range c.header {
				r.Header[name] = values
			}
			func() {
				defer func() {
					if p := recover(); p != nil && p != http.ErrAbortHandler {
						panic(p)
					}
				}()
				h.ServeHTTP(httptest.NewRecorder(), r)
			}()
			assert.Equal(t, c.answered, strings.Join(heard.answered, " "))
			assert.Equal(t, c.refused, strings.Join(heard.refused, " "))
			if c.sent >= 0 {
				assert.Equal(t, c.sent, heard.sent)
			}
		})
	}
}

func TestReasonsOfLostClients(t *testing.T) {
	assert.Equal(t, reasonSlow, lostReason(&lostError{errSlow}))
	assert.Equal(t, reasonSlow, lostReason(&lostError{fmt.Errorf("write: %w", os.ErrDeadlineExceeded)}))
	assert.Equal(t, reasonGone, lostReason(&lostError{errors.New("connection reset")}))
}
