package cache_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/cache"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

func TestOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		b := &bench{origin: &origin{}, store: new(mem.Store)}
		var err error
		b.cache, err = cache.New(cache.Options{Store: b.store, Log: slog.New(slog.DiscardHandler), Offline: func(hub string) bool {
			return away.Load() && hub == request("/a").Key.Hub
		}})
		require.NoError(t, err)
		defer b.close()
		b.src = b.cache.Wrap(b.origin)
		b.set(whole([]byte("abc")))
		wire := func(path, method string) *exchange.Request {
			req := request(path)
			req.Header = http.Header{}
			req.Policy.Class = freshness.Transparent
			req.Wire = &exchange.Wire{Method: method}
			return req
		}
		transparent := func(fields string) func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
				resp, err := whole([]byte("abc"))(ctx, req)
				resp.Entry.Header["Cache-Control"] = []string{fields}
				resp.Entry.Header["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
				return resp, err
			}
		}
		limited := request("/a") // an online failure would be one after a day
		limited.Policy.StaleIfError = 24 * time.Hour
		b.get(t, limited)
		b.set(transparent("max-age=60"))
		b.get(t, wire("/t", "GET"))
		b.set(transparent("max-age=60, must-revalidate"))
		b.get(t, wire("/strict", "GET"))
		synctest.Wait()

		away.Store(true)
		asked := b.hits()
		_, resp := b.get(t, limited)
		assert.Equal(t, "HIT", resp.Outcome.Word(), "fresh")
		time.Sleep(30 * 24 * time.Hour)
		body, resp := b.get(t, limited)
		assert.Equal(t, "abc", string(body))
		assert.Equal(t, "STALE", resp.Outcome.Word())
		assert.Contains(t, resp.Outcome.CacheStatus("x"), "x; hit; ttl=-")
		assert.Contains(t, resp.Outcome.CacheStatus("x"), "detail=offline")
		_, resp = b.get(t, wire("/t", "GET"))
		assert.Equal(t, "STALE", resp.Outcome.Word())

		passing := request("/p")
		passing.Policy.Class = freshness.Passthrough
		other := request("/a")
		other.Digest = exchange.NewDigest("sha256", make([]byte, 32))
		for name, req := range map[string]*exchange.Request{
			"nothing stored": request("/none"), "HEAD": {Key: request("/none").Key, Head: true}, "passthrough": passing, "an index says otherwise": other,
			"transparent": wire("/none", "GET"), "must not be stale": wire("/strict", "GET"), "unsafe": wire("/t", "POST"),
		} {
			_, err := b.src.Get(t.Context(), req)
			var stated *exchange.Error
			require.ErrorAs(t, err, &stated, name)
			assert.Equal(t, http.StatusGatewayTimeout, stated.Status, name)
		}
		assert.Equal(t, asked, b.hits(), "nobody is asked")
		_, resp = b.get(t, wire("/t", "GET"))
		assert.True(t, resp.Outcome.Stale, "a POST that went nowhere has changed nothing")

		b.set(whole([]byte("def")))
		elsewhere := request("/a")
		elsewhere.Key.Hub = "another"
		_, resp = b.get(t, elsewhere)
		assert.Equal(t, "MISS", resp.Outcome.Word(), "other hubs are not offline")
		away.Store(false)
		body, _ = b.get(t, limited)
		assert.Equal(t, "def", string(body), "at once: nothing of being offline is remembered")
	})
}

func TestFlights(t *testing.T) {
	scene(t, "as they are", func(t *testing.T, b *bench) {
		w := piped(b.origin, 10<<20)
		began := time.Now()
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		second, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		_, err = w.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		all := b.cache.Flights()
		require.Len(t, all, 1)
		assert.InDelta(t, 1<<20, all[0].Bytes, 64<<10, "what is shown stays a little behind")
		all[0].Bytes = 0
		assert.Equal(t, cache.Flight{Key: request("/a").Key, Mirror: "http://m", Begun: began, Total: 10 << 20, Readers: 2}, all[0])
		second.Body.Close()
		assert.Equal(t, 1, b.cache.Flights()[0].Readers)
		w.CloseWithError(errors.New("enough"))
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		synctest.Wait()
		assert.Empty(t, b.cache.Flights())
	})
	scene(t, "without a head", func(t *testing.T, b *bench) {
		head := make(chan struct{})
		b.set(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			<-head
			return whole([]byte("x"))(ctx, req)
		})
		go b.src.Get(context.Background(), request("/a"))
		synctest.Wait()
		all := b.cache.Flights()
		require.Len(t, all, 1)
		assert.EqualValues(t, -1, all[0].Total)
		assert.Empty(t, all[0].Mirror)
		close(head)
		synctest.Wait()
	})
}

func TestPurge(t *testing.T) {
	scene(t, "content", func(t *testing.T, b *bench) {
		b.set(whole([]byte("x")))
		b.get(t, request("/a"))
		synctest.Wait()
		require.NoError(t, b.cache.Purge(t.Context(), request("/a").Key))
		assert.False(t, b.isStored(t, request("/a")))
		_, resp := b.get(t, request("/a"))
		assert.Equal(t, "MISS", resp.Outcome.Word())
	})
	scene(t, "a remembered 404", func(t *testing.T, b *bench) {
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(404, 0, http.NoBody), nil
		})
		req := request("/a")
		req.Policy.Negative = time.Hour
		b.get(t, req)
		b.get(t, req)
		require.Equal(t, 1, b.hits(), "it is remembered")
		require.NoError(t, b.cache.Purge(t.Context(), req.Key))
		b.get(t, req)
		assert.Equal(t, 2, b.hits())
	})
}
