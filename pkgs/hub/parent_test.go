package hub

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestParental(t *testing.T) {
	for via, want := range map[string]bool{
		"":                                      false,
		"1.1 varnish":                           false,
		"1.1 cache-proxy-0a1b":                  true,
		"HTTP/2 edge, 1.1 cache-proxy-0a1b (x)": true,
		"cache-proxy-0a1b":                      false,
		"1.1":                                   false,
	} {
		assert.Equal(t, want, parental(&exchange.Entry{Header: http.Header{"Via": {via}}}), via)
	}
}

// TestAsIs: only an index that is edited to itself, byte for byte and to its end, is
// kept as one.
func TestAsIs(t *testing.T) {
	const digest = "sha256:ab"
	next := exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		e := &exchange.Entry{Status: 200, Digest: digest}
		return &exchange.Response{Entry: e, Body: io.NopCloser(strings.NewReader("an index"))}, nil
	})
	write := func(text string) Edit {
		return func(dst io.Writer, src io.Reader) error {
			for _, part := range strings.SplitAfter(text, " ") {
				if _, err := io.WriteString(dst, part); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, test := range []struct {
		name   string
		edit   Edit
		digest exchange.Digest
		want   bool
	}{
		{"the same", write("an index"), digest, true},
		{"another text", write("an onyx!"), digest, false},
		{"less", write("an "), digest, false},
		{"more", write("an index and more"), digest, false},
		{"none", func(io.Writer, io.Reader) error { return errors.New("bad") }, digest, false},
		{"a panic", func(io.Writer, io.Reader) error { panic("bad") }, digest, false},
		{"changed meanwhile", write("an index"), "sha256:cd", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &Options{}
			resp := o.asIs(t.Context(), next, &exchange.Request{}, test.digest, test.edit)
			assert.Equal(t, test.want, resp != nil)
			assert.Equal(t, test.want, resp != nil && isAsIs(resp.Entry))
		})
	}
}
