package cache_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/cache"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

// wired is a request that is passed through; fields are names and values.
func wired(method, path string, fields ...string) *exchange.Request {
	req := &exchange.Request{
		Key: exchange.Key{Hub: "o", Path: path}, Target: path, Head: method == http.MethodHead,
		Header: http.Header{}, Policy: freshness.Policy{Class: freshness.Transparent, StaleIfError: time.Hour},
		Wire: &exchange.Wire{Method: method},
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	req.Wire.Locate = func(_, reference string) (exchange.Key, bool) {
		return exchange.Key{Hub: "o", Path: reference}, strings.HasPrefix(reference, "/")
	}
	return req
}

// TestPurgeOfVariants: a URI is purged with all that fields of requests select there.
func TestPurgeOfVariants(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
			return says(200, req.Header.Get("Foo"), "Cache-Control", "max-age=60", "Vary", "Foo"), nil
		})
		for range 2 {
			for _, foo := range []string{"a", "b"} {
				body, _ := b.get(t, wired("GET", "/x", "Foo", foo))
				assert.Equal(t, foo, string(body))
				synctest.Wait()
			}
		}
		require.Equal(t, 2, b.hits())
		require.NoError(t, b.cache.Purge(t.Context(), exchange.Key{Hub: "o", Path: "/x"}))
		for _, foo := range []string{"a", "b"} {
			b.get(t, wired("GET", "/x", "Foo", foo))
		}
		assert.Equal(t, 4, b.hits())
	})
}

// says is a response of the origin's; fields are names and values.
func says(status int, content string, fields ...string) *exchange.Response {
	resp := answer(status, int64(len(content)), io.NopCloser(strings.NewReader(content)))
	resp.Entry.Header = http.Header{}
	for i := 0; i < len(fields); i += 2 {
		resp.Entry.Header.Add(fields[i], fields[i+1])
	}
	return resp
}

// always answers every request alike.
func always(status int, content string, fields ...string) func(context.Context, *exchange.Request) (*exchange.Response, error) {
	return func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp := says(status, content, fields...)
		if req.Head {
			resp.Body = http.NoBody
		}
		return resp, nil
	}
}

// transparently runs a test in a bubble of its own, some time after the beginning.
func transparently(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, &mem.Store{})
		defer b.close()
		time.Sleep(time.Minute)
		test(t, b)
	})
}

// together asks for all of reqs at once, and returns what each got.
func (b *bench) together(t *testing.T, reqs ...*exchange.Request) []string {
	t.Helper()
	got := make([]string, len(reqs))
	var wg sync.WaitGroup
	for i, req := range reqs {
		wg.Go(func() {
			resp, err := b.src.Get(t.Context(), req)
			if !assert.NoError(t, err) {
				return
			}
			body, err := io.ReadAll(resp.Body)
			assert.NoError(t, err)
			resp.Body.Close()
			got[i] = string(body)
		})
	}
	wg.Wait()
	return got
}

// slowly is reply after a second.
func slowly(reply func(context.Context, *exchange.Request) (*exchange.Response, error)) func(context.Context, *exchange.Request) (*exchange.Response, error) {
	return func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		time.Sleep(time.Second)
		return reply(ctx, req)
	}
}

func TestTransparentShares(t *testing.T) {
	many := func(fields ...string) (reqs []*exchange.Request) {
		for range 10 {
			reqs = append(reqs, wired("GET", "/a", fields...))
		}
		return reqs
	}
	transparently(t, func(t *testing.T, b *bench) {
		b.set(slowly(always(200, "one", "Cache-Control", "max-age=60")))
		for _, got := range b.together(t, many()...) {
			assert.Equal(t, "one", got)
		}
		assert.Equal(t, 1, b.hits(), "what may be reused is asked for once")
	})
	transparently(t, func(t *testing.T, b *bench) {
		b.set(slowly(always(200, "one")))
		began := time.Now()
		b.together(t, many()...)
		assert.Equal(t, 10, b.hits(), "what may not be reused is everybody's own")
		assert.Equal(t, 2*time.Second, time.Since(began))
		began = time.Now()
		b.together(t, many()...)
		assert.Equal(t, time.Second, time.Since(began), "and the next time nobody waits to see that")
	})
	transparently(t, func(t *testing.T, b *bench) {
		b.set(slowly(always(200, "one", "Cache-Control", "max-age=60")))
		began := time.Now()
		b.together(t, many("Authorization", "me")...)
		assert.Equal(t, 10, b.hits(), "§3.5")
		assert.Equal(t, time.Second, time.Since(began), "and nobody waits to see that")
	})
	transparently(t, func(t *testing.T, b *bench) {
		b.set(slowly(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
			return says(200, req.Header.Get("Foo"), "Cache-Control", "max-age=60", "Vary", "Foo"), nil
		}))
		got := b.together(t, append(many("Foo", "1"), many("Foo", "2")...)...)
		for i, content := range got {
			assert.Equal(t, []string{"1", "2"}[i/10], content, "§4.1")
		}
		assert.LessOrEqual(t, b.hits(), 3)
	})
}

