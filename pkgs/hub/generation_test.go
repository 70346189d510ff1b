package hub

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// While what is stored is older than what clients have been given, since the disk
// failed, a member that no mirror has is an error for everybody, and never the
// one of the stored root (FAULTS B42).
func TestMemberOfWhatWasGiven(t *testing.T) {
	digest := func(text string) exchange.Digest {
		sum := sha256.Sum256([]byte(text))
		return exchange.NewDigest("sha256", sum[:])
	}
	request := func(path string) *exchange.Request {
		return &exchange.Request{Key: exchange.Key{Hub: "h", Path: path}, Target: path, Policy: freshness.Policy{Class: freshness.Mutable}}
	}
	g := NewGenerations(&Options{Name: "h"}, Format{
		Companions: func(path string) ([]string, bool) { return nil, path == "/root" },
		Read: func(_ string, content io.Reader) (*Root, error) {
			r := &Root{Members: map[string]exchange.Fact{}}
			_, err := fmt.Fscanf(content, "root %d", &r.Order)
			r.Members["/member"] = exchange.Fact{Digest: digest(fmt.Sprintf("member %d", r.Order))}
			return r, err
		},
		Request: request,
	}, GenerationOptions{})
	root := "root 2"
	next := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		text := root
		if req.Key.Path == "/member" {
			text = "member 1" // which is all that there is
		}
		if d := digest(text); req.Digest != "" && req.Digest != d {
			return nil, &exchange.Error{Status: http.StatusBadGateway}
		}
		return &exchange.Response{
			Entry: &exchange.Entry{Key: req.Key, Status: http.StatusOK, Header: http.Header{}, Size: int64(len(text)), Digest: digest(text)},
			Body: struct {
				io.ReadSeeker
				io.Closer
			}{strings.NewReader(text), io.NopCloser(nil)},
		}, nil
	})
	asks := request("/root")
	asks.Client.Addr = netip.MustParseAddr("192.0.2.1")
	resp, err := g.Root(t.Context(), next, asks)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())

	again := func() { g.sets["/root"].forced = time.Time{} } // Force may be called
	root = "root 1"
	for _, c := range []struct{ name, client string }{
		{"a client whose root is not known", "192.0.2.2"},
		{"the client that was given the root", "192.0.2.1"},
	} {
		client := exchange.Client{Addr: netip.MustParseAddr(c.client)}
		gen, err := g.Published(t.Context(), next, client, "/root")
		require.NoError(t, err, c.name)
		require.EqualValues(t, 2, gen.Order, c.name)
		again()
		req := request("/member")
		req.Client = client
		_, resp, ok, err := g.Member(t.Context(), next, req, gen)
		assert.True(t, ok, c.name)
		assert.Nil(t, resp, c.name)
		var e *exchange.Error
		if assert.ErrorAs(t, err, &e, c.name) {
			assert.Equal(t, http.StatusBadGateway, e.Status, c.name)
		}
	}
	again()
	gen := g.Force(t.Context(), next, "/root")
	require.NotNil(t, gen)
	assert.EqualValues(t, 2, gen.Order, "what is published is not what is stored")
}

// TestSigned: a root and its companions are known by the format, and nothing else is
// asked for.
func TestSigned(t *testing.T) {
	g := NewGenerations(&Options{Name: "h"}, Format{
		Companions: func(path string) ([]string, bool) { return []string{path + ".sig"}, strings.HasSuffix(path, ".db") },
		Unordered:  true,
		Request: func(path string) *exchange.Request {
			return &exchange.Request{Key: exchange.Key{Hub: "h", Path: path}, Target: path}
		},
	}, GenerationOptions{})
	for path, known := range map[string]bool{"/core.db": true, "/core.db.sig": true, "/core.db.asc": false, "/core.sig": false, "/core.db/x": false, "/": false} {
		asked := 0
		next := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
			asked++
			return &exchange.Response{Entry: &exchange.Entry{Key: req.Key, Status: http.StatusNotFound}, Body: http.NoBody}, nil
		})
		resp, ok, err := g.Signed(t.Context(), next, &exchange.Request{Key: exchange.Key{Hub: "h", Path: path}, Target: path})
		require.NoError(t, err, path)
		assert.Equal(t, known, ok, path)
		assert.Equal(t, known, resp != nil, path)
		assert.Equal(t, known, asked > 0, path)
	}
}
