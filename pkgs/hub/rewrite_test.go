package hub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// index is a Source of one index.
type index struct {
	text    string
	digest  exchange.Digest // "" while it is in flight
	status  int
	header  http.Header
	asked   int
	unclose int
}

func (x *index) Get(context.Context, *exchange.Request) (*exchange.Response, error) {
	x.asked++
	x.unclose++
	return &exchange.Response{
		Entry: &exchange.Entry{Status: x.status, Header: x.header, Size: int64(len(x.text)), Digest: x.digest, Mirror: "http://m"},
		Body:  &closer{strings.NewReader(x.text), x},
	}, nil
}

type closer struct {
	io.Reader
	x *index
}

func (c *closer) Close() error { c.x.unclose--; return nil }

func upper(dst io.Writer, src io.Reader) error {
	buf := make([]byte, 1000)
	for {
		n, err := src.Read(buf)
		if _, err := dst.Write(bytes.ToUpper(buf[:n])); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// memory is a cache that keeps whole bodies.
type memory map[exchange.Key]string

func (m memory) wrap(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		text, ok := m[req.Key]
		if !ok {
			resp, err := next.Get(ctx, req)
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				return nil, err
			}
			text = string(b)
			m[req.Key] = text
		}
		return &exchange.Response{Entry: &exchange.Entry{Status: 200, Size: int64(len(text))}, Body: io.NopCloser(strings.NewReader(text))}, nil
	})
}

func TestEdited(t *testing.T) {
	long := strings.Repeat("some line of an index\n", 100_000)
	sum := exchange.Digest("sha256:" + strings.Repeat("ab", 32))
	req := &exchange.Request{Key: exchange.Key{Hub: "h", Path: "/i"}}
	get := func(t *testing.T, o *hub.Options, x *index, rules string) (string, *exchange.Response) {
		t.Helper()
		resp, err := o.Edited(t.Context(), x, req, rules, upper)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Zero(t, x.unclose, "bodies left open")
		return string(b), resp
	}
	t.Run("small and in flight", func(t *testing.T) {
		x := &index{text: "abc", status: 200, header: http.Header{"Etag": {`"o"`}, "Content-Type": {"text/x"}}}
		got, resp := get(t, &hub.Options{}, x, "1")
		assert.Equal(t, "ABC", got)
		assert.EqualValues(t, 3, resp.Entry.Size)
		assert.Equal(t, "text/x", resp.Entry.Header.Get("Content-Type"))
		assert.Regexp(t, `^"[0-9a-f]{32}-[0-9a-f]{8}"$`, resp.Entry.Header.Get("Etag"))
	})
	t.Run("long and in flight is streamed", func(t *testing.T) {
		got, resp := get(t, &hub.Options{}, &index{text: long, status: 200}, "1")
		assert.Equal(t, strings.ToUpper(long), got)
		assert.EqualValues(t, -1, resp.Entry.Size)
		assert.Empty(t, resp.Entry.Header.Get("Etag"))
	})
	t.Run("a tag is the same in flight and stored, whatever the size", func(t *testing.T) {
		few := func(dst io.Writer, src io.Reader) error {
			n, err := io.Copy(io.Discard, src)
			fmt.Fprint(dst, n)
			return err
		}
		for _, text := range []string{"abc", strings.Repeat("x", 16<<20+1)} {
			x := &index{text: text, status: 200}
			tags := map[string]bool{}
			for _, stored := range []bool{false, true} {
				if stored {
					h := exchange.Digest(exchange.OwnAlgorithm(int64(len(text))) + ":").New()
					_, _ = io.WriteString(h, text)
					x.digest = exchange.NewDigest(exchange.OwnAlgorithm(int64(len(text))), h.Sum(nil))
				}
				m := memory{}
				resp, err := (&hub.Options{Cache: m.wrap}).Edited(t.Context(), x, req, "1", few)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				tags[resp.Entry.Header.Get("Etag")] = true
			}
			assert.Len(t, tags, 1)
			assert.NotContains(t, tags, "")
		}
	})
	t.Run("the second client's comes from the cache", func(t *testing.T) {
		m := memory{}
		o := &hub.Options{Cache: m.wrap}
		x := &index{text: long, status: 200, digest: sum}
		got, resp := get(t, o, x, "1")
		assert.Equal(t, strings.ToUpper(long), got)
		first := resp.Entry.Header.Get("Etag")
		get(t, o, x, "1")
		assert.Equal(t, 3, x.asked, "edited once")
		_, resp = get(t, o, x, "2")
		assert.NotEqual(t, first, resp.Entry.Header.Get("Etag"), "other rules, other content")
		assert.Len(t, m, 2)
	})
	t.Run("other statuses pass", func(t *testing.T) {
		got, resp := get(t, &hub.Options{}, &index{text: "gone", status: 404}, "1")
		assert.Equal(t, "gone", got)
		assert.Equal(t, 404, resp.Entry.Status)
	})
	t.Run("what cannot be edited is no content", func(t *testing.T) {
		x := &index{text: "abc", status: 200}
		_, err := (&hub.Options{}).Edited(t.Context(), x, req, "1", func(io.Writer, io.Reader) error { return errors.New("no JSON") })
		var e *exchange.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 502, e.Status)
		assert.Zero(t, x.unclose)
	})
	t.Run("an edit that panics is one that fails", func(t *testing.T) {
		x := &index{text: "abc", status: 200}
		_, err := (&hub.Options{}).Edited(t.Context(), x, req, "1", func(io.Writer, io.Reader) error { panic("parser") })
		require.ErrorContains(t, err, "parser")
		assert.Zero(t, x.unclose)
	})
	t.Run("an error further on breaks the transfer", func(t *testing.T) {
		x := &index{text: long, status: 200}
		resp, err := (&hub.Options{}).Edited(t.Context(), x, req, "1", func(dst io.Writer, src io.Reader) error {
			io.Copy(dst, io.LimitReader(src, 2<<20))
			return errors.New("no JSON")
		})
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.Error(t, err)
		resp.Body.Close()
	})
	t.Run("a client that leaves ends the edit", func(t *testing.T) {
		x := &index{text: long, status: 200}
		resp, err := (&hub.Options{}).Edited(t.Context(), x, req, "1", upper)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Zero(t, x.unclose)
	})
	t.Run("the length of a HEAD", func(t *testing.T) {
		head := *req
		head.Head = true
		resp, err := (&hub.Options{}).Edited(t.Context(), &index{text: "abc", status: 200}, &head, "1", upper)
		require.NoError(t, err)
		assert.EqualValues(t, 3, resp.Entry.Size)
		assert.Equal(t, http.NoBody, resp.Body)
	})
}