func TestTransparentInvalidates(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		pw := piped(b.origin, 6)
		b.set(func(reply func(context.Context, *exchange.Request) (*exchange.Response, error)) func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
				resp, err := reply(ctx, req)
				resp.Entry.Header.Set("Cache-Control", "max-age=60")
				return resp, err
			}
		}(b.reply))
		resp, err := b.src.Get(t.Context(), wired("GET", "/a"))
		require.NoError(t, err)
		pw.Write([]byte("bef"))

		time.Sleep(time.Second)
		b.set(always(204, ""))
		b.get(t, wired("POST", "/a"))
		time.Sleep(time.Second)

		go func() { pw.Write([]byte("ore")); pw.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, "before", string(body))
		synctest.Wait()

		b.set(always(200, "after", "Cache-Control", "max-age=60"))
		body, _ = b.get(t, wired("GET", "/a"))
		assert.Equal(t, "after", string(body), "what was on its way is of the past")
		body, again := b.get(t, wired("GET", "/a"))
		assert.Equal(t, "after", string(body))
		assert.True(t, again.Outcome.Hit)
	})
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60"))
		b.get(t, wired("GET", "/a"))
		time.Sleep(time.Second)
		b.set(refusing(&exchange.Error{Status: 502}))
		_, err := b.src.Get(t.Context(), wired("DELETE", "/a"))
		require.Error(t, err)
		time.Sleep(time.Second)
		b.set(always(200, "two", "Cache-Control", "max-age=60"))
		body, _ := b.get(t, wired("GET", "/a"))
		assert.Equal(t, "two", string(body), "it may have been done, though nobody said so")
	})
}

func TestTransparentPost(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		hit    bool
	}{
		{"its own URI, with explicit freshness", []string{"Content-Location", "/a", "Cache-Control", "max-age=60"}, true},
		{"another", []string{"Content-Location", "/b", "Cache-Control", "max-age=60"}, false},
		{"none", []string{"Cache-Control", "max-age=60"}, false},
		{"heuristic freshness", []string{"Content-Location", "/a", "Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT"}, false},
		{"no-store", []string{"Content-Location", "/a", "Cache-Control", "max-age=60, no-store"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			transparently(t, func(t *testing.T, b *bench) {
				b.set(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
					time.Sleep(time.Millisecond) // RFC 9110 §9.3.3: what is stored is of after the invalidation
					return says(200, "posted", tt.fields...), nil
				})
				body, _ := b.get(t, wired("POST", "/a"))
				assert.Equal(t, "posted", string(body))
				synctest.Wait()
				b.set(always(200, "got"))
				body, resp := b.get(t, wired("GET", "/a"))
				assert.Equal(t, tt.hit, resp.Outcome.Hit)
				assert.Equal(t, tt.hit, string(body) == "posted")
			})
		})
	}
}

func TestTransparentHead(t *testing.T) {
	const etag = `"v"`
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60", "Etag", etag, "X-A", "1"))
		b.get(t, wired("GET", "/a"))
		_, resp := b.get(t, wired("HEAD", "/a"))
		assert.True(t, resp.Outcome.Hit)
		assert.EqualValues(t, 3, resp.Entry.Size)
		assert.Equal(t, 1, b.hits())

		time.Sleep(2 * time.Minute)
		b.set(always(200, "one", "Cache-Control", "max-age=90", "Etag", etag, "X-A", "2"))
		b.get(t, wired("HEAD", "/a"))
		assert.True(t, b.asked[1].Head)
		body, resp := b.get(t, wired("GET", "/a"))
		assert.Equal(t, "one", string(body))
		assert.True(t, resp.Outcome.Hit, "§4.3.5: a HEAD has freshened it")
		assert.Equal(t, "2", resp.Entry.Header.Get("X-A"))

		time.Sleep(2 * time.Minute)
		b.set(always(200, "other", "Cache-Control", "max-age=90", "Etag", `"w"`))
		b.get(t, wired("HEAD", "/a"))
		body, _ = b.get(t, wired("GET", "/a"))
		assert.Equal(t, "other", string(body), "or has told that it is not good any more")
		assert.Empty(t, b.asked[3].Header, "so it is not validated")
	})
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60"))
		b.get(t, wired("HEAD", "/a"))
		_, _, err := b.store.Open(t.Context(), wired("GET", "/a").Key)
		assert.ErrorIs(t, err, fs.ErrNotExist, "a head alone is nothing to store")
	})
}

func TestTransparentStale(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60, stale-while-revalidate=600", "Etag", `"v"`))
		b.get(t, wired("GET", "/a"))
		time.Sleep(2 * time.Minute)
		b.set(slowly(always(304, "", "Cache-Control", "max-age=60", "Etag", `"v"`)))
		began := time.Now()
		body, resp := b.get(t, wired("GET", "/a"))
		assert.Zero(t, time.Since(began), "RFC 5861 §3: nobody waits")
		assert.Equal(t, "one", string(body))
		assert.Equal(t, "while-revalidate", resp.Outcome.Detail)
		time.Sleep(time.Second)
		synctest.Wait()
		_, resp = b.get(t, wired("GET", "/a"))
		assert.Empty(t, resp.Outcome.Detail)
		assert.True(t, resp.Outcome.Hit)
		assert.Equal(t, `"v"`, b.asked[1].Header.Get("If-None-Match"))
	})
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60, stale-if-error=600"))
		b.get(t, wired("GET", "/a"))
		time.Sleep(2 * time.Minute)
		var closed atomic.Int32
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			resp := says(503, "busy")
			resp.Body = &counted{resp.Body, &closed}
			return resp, nil
		})
		body, resp := b.get(t, wired("GET", "/a"))
		assert.Equal(t, "one", string(body))
		assert.Equal(t, 503, resp.Outcome.FwdStatus)
		synctest.Wait()
		assert.EqualValues(t, 1, closed.Load(), "what is not sent is closed")
	})
}

type counted struct {
	io.ReadCloser
	n *atomic.Int32
}

func (c *counted) Close() error { c.n.Add(1); return c.ReadCloser.Close() }

func TestTransparentWithholds(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(slowly(always(200, "one", "Cache-Control", `max-age=60, private="X-Mine", no-cache="X-New"`, "X-Mine", "1", "X-New", "2", "X-All", "3")))
		var first, second *exchange.Response
		var wg sync.WaitGroup
		wg.Go(func() { _, first = b.get(t, wired("GET", "/a")) })
		wg.Go(func() {
			time.Sleep(time.Millisecond)
			_, second = b.get(t, wired("GET", "/a"))
		})
		wg.Wait()
		synctest.Wait()
		assert.Equal(t, "1", first.Entry.Header.Get("X-Mine"), "§5.2.2.7: it is for the one who asked")
		assert.Equal(t, "2", first.Entry.Header.Get("X-New"))
		_, third := b.get(t, wired("GET", "/a"))
		for _, resp := range []*exchange.Response{second, third} {
			assert.NotContains(t, resp.Entry.Header, "X-Mine")
			assert.NotContains(t, resp.Entry.Header, "X-New")
			assert.Equal(t, "3", resp.Entry.Header.Get("X-All"))
		}
		e, body, err := b.store.Open(t.Context(), wired("GET", "/a").Key)
		require.NoError(t, err)
		body.Close()
		assert.NotContains(t, e.Header, "X-Mine", "nor is it stored")
		assert.Equal(t, 1, b.hits())
	})
}