// The first client's index is edited on its way; what the next one gets is made
// then, and comes from the cache.
func TestEditedIsKept(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines int
		fails bool
	}{
		{"small", 10, false},
		{"long", 100_000, false},
		{"an edit that fails at the end", 100_000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Repeat("some line of an index\n", c.lines)
			req := &exchange.Request{Key: exchange.Key{Hub: "h", Path: "/i"}}
			m := memory{req.Key: text} // as it is when the flight has landed
			made := make(chan struct{}, 2)
			o := &hub.Options{Cache: func(next exchange.Source) exchange.Source {
				return exchange.SourceFunc(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
					defer func() {
						if r.Key != req.Key && !r.Head {
							made <- struct{}{}
						}
					}()
					resp, err := m.wrap(next).Get(ctx, r)
					if err == nil && r.Key == req.Key {
						resp.Entry.Digest = exchange.Digest("sha256:" + strings.Repeat("ab", 32))
					}
					return resp, err
				})
			}}
			edits := 0
			edit := func(dst io.Writer, src io.Reader) error {
				edits++
				if err := upper(dst, src); err != nil || !c.fails {
					return err
				}
				return errors.New("no JSON")
			}
			x := &index{text: text, status: 200}
			resp, err := o.Edited(t.Context(), x, req, "1", edit)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.Equal(t, c.fails, err != nil)
			require.NoError(t, resp.Body.Close())
			if c.fails {
				require.Equal(t, 1, edits)
				return
			}
			<-made
			require.Equal(t, 1, x.asked, "of the second edit nobody upstream hears")
			require.Equal(t, 2, edits)
			x.digest = exchange.Digest("sha256:" + strings.Repeat("ab", 32))
			resp, err = o.Edited(t.Context(), x, req, "1", edit)
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, strings.ToUpper(text), string(got))
			require.Equal(t, 2, edits, "the second client's is there")
		})
	}
}