func TestTransparentConditions(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60", "Etag", `"v"`))
		b.get(t, wired("GET", "/a"))
		_, resp := b.get(t, wired("GET", "/a", "If-Match", `"v"`))
		assert.Equal(t, exchange.FwdRequest, resp.Outcome.Fwd, "§4.3.2: it is the origin's to judge")
		assert.Equal(t, `"v"`, b.asked[1].Header.Get("If-Match"))
		assert.True(t, resp.Verbatim)

		time.Sleep(2 * time.Minute)
		b.set(always(304, "", "Etag", `"v"`, "Cache-Control", "max-age=60"))
		body, resp := b.get(t, wired("GET", "/a", "If-None-Match", `"other"`, "Range", "bytes=0-0"))
		assert.Equal(t, http.Header{"If-None-Match": {`"v"`}}, b.asked[2].Header, "the stored validator, not the client's")
		assert.Equal(t, "one", string(body))
		assert.False(t, resp.Verbatim, "the client's conditions are still to be judged")

		_, err := b.src.Get(t.Context(), wired("GET", "/none", "Cache-Control", "only-if-cached"))
		var stated *exchange.Error
		require.ErrorAs(t, err, &stated)
		assert.Equal(t, http.StatusGatewayTimeout, stated.Status, "§5.2.1.7")
		assert.Equal(t, 3, b.hits())
	})
}

// TestTransparentMarkers: what selects is known after a restart too, and not once it was invalidated.
func TestTransparentMarkers(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
			return says(200, "is "+req.Header.Get("Foo"), "Cache-Control", "max-age=6000", "Vary", "Foo"), nil
		})
		b.get(t, wired("GET", "/a", "Foo", "1"))
		b.get(t, wired("GET", "/a", "Foo", "2"))
		synctest.Wait()

		other, err := cache.New(cache.Options{Store: b.store})
		require.NoError(t, err)
		defer other.Close(context.Background())
		b.src = other.Wrap(b.origin)
		for _, foo := range []string{"1", "2"} {
			body, resp := b.get(t, wired("GET", "/a", "Foo", foo))
			assert.Equal(t, "is "+foo, string(body))
			assert.True(t, resp.Outcome.Hit)
		}
		_, resp := b.get(t, wired("GET", "/a"))
		assert.Equal(t, exchange.FwdVary, resp.Outcome.Fwd)
		assert.Equal(t, 3, b.hits())

		time.Sleep(time.Second)
		b.set(always(204, ""))
		b.get(t, wired("PUT", "/a"))
		third, err := cache.New(cache.Options{Store: b.store}) // which does not remember the invalidation itself
		require.NoError(t, err)
		defer third.Close(context.Background())
		b.src = third.Wrap(b.origin)
		b.set(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
			return says(200, "now "+req.Header.Get("Foo"), "Cache-Control", "max-age=6000", "Vary", "Foo"), nil
		})
		for _, foo := range []string{"1", "2"} {
			body, _ := b.get(t, wired("GET", "/a", "Foo", foo))
			assert.Equal(t, "now "+foo, string(body))
		}
	})
}

// slow is a store that takes a second to commit.
type slow struct{ *mem.Store }

type slowDraft struct{ store.Draft }

func (s slow) Draft(ctx context.Context, size int64) (store.Draft, error) {
	d, err := s.Store.Draft(ctx, size)
	return slowDraft{d}, err
}

func (d slowDraft) Commit(ctx context.Context, e *exchange.Entry) error {
	time.Sleep(time.Second)
	return d.Draft.Commit(ctx, e)
}

// TestTransparentInPlace: who has it all and asks again finds it, though the
// transfer was one that nobody could join.
func TestTransparentInPlace(t *testing.T) {
	for _, size := range []string{"known", "unknown", "none"} {
		t.Run(size, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, slow{new(mem.Store)})
				defer b.close()
				time.Sleep(time.Minute)
				b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
					resp := says(200, "one", "Cache-Control", "public, max-age=60")
					switch size {
					case "unknown":
						resp.Entry.Size = -1
					case "none":
						resp = says(200, "", "Cache-Control", "public, max-age=60")
					}
					return resp, nil
				})
				for _, hit := range []bool{false, true} {
					resp, err := b.src.Get(t.Context(), wired("GET", "/a", "Authorization", "me"))
					require.NoError(t, err)
					b := make([]byte, max(resp.Entry.Size, 0))
					if size == "unknown" {
						_, err = io.ReadAll(resp.Body)
					} else {
						_, err = io.ReadFull(resp.Body, b) // a client that knows the length reads no further
					}
					require.NoError(t, err)
					resp.Body.Close()
					if size == "none" {
						time.Sleep(2 * time.Second) // without content there is nothing to hold back
					}
					assert.Equal(t, hit, resp.Outcome.Hit)
				}
			})
		})
	}
}

// TestTransparentRest: the rest of a part is joined to it only if the origin says
// that both are of the same content, whatever it was asked (F10).
func TestTransparentRest(t *testing.T) {
	const first, second = "01234", "56789"
	tests := []struct {
		name   string
		rest   *exchange.Response
		hits   int
		joined bool
	}{
		{"the rest", says(206, second, "Etag", `"v"`, "Content-Range", "bytes 5-9/10", "Cache-Control", "max-age=60"), 2, true},
		{"of another", says(206, second, "Etag", `"w"`, "Content-Range", "bytes 5-9/10", "Cache-Control", "max-age=60"), 3, false},
		{"of another length", says(206, second, "Etag", `"v"`, "Content-Range", "bytes 5-9/11", "Cache-Control", "max-age=60"), 3, false},
		{"another part", says(206, second, "Etag", `"v"`, "Content-Range", "bytes 4-8/10", "Cache-Control", "max-age=60"), 3, false},
		{"no part", says(206, second, "Etag", `"v"`, "Cache-Control", "max-age=60"), 3, false},
		{"nothing there", says(416, "", "Content-Range", "bytes */5"), 3, false},
		{"another whole", says(200, "whole", "Etag", `"w"`, "Cache-Control", "max-age=60"), 2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			transparently(t, func(t *testing.T, b *bench) {
				b.set(always(206, first, "Etag", `"v"`, "Content-Range", "bytes 0-4/10", "Cache-Control", "max-age=60", "Content-Type", "a/b", "Age", "7"))
				b.get(t, wired("GET", "/a", "Range", "bytes=0-4"))
				b.set(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
					if req.Header["Range"] == nil {
						return says(200, "whole", "Etag", `"w"`, "Cache-Control", "max-age=60"), nil
					}
					assert.Equal(t, http.Header{"Range": {"bytes=5-"}, "If-Range": {`"v"`}}, req.Header)
					tt.rest.Entry.Requested, tt.rest.Entry.Received = time.Now(), time.Now()
					return tt.rest, nil
				})
				body, resp := b.get(t, wired("GET", "/a"))
				want := "whole"
				mediaType := ""
				if tt.joined {
					want, mediaType = first+second, "a/b"
				}
				assert.Equal(t, want, string(body))
				assert.Equal(t, 200, resp.Entry.Status)
				assert.NotContains(t, resp.Entry.Header, "Content-Range")
				assert.Equal(t, mediaType, resp.Entry.Header.Get("Content-Type"), "RFC 9110 §15.3.7.3: what the rest does not say again")
				assert.NotContains(t, resp.Entry.Header, "Age")
				assert.Equal(t, tt.hits, b.hits())
				synctest.Wait()
				body, resp = b.get(t, wired("GET", "/a"))
				assert.Equal(t, want, string(body))
				assert.Equal(t, mediaType, resp.Entry.Header.Get("Content-Type"))
				assert.True(t, resp.Outcome.Hit)
			})
		})
	}
}

// TestTransparentPart: a stored part answers for what it has, and for nothing else.
func TestTransparentPart(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		hit    bool
	}{
		{"within", []string{"Range", "bytes=1-2"}, true},
		{"of the same", []string{"Range", "bytes=1-2", "If-Range", `"v"`}, true},
		{"of another", []string{"Range", "bytes=1-2", "If-Range", `"w"`}, false},
		{"by a date", []string{"Range", "bytes=1-2", "If-Range", "Sat, 01 Jan 2000 00:00:00 GMT"}, false},
		{"beyond", []string{"Range", "bytes=3-5"}, false},
		{"several", []string{"Range", "bytes=1-2,3-3"}, false},
		{"with a condition", []string{"Range", "bytes=1-2", "If-None-Match", `"w"`}, false},
		{"no-cache", []string{"Range", "bytes=1-2", "Cache-Control", "no-cache"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			transparently(t, func(t *testing.T, b *bench) {
				b.set(always(206, "01234", "Etag", `"v"`, "Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT", "Content-Range", "bytes 0-4/10", "Cache-Control", "max-age=60"))
				b.get(t, wired("GET", "/a", "Range", "bytes=0-4"))
				b.set(always(206, "xx", "Content-Range", "bytes 1-2/10"))
				_, head := b.get(t, wired("HEAD", "/a", tt.fields...))
				assert.False(t, head.Outcome.Hit, "RFC 9110 §14.2: ranges are GET's")
				body, resp := b.get(t, wired("GET", "/a", tt.fields...))
				assert.Equal(t, tt.hit, resp.Outcome.Hit)
				if tt.hit {
					assert.Equal(t, "12", string(body))
					assert.Equal(t, "bytes 1-2/10", resp.Entry.Header.Get("Content-Range"))
					assert.EqualValues(t, 2, resp.Entry.Size)
				}
			})
		})
	}
}

// TestTransparentWholePart: a part that is all there is answers as the whole (RFC 9110 §15.3.7.3).
func TestTransparentWholePart(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(206, "01234", "Etag", `"v"`, "Content-Range", "bytes 0-4/5", "Cache-Control", "max-age=60"))
		_, resp := b.get(t, wired("GET", "/a", "Range", "bytes=0-4"))
		assert.Equal(t, 206, resp.Entry.Status, "for who has asked for it it is a part")
		assert.Equal(t, "bytes 0-4/5", resp.Entry.Header.Get("Content-Range"))
		synctest.Wait()
		for _, fields := range [][]string{nil, {"Range", "bytes=1-2"}} { // which the edge cuts out
			body, resp := b.get(t, wired("GET", "/a", fields...))
			assert.Equal(t, "01234", string(body))
			assert.Equal(t, 200, resp.Entry.Status)
			assert.True(t, resp.Outcome.Hit)
			assert.NotContains(t, resp.Entry.Header, "Content-Range")
		}
	})
}

// TestTransparentNewest: of what a request may mean the newest counts (§4.1).
func TestTransparentNewest(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "old", "Cache-Control", "max-age=600"))
		b.get(t, wired("GET", "/a"))
		time.Sleep(time.Second)
		b.set(always(200, "new", "Cache-Control", "max-age=600", "Vary", "Foo"))
		b.get(t, wired("GET", "/a", "Cache-Control", "no-cache"))
		synctest.Wait()
		body, _ := b.get(t, wired("GET", "/a"))
		assert.Equal(t, "new", string(body))
		body, _ = b.get(t, wired("GET", "/a", "Foo", "1"))
		assert.Equal(t, "old", string(body), "that had no Vary")
		assert.Equal(t, 2, b.hits())
	})
}

func TestTransparentTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := cache.New(cache.Options{Store: &mem.Store{}, Object: 10})
		require.NoError(t, err)
		defer c.Close(context.Background())
		o := &origin{}
		content := bytes.Repeat([]byte("x"), 100)
		o.set(always(200, string(content), "Cache-Control", "max-age=60"))
		b := &bench{origin: o, src: c.Wrap(o)}
		for range 2 {
			body, _ := b.get(t, wired("GET", "/a"))
			assert.Equal(t, content, body, "what is too large to be stored passes")
		}
		assert.Equal(t, 2, o.hits())
	})
}

// TestTransparentFreshens: what a validation says of the stored response may be that
// it is not to be stored any more, or that other fields select it.
func TestTransparentFreshens(t *testing.T) {
	tests := []struct {
		name    string
		news    []string
		request []string
		stored  bool
		hit     bool // the next time
	}{
		{"fresh anew", []string{"Cache-Control", "max-age=60"}, nil, true, true},
		{"still selected alike", []string{"Vary", ""}, nil, true, true},
		{"private by now", []string{"Cache-Control", "private, max-age=60"}, nil, false, false},
		{"not to be kept", []string{"Cache-Control", "no-store"}, nil, false, false},
		{"selected by fields", []string{"Vary", "Foo"}, nil, false, false},
		{"for one request", []string{"Cache-Control", "max-age=60"}, []string{"Cache-Control", "no-store"}, true, false},
		{"for one client", []string{"Cache-Control", "max-age=60"}, []string{"Authorization", "me"}, true, false},
	}
	for _, tt := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(tt.name+" "+method, func(t *testing.T) {
				transparently(t, func(t *testing.T, b *bench) {
					b.set(always(200, "one", "Cache-Control", "max-age=60", "Etag", `"v"`))
					b.get(t, wired("GET", "/a"))
					time.Sleep(2 * time.Minute)
					status := map[string]int{"GET": 304, "HEAD": 200}[method]
					b.set(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
						resp, err := always(status, "", append([]string{"Etag", `"v"`}, tt.news...)...)(ctx, req)
						resp.Entry.Size = 3
						return resp, err
					})
					_, resp := b.get(t, wired(method, "/a", tt.request...))
					assert.Equal(t, 200, resp.Entry.Status)
					assert.Equal(t, tt.stored, b.isStored(t, wired("GET", "/a")))
					b.set(always(200, "two", "Cache-Control", "max-age=60"))
					_, resp = b.get(t, wired("GET", "/a"))
					assert.Equal(t, tt.hit, resp.Outcome.Hit)
				})
			})
		}
	}
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60", "Etag", `"v"`))
		b.get(t, wired("GET", "/a"))
		time.Sleep(2 * time.Minute)
		b.set(slowly(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			if req.Header["If-None-Match"] != nil {
				return always(304, "", "Etag", `"v"`, "Cache-Control", "private, max-age=60")(ctx, req)
			}
			return says(200, "own", "Cache-Control", "private, max-age=60"), nil
		}))
		got := b.together(t, wired("GET", "/a"), wired("GET", "/a"))
		assert.ElementsMatch(t, []string{"one", "own"}, got, "what is private is for the one who asked")
	})
}

// TestTransparentUnsatisfiable: a 416 is of the range that was asked for, not of the URI.
func TestTransparentUnsatisfiable(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(416, "", "Cache-Control", "max-age=60", "Content-Range", "bytes */3"))
		b.get(t, wired("GET", "/a", "Range", "bytes=9-"))
		b.set(slowly(always(200, "one", "Cache-Control", "max-age=60")))
		for _, got := range b.together(t, wired("GET", "/a"), wired("GET", "/a")) {
			assert.Equal(t, "one", got)
		}
		assert.Equal(t, 2, b.hits(), "nor is it a reason not to share")
	})
}

// TestTransparentLate: what is invalidated while it is committed is not found behind.
func TestTransparentLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, slow{new(mem.Store)})
		defer b.close()
		time.Sleep(time.Minute)
		b.set(always(200, "one", "Cache-Control", "max-age=60"))
		b.get(t, wired("GET", "/a"))
		time.Sleep(time.Second / 2)
		b.set(always(204, ""))
		b.get(t, wired("PUT", "/a"))
		time.Sleep(time.Second)
		assert.False(t, b.isStored(t, wired("GET", "/a")), "not even once the invalidation is forgotten")
	})
	synctest.Test(t, func(t *testing.T) {
		b := start(t, slow{new(mem.Store)})
		defer b.close()
		time.Sleep(time.Minute)
		for first, content := range []string{"01234", "56789"} {
			b.set(always(206, content, "Etag", `"v"`, "Content-Range", []string{"bytes 0-4/10", "bytes 5-9/10"}[first], "Cache-Control", "max-age=60"))
			b.get(t, wired("GET", "/a", "Range", "bytes="+[]string{"0-4", "5-9"}[first]))
		}
		time.Sleep(time.Second / 2)
		b.set(always(204, ""))
		b.get(t, wired("PUT", "/a"))
		time.Sleep(time.Second)
		assert.False(t, b.isStored(t, wired("GET", "/a")), "nor what is put together of parts")
	})
}

// TestTransparentVaryBound: what would take too much to remember is not stored.
func TestTransparentVaryBound(t *testing.T) {
	transparently(t, func(t *testing.T, b *bench) {
		b.set(always(200, "one", "Cache-Control", "max-age=60", "Vary", strings.Repeat("Foo, ", 300)))
		for range 2 {
			_, resp := b.get(t, wired("GET", "/a"))
			assert.False(t, resp.Outcome.Hit)
		}
	})
}
