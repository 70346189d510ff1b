package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
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

// origin is a Source whose answers a test scripts.
type origin struct {
	mu    sync.Mutex
	asked []*exchange.Request
	reply func(ctx context.Context, req *exchange.Request) (*exchange.Response, error)
}

func (o *origin) Get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	o.mu.Lock()
	o.asked = append(o.asked, req)
	reply := o.reply
	o.mu.Unlock()
	return reply(ctx, req)
}

func (o *origin) hits() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

func (o *origin) set(reply func(context.Context, *exchange.Request) (*exchange.Response, error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reply = reply
}

func answer(status int, size int64, body io.ReadCloser) *exchange.Response {
	return &exchange.Response{
		Entry: &exchange.Entry{
			Status: status, Size: size, Mirror: "http://m",
			Header: http.Header{"Etag": {`"v1"`}}, Requested: time.Now(), Received: time.Now(),
		},
		Body: body,
	}
}

// whole answers every request with content.
func whole(content []byte) func(context.Context, *exchange.Request) (*exchange.Response, error) {
	return func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return answer(200, int64(len(content)), io.NopCloser(bytes.NewReader(content))), nil
	}
}

// refusing answers every request with err.
func refusing(err error) func(context.Context, *exchange.Request) (*exchange.Response, error) {
	return func(context.Context, *exchange.Request) (*exchange.Response, error) { return nil, err }
}

// piped is a body that a test writes while it is read; it ends with its flight's context.
func piped(o *origin, size int64) *io.PipeWriter {
	pr, pw := io.Pipe()
	o.set(func(ctx context.Context, _ *exchange.Request) (*exchange.Response, error) {
		context.AfterFunc(ctx, func() { pr.CloseWithError(context.Cause(ctx)) })
		return answer(200, size, pr), nil
	})
	return pw
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func request(path string) *exchange.Request {
	return &exchange.Request{
		Key: exchange.Key{Hub: "default", Path: path}, Target: path,
		Policy: freshness.Policy{
			TTL: time.Hour, StaleIfError: freshness.Forever, Budget: 2 * time.Second, Negative: time.Minute,
		},
	}
}

type bench struct {
	*origin
	store store.Store
	cache *cache.Cache
	src   exchange.Source
}

func start(t *testing.T, s store.Store) *bench {
	t.Helper()
	b := &bench{origin: &origin{}, store: s}
	var err error
	b.cache, err = cache.New(cache.Options{Store: s, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	b.src = b.cache.Wrap(b.origin)
	return b
}

func (b *bench) close() { b.cache.Close(context.Background()) }

// get reads a whole response.
func (b *bench) get(t *testing.T, req *exchange.Request) ([]byte, *exchange.Response) {
	t.Helper()
	resp, err := b.src.Get(t.Context(), req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return body, resp
}

func (b *bench) isStored(t *testing.T, req *exchange.Request) bool {
	t.Helper()
	_, body, err := b.store.Open(t.Context(), req.Key)
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return false
	}
	body.Close()
	return true
}

func scene(t *testing.T, name string, f func(t *testing.T, b *bench)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, new(mem.Store))
			defer b.close()
			f(t, b)
		})
	})
}

func TestStore(t *testing.T) {
	scene(t, "a miss is stored, then hit", func(t *testing.T, b *bench) {
		content := random(300_000)
		b.set(whole(content))
		got, resp := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(content, got))
		assert.Equal(t, "MISS", resp.Outcome.Word())
		assert.Equal(t, "cache-proxy; fwd=uri-miss; stored; ttl=3600", resp.Outcome.CacheStatus("cache-proxy"))
		synctest.Wait()
		got, resp = b.get(t, request("/a"))
		assert.True(t, bytes.Equal(content, got))
		assert.Equal(t, "HIT", resp.Outcome.Word())
		assert.Equal(t, `"v1"`, resp.Entry.Header.Get("ETag"))
		sum := sha256.Sum256(content)
		assert.Equal(t, exchange.NewDigest("sha256", sum[:]), resp.Entry.Digest)
		assert.Equal(t, 1, b.hits())
	})
	scene(t, "immutable is never asked for again", func(t *testing.T, b *bench) {
		b.set(whole([]byte("x")))
		req := request("/a.deb")
		req.Policy.Class = freshness.Immutable
		b.get(t, req)
		time.Sleep(10 * 365 * 24 * time.Hour)
		_, resp := b.get(t, req)
		assert.True(t, resp.Outcome.Hit)
		assert.Equal(t, 1, b.hits())
	})
	scene(t, "passthrough is not stored", func(t *testing.T, b *bench) {
		b.set(whole([]byte("x")))
		req := request("/search")
		req.Policy.Class = freshness.Passthrough
		_, resp := b.get(t, req)
		assert.Equal(t, "cache-proxy; fwd=bypass", resp.Outcome.CacheStatus("cache-proxy"))
		synctest.Wait()
		assert.False(t, b.isStored(t, req))
	})
	scene(t, "HEAD of nothing stores nothing", func(t *testing.T, b *bench) {
		b.set(whole([]byte("x")))
		req := request("/a")
		req.Head = true
		_, resp := b.get(t, req)
		assert.EqualValues(t, 1, resp.Entry.Size)
		synctest.Wait()
		assert.False(t, b.isStored(t, req))
		assert.True(t, b.asked[0].Head)
	})
	scene(t, "an origin that says no-store is not stored, and not shared", func(t *testing.T, b *bench) {
		var n atomic.Int32
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			time.Sleep(time.Second)
			resp := answer(200, 1, io.NopCloser(bytes.NewReader([]byte{'0' + byte(n.Add(1))})))
			resp.NoStore = true
			return resp, nil
		})
		seen := make(chan string, 2)
		for range 2 {
			go func() {
				resp, err := b.src.Get(t.Context(), request("/a"))
				if !assert.NoError(t, err) {
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				seen <- string(body)
			}()
		}
		assert.NotEqual(t, <-seen, <-seen)
		assert.False(t, b.isStored(t, request("/a")))
	})
	scene(t, "content without a proof of its end is not stored", func(t *testing.T, b *bench) {
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			resp := answer(200, -1, io.NopCloser(bytes.NewReader([]byte("abc"))))
			resp.Unproven = true
			return resp, nil
		})
		for _, req := range []*exchange.Request{request("/a"), wired("GET", "/a")} {
			got, resp := b.get(t, req)
			assert.Equal(t, "abc", string(got))
			assert.NotContains(t, resp.Outcome.CacheStatus("c"), "stored")
			synctest.Wait()
			assert.False(t, b.isStored(t, req))
		}
	})
	scene(t, "a 404 is remembered for its time", func(t *testing.T, b *bench) {
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(404, 4, io.NopCloser(bytes.NewReader([]byte("none")))), nil
		})
		got, resp := b.get(t, request("/a"))
		assert.Equal(t, "none", string(got))
		assert.Equal(t, 404, resp.Entry.Status)
		time.Sleep(59 * time.Second)
		_, resp = b.get(t, request("/a"))
		assert.Equal(t, "cache-proxy; hit; ttl=1; detail=negative", resp.Outcome.CacheStatus("cache-proxy"))
		assert.Equal(t, 1, b.hits())
		time.Sleep(2 * time.Second)
		b.set(whole([]byte("x")))
		_, resp = b.get(t, request("/a"))
		assert.Equal(t, 200, resp.Entry.Status)
	})
	for _, status := range []int{401, 403, 429, 500} {
		scene(t, "another refusal is not remembered", func(t *testing.T, b *bench) {
			b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
				return answer(status, 0, http.NoBody), nil
			})
			_, resp := b.get(t, request("/a"))
			assert.Equal(t, status, resp.Entry.Status)
			b.get(t, request("/a"))
			assert.Equal(t, 2, b.hits())
		})
	}
}

func TestFlight(t *testing.T) {
	scene(t, "fifty clients share one transfer", func(t *testing.T, b *bench) {
		content := random(1 << 20)
		pw := piped(b.origin, int64(len(content)))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				resp, err := b.src.Get(t.Context(), request("/a"))
				if !assert.NoError(t, err) {
					return
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(content, got))
			})
		}
		synctest.Wait()
		for i := 0; i < len(content); i += 1000 {
			pw.Write(content[i:min(i+1000, len(content))])
		}
		pw.Close()
		wg.Wait()
		assert.Equal(t, 1, b.hits())
	})
	scene(t, "a late joiner has at once what is there, then follows", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 6)
		first, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer first.Body.Close()
		pw.Write([]byte("abc"))
		synctest.Wait()
		_, late := func() ([]byte, *exchange.Response) {
			resp, err := b.src.Get(t.Context(), request("/a"))
			require.NoError(t, err)
			return nil, resp
		}()
		defer late.Body.Close()
		assert.Equal(t, "COALESCED", late.Outcome.Word())
		three := make([]byte, 3)
		_, err = io.ReadFull(late.Body, three)
		require.NoError(t, err)
		assert.Equal(t, "abc", string(three))
		go func() { pw.Write([]byte("def")); pw.Close() }()
		_, err = io.ReadFull(late.Body, three)
		require.NoError(t, err)
		assert.Equal(t, "def", string(three))
	})
	scene(t, "few bytes do not wait for company", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 100)
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer resp.Body.Close()
		begin := time.Now()
		for range 3 {
			pw.Write([]byte("x"))
			_, err := resp.Body.Read(make([]byte, 1))
			require.NoError(t, err)
		}
		assert.Less(t, time.Since(begin), 50*time.Millisecond)
	})
	scene(t, "a range of content in flight", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 10)
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = resp.Body.(io.Seeker).Seek(-4, io.SeekEnd)
		require.NoError(t, err)
		go func() { pw.Write([]byte("0123456789")); pw.Close() }()
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "6789", string(got))
	})
	scene(t, "a cut body fails every reader, is not stored, and may be asked for again", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 10)
		var failures atomic.Int32
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				resp, err := b.src.Get(t.Context(), request("/a"))
				if !assert.NoError(t, err) {
					return
				}
				defer resp.Body.Close()
				if _, err := io.ReadAll(resp.Body); errors.Is(err, io.ErrUnexpectedEOF) {
					failures.Add(1)
				}
			})
		}
		synctest.Wait()
		pw.Write([]byte("01234"))
		pw.Close()
		wg.Wait()
		assert.EqualValues(t, 5, failures.Load())
		synctest.Wait()
		assert.False(t, b.isStored(t, request("/a")))
		b.set(whole([]byte("0123456789")))
		got, _ := b.get(t, request("/a"))
		assert.Equal(t, "0123456789", string(got))
	})
	scene(t, "content longer than its length fails", func(t *testing.T, b *bench) {
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(200, 3, io.NopCloser(bytes.NewReader([]byte("abcd")))), nil
		})
		_, err := b.src.Get(t.Context(), request("/a"))
		assert.Error(t, err, "nobody has seen anything of it, so it is no answer at all")
		synctest.Wait()
		assert.False(t, b.isStored(t, request("/a")))
	})
	scene(t, "a small body that begins late does not keep its head back", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 6)
		begun := time.Now()
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Less(t, time.Since(begun), 50*time.Millisecond)
		pw.Write([]byte("012"))
		head := make([]byte, 3)
		_, err = io.ReadFull(resp.Body, head)
		require.NoError(t, err, "nor its beginning")
		pw.Write([]byte("345"))
		pw.Close()
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "012345", string(head)+string(rest))
	})
	scene(t, "the leader leaves, the others get all", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 6)
		ctx, cancel := context.WithCancel(t.Context())
		leader, err := b.src.Get(ctx, request("/a"))
		require.NoError(t, err)
		follower, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		pw.Write([]byte("abc"))
		cancel()
		leader.Body.Close()
		time.Sleep(time.Minute)
		go func() { pw.Write([]byte("def")); pw.Close() }()
		got, err := io.ReadAll(follower.Body)
		require.NoError(t, err)
		follower.Body.Close()
		assert.Equal(t, "abcdef", string(got))
		assert.Equal(t, 1, b.hits())
	})
	scene(t, "a panic below fails one request only", func(t *testing.T, b *bench) {
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) { panic("boom") })
		_, err := b.src.Get(t.Context(), request("/a"))
		var e *exchange.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 500, e.Status)
		b.set(whole([]byte("x")))
		b.get(t, request("/a"))
	})
	scene(t, "the client goes while upstream thinks", func(t *testing.T, b *bench) {
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			time.Sleep(time.Second)
			return whole([]byte("x"))(ctx, r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := b.src.Get(ctx, request("/a"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(2 * time.Second)
		assert.True(t, b.isStored(t, request("/a")), "a small object is fetched all the same")
	})
}

func TestAbort(t *testing.T) {
	tests := []struct {
		name   string
		size   int64
		read   int
		goesOn bool
	}{
		{"little is left", 64 << 20, 10, true},
		{"much is left", 1 << 30, 10, false},
		{"the size is unknown", -1, 10, false},
	}
	for _, tt := range tests {
		scene(t, tt.name, func(t *testing.T, b *bench) {
			pw := piped(b.origin, tt.size)
			ctx, cancel := context.WithCancel(t.Context())
			resp, err := b.src.Get(ctx, request("/a"))
			require.NoError(t, err)
			pw.Write(make([]byte, tt.read))
			cancel()
			resp.Body.Close()
			time.Sleep(4 * time.Second)
			synctest.Wait()
			_, err = pw.Write([]byte("x"))
			require.NoError(t, err, "there is a time of grace")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if tt.goesOn {
				_, err = pw.Write([]byte("x"))
				assert.NoError(t, err)
				pw.CloseWithError(errors.New("end of test"))
			} else {
				_, err = pw.Write([]byte("x"))
				assert.Error(t, err)
			}
		})
	}
	scene(t, "a client that had all it wanted has not aborted", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 1<<30)
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		pw.Write(make([]byte, 10))
		resp.Body.Close()
		time.Sleep(time.Minute)
		_, err = pw.Write([]byte("x"))
		assert.NoError(t, err)
		pw.CloseWithError(errors.New("end of test"))
	})
	scene(t, "somebody comes back in time", func(t *testing.T, b *bench) {
		pw := piped(b.origin, 1<<30)
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := b.src.Get(ctx, request("/a"))
		require.NoError(t, err)
		cancel()
		resp.Body.Close()
		time.Sleep(4 * time.Second)
		back, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		go pw.Write([]byte("x"))
		_, err = back.Body.Read(make([]byte, 1))
		require.NoError(t, err)
		pw.CloseWithError(errors.New("end of test"))
		back.Body.Close()
		assert.Equal(t, 1, b.hits())
	})
}

func TestValidate(t *testing.T) {
	stored := func(t *testing.T, b *bench, req *exchange.Request) {
		t.Helper()
		b.set(whole([]byte("old")))
		b.get(t, req)
		time.Sleep(2 * time.Hour)
	}
	notModified := func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return answer(304, 0, http.NoBody), nil
	}
	scene(t, "a 304 makes the entry fresh again", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(notModified)
		got, resp := b.get(t, request("/a"))
		assert.Equal(t, "old", string(got))
		assert.Equal(t, "REVALIDATED", resp.Outcome.Word())
		assert.Equal(t, `"v1"`, b.asked[1].Validate.Header.Get("ETag"))
		_, resp = b.get(t, request("/a"))
		assert.Equal(t, "HIT", resp.Outcome.Word())
		assert.Equal(t, 2, b.hits())
	})
	scene(t, "a 200 replaces it", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(whole([]byte("new content")))
		got, resp := b.get(t, request("/a"))
		assert.Equal(t, "new content", string(got))
		assert.Equal(t, "cache-proxy; fwd=stale; stored; ttl=3600", resp.Outcome.CacheStatus("cache-proxy"))
		// Who has had the new content never gets the old again, not even at once.
		_, body, err := b.store.Open(t.Context(), request("/a").Key)
		require.NoError(t, err)
		got, err = io.ReadAll(body)
		require.NoError(t, err)
		body.Close()
		assert.Equal(t, "new content", string(got))
	})
	scene(t, "an error leaves the old, with a pause before the next try", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(refusing(&exchange.Error{Status: 502}))
		for range 5 {
			got, resp := b.get(t, request("/a"))
			assert.Equal(t, "old", string(got))
			assert.Equal(t, "STALE", resp.Outcome.Word())
			assert.Negative(t, resp.Outcome.TTL)
		}
		assert.Equal(t, 2, b.hits(), "the pause")
		time.Sleep(3 * time.Second)
		b.get(t, request("/a"))
		assert.Equal(t, 3, b.hits())
		time.Sleep(3 * time.Second)
		b.get(t, request("/a"))
		assert.Equal(t, 3, b.hits(), "the pause has grown")
		time.Sleep(2 * time.Second)
		b.set(notModified)
		_, resp := b.get(t, request("/a"))
		assert.Equal(t, "REVALIDATED", resp.Outcome.Word())
	})
	scene(t, "Retry-After is kept to", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(refusing(&exchange.Error{Status: 503, RetryAfter: 5 * time.Minute}))
		b.get(t, request("/a"))
		time.Sleep(4 * time.Minute)
		b.get(t, request("/a"))
		assert.Equal(t, 2, b.hits())
	})
	scene(t, "a refusal leaves the old", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(403, 0, http.NoBody), nil
		})
		got, resp := b.get(t, request("/a"))
		assert.Equal(t, "old", string(got))
		assert.Equal(t, 403, resp.Outcome.FwdStatus)
		b.get(t, request("/a"))
		assert.Equal(t, 2, b.hits())
	})
	scene(t, "a 404 is the answer", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(404, 0, http.NoBody), nil
		})
		_, resp := b.get(t, request("/a"))
		assert.Equal(t, 404, resp.Entry.Status)
		_, resp = b.get(t, request("/a"))
		assert.Equal(t, 404, resp.Entry.Status)
		assert.Equal(t, 2, b.hits())
	})
	scene(t, "past stale-if-error the failure shows", func(t *testing.T, b *bench) {
		req := request("/a")
		req.Policy.StaleIfError = time.Minute
		stored(t, b, req)
		b.set(refusing(&exchange.Error{Status: 504}))
		_, err := b.src.Get(t.Context(), req)
		var e *exchange.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 504, e.Status)
	})
	scene(t, "a slow upstream has its budget, and goes on behind", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			time.Sleep(10 * time.Second)
			return whole([]byte("new"))(ctx, r)
		})
		begin := time.Now()
		got, resp := b.get(t, request("/a"))
		assert.Equal(t, "old", string(got))
		assert.Equal(t, "STALE", resp.Outcome.Word())
		assert.Equal(t, 2*time.Second, time.Since(begin))
		time.Sleep(9 * time.Second)
		got, _ = b.get(t, request("/a"))
		assert.Equal(t, "new", string(got))
		assert.Equal(t, 2, b.hits())
	})
	scene(t, "stale-while-revalidate answers at once", func(t *testing.T, b *bench) {
		req := request("/a")
		req.Policy.StaleWhileRevalidate = 24 * time.Hour
		stored(t, b, req)
		b.set(whole([]byte("new")))
		got, _ := b.get(t, req)
		assert.Equal(t, "old", string(got))
		synctest.Wait()
		got, _ = b.get(t, req)
		assert.Equal(t, "new", string(got))
		assert.Equal(t, 2, b.hits())
	})
	scene(t, "ten clients at the moment of expiry are one question", func(t *testing.T, b *bench) {
		stored(t, b, request("/a"))
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			time.Sleep(time.Second)
			return notModified(ctx, r)
		})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { b.get(t, request("/a")) })
		}
		wg.Wait()
		assert.Equal(t, 2, b.hits())
	})
}

func TestDigest(t *testing.T) {
	content := random(200_000)
	sum := sha256.Sum256(content)
	scene(t, "the right content", func(t *testing.T, b *bench) {
		b.set(whole(content))
		req := request("/a")
		req.Digest = exchange.NewDigest("sha256", sum[:])
		got, _ := b.get(t, req)
		assert.True(t, bytes.Equal(content, got))
	})
	scene(t, "a wrong file never completes", func(t *testing.T, b *bench) {
		bad := bytes.Clone(content)
		bad[199_999] ^= 1
		b.set(whole(bad))
		req := request("/a")
		req.Digest = exchange.NewDigest("sha256", sum[:])
		resp, err := b.src.Get(t.Context(), req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		assert.Error(t, err)
		assert.LessOrEqual(t, len(got), 200_000-64<<10, "the last block was held back")
		synctest.Wait()
		assert.False(t, b.isStored(t, req))
	})
	for _, beside := range []struct {
		name  string
		store func(*bench) store.Store
		reply func(*exchange.Response)
	}{
		{"content that is not to be stored is proved too", nil, func(r *exchange.Response) { r.NoStore = true }},
		{"so is content beside a store that cannot be read", func(b *bench) store.Store { return &unreadable{Store: b.store} }, func(*exchange.Response) {}},
	} {
		scene(t, beside.name, func(t *testing.T, b *bench) { // F13, F23
			if beside.store != nil {
				b = start(t, beside.store(b))
				defer b.close()
			}
			bad := bytes.Clone(content)
			bad[0] ^= 1
			b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
				reply := whole(bad)
				if slices.Contains(r.Avoid, "http://m") {
					reply = whole(content)
				}
				resp, err := reply(ctx, r)
				beside.reply(resp)
				return resp, err
			})
			req := request("/a")
			req.Digest = exchange.NewDigest("sha256", sum[:])
			resp, err := b.src.Get(t.Context(), req)
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			assert.ErrorContains(t, err, "wrong content")
			assert.Len(t, got, 200_000-64<<10, "the last block is held back, and no more")
			synctest.Wait()
			got, _ = b.get(t, req)
			assert.True(t, bytes.Equal(content, got), "another mirror is asked next")
		})
	}
	scene(t, "and the right one takes its place, from another mirror", func(t *testing.T, b *bench) {
		bad := bytes.Clone(content)
		bad[0] ^= 1
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			if slices.Contains(r.Avoid, "http://m") {
				return whole(content)(ctx, r)
			}
			return whole(bad)(ctx, r)
		})
		req := request("/a")
		req.Digest = exchange.NewDigest("sha256", sum[:])
		resp, err := b.src.Get(t.Context(), req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		require.Error(t, err)
		synctest.Wait()
		got, resp := b.get(t, req)
		assert.True(t, bytes.Equal(content, got))
		assert.True(t, resp.Outcome.Hit)
		assert.Equal(t, 2, b.hits())
	})
	const above = 16<<20 + 1 // what SHA-256 is taken of
	big := random(above)
	big256, big512 := sha256.Sum256(big), sha512.Sum512(big)
	for _, own := range []struct {
		name            string
		content         []byte
		size            int64 // as it is announced
		promise, proved exchange.Digest
		digest          string
	}{
		{"an entry's own digest is SHA-256", big[:above-1], above - 1, "", "", "sha256"},
		{"of a large entry it is a fast one", big, above, "", "", exchange.Fast},
		{"unless that is promised", big, above, exchange.NewDigest("sha256", big256[:]), "", "sha256"},
		{"what is promised else is proved beside it", big, above, exchange.NewDigest("sha512", big512[:]), exchange.NewDigest("sha512", big512[:]), exchange.Fast},
		{"or nobody knows how large it becomes", big, -1, "", "", "sha256"},
	} {
		scene(t, own.name, func(t *testing.T, b *bench) {
			b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
				return answer(200, own.size, io.NopCloser(bytes.NewReader(own.content))), nil
			})
			req := request("/a")
			req.Digest = own.promise
			b.get(t, req)
			synctest.Wait()
			got, resp := b.get(t, req)
			require.True(t, resp.Outcome.Hit)
			assert.True(t, bytes.Equal(own.content, got))
			h := resp.Entry.Digest.New()
			_, _ = h.Write(got)
			assert.Equal(t, exchange.NewDigest(own.digest, h.Sum(nil)), resp.Entry.Digest)
			assert.Equal(t, own.proved, resp.Entry.Proved)
		})
	}
	small := content[:1000]
	sum512 := sha512.Sum512(small)
	scene(t, "of a small wrong file nobody hears", func(t *testing.T, b *bench) {
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			if len(r.Avoid) > 0 {
				return whole(small)(ctx, r)
			}
			return whole(content[1000:2000])(ctx, r)
		})
		req := request("/a")
		req.Digest = exchange.NewDigest("sha512", sum512[:])
		got, resp := b.get(t, req)
		assert.True(t, bytes.Equal(small, got))
		assert.Equal(t, "MISS", resp.Outcome.Word())
		synctest.Wait()
		_, resp = b.get(t, req)
		assert.True(t, resp.Outcome.Hit)
		assert.Equal(t, req.Digest, resp.Entry.Proved)
	})
	scene(t, "of one whose draft fails in the middle, nothing is left in the right one", func(t *testing.T, b *bench) { // F13, F22
		b = start(t, &broken{Store: b.store, after: 10_000, once: true})
		defer b.close()
		good := content[:50_000]
		sum := sha256.Sum256(good)
		bad := bytes.Clone(good)
		bad[0] ^= 1
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			body := bad
			if slices.Contains(r.Avoid, "http://m") {
				body = good
			}
			return answer(200, int64(len(body)), io.NopCloser(iotest.HalfReader(bytes.NewReader(body)))), nil
		})
		req := request("/a")
		req.Digest = exchange.NewDigest("sha256", sum[:])
		got, _ := b.get(t, req)
		assert.True(t, bytes.Equal(good, got))
		synctest.Wait()
		assert.Equal(t, 2, b.hits())
		got, resp := b.get(t, req)
		assert.True(t, bytes.Equal(good, got))
		assert.True(t, resp.Outcome.Hit)
	})
	scene(t, "when all mirrors are wrong that is an error", func(t *testing.T, b *bench) {
		b.set(whole(small))
		req := request("/a")
		req.Digest = exchange.NewDigest("sha256", sum[:])
		_, err := b.src.Get(t.Context(), req)
		var e *exchange.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 502, e.Status)
	})
	scene(t, "stored content that an index has since denied is fetched anew", func(t *testing.T, b *bench) {
		facts := taught{}
		c, err := cache.New(cache.Options{Store: b.store, Facts: facts, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer c.Close(t.Context())
		b.src = c.Wrap(b.origin)
		req := request("/a.deb")
		req.Policy.Class = freshness.Immutable
		b.set(whole(small))
		b.get(t, req)
		synctest.Wait()
		b.set(whole(content))
		got, _ := b.get(t, req)
		assert.Len(t, got, len(small))
		facts[req.Key] = exchange.Fact{Digest: exchange.NewDigest("sha256", sum[:])}
		got, _ = b.get(t, req)
		assert.True(t, bytes.Equal(content, got))
		synctest.Wait()
		_, resp := b.get(t, req)
		assert.True(t, resp.Outcome.Hit)
	})
	scene(t, "a 404 of what an index lists is not remembered", func(t *testing.T, b *bench) {
		c, err := cache.New(cache.Options{Store: b.store, Facts: taught{request("/listed").Key: {Size: 1}}, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer c.Close(t.Context())
		b.src = c.Wrap(b.origin)
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(404, 4, io.NopCloser(bytes.NewReader([]byte("none")))), nil
		})
		for _, head := range []bool{false, true} {
			before := b.hits()
			for range 2 {
				for _, path := range []string{"/listed", "/other"} {
					req := request(path)
					req.Head = head
					_, resp := b.get(t, req)
					assert.Equal(t, 404, resp.Entry.Status)
				}
			}
			if head {
				assert.Equal(t, before+2, b.hits(), "the other one is known not to be there")
			} else {
				assert.Equal(t, before+3, b.hits())
			}
		}
	})
}

type taught map[exchange.Key]exchange.Fact

func (t taught) Lookup(_ context.Context, key exchange.Key) (exchange.Fact, bool) {
	f, ok := t[key]
	return f, ok
}

func (t taught) Known(key exchange.Key) (exchange.Fact, bool) {
	return t.Lookup(context.Background(), key)
}

// unreadable is a store that has every entry as long as nobody looks for long: a
// flight finds that there is one, and who asked for it does not.
type unreadable struct {
	store.Store
	asked atomic.Int32
}

func (s *unreadable) Open(ctx context.Context, key exchange.Key) (*exchange.Entry, io.ReadSeekCloser, error) {
	if s.asked.Add(1)%2 == 0 {
		e := &exchange.Entry{Key: key, Status: 200, Size: 200_000, Received: time.Now()}
		sum := sha256.Sum256(random(200_000))
		e.Digest = exchange.NewDigest("sha256", sum[:])
		return e, nopSeeker{bytes.NewReader(nil)}, nil
	}
	return nil, nil, errors.New("input/output error")
}

type nopSeeker struct{ io.ReadSeeker }

func (nopSeeker) Close() error { return nil }

// broken is a store whose writes fail from some point on.
type broken struct {
	store.Store
	draft error
	after int64 // WriteAt fails once it passes this
	once  bool  // of the first draft alone
	lost  bool  // and nothing can be read then
	made  atomic.Int32
}

func (s *broken) Draft(ctx context.Context, size int64) (store.Draft, error) {
	n := s.made.Add(1)
	if s.draft != nil {
		return nil, s.draft
	}
	d, err := s.Store.Draft(ctx, size)
	if s.once && n > 1 {
		return d, err
	}
	return &brokenDraft{Draft: d, after: s.after, lost: s.lost}, err
}

type brokenDraft struct {
	store.Draft
	after  int64
	lost   bool
	failed atomic.Bool
}

func (d *brokenDraft) ReadAt(p []byte, off int64) (int, error) {
	if d.lost && d.failed.Load() {
		return 0, io.EOF
	}
	return d.Draft.ReadAt(p, off)
}

func (d *brokenDraft) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.after {
		d.failed.Store(true)
		return 0, errors.New("input/output error")
	}
	return d.Draft.WriteAt(p, off)
}

func TestDisk(t *testing.T) {
	content := random(3 << 20)
	tests := []struct {
		name  string
		store *broken
	}{
		{"no room", &broken{draft: store.ErrFull}},
		{"no drafts", &broken{draft: errors.New("read-only file system")}},
		{"fails at once", &broken{after: 0}},
		{"fails in the middle", &broken{after: 1 << 20}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.store.Store = new(mem.Store)
				b := start(t, tt.store)
				defer b.close()
				b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
					time.Sleep(time.Second)
					return whole(content)(ctx, r)
				})
				var wg sync.WaitGroup
				for range 5 {
					wg.Go(func() {
						got, _ := b.get(t, request("/a"))
						assert.True(t, bytes.Equal(content, got))
					})
				}
				wg.Wait()
				synctest.Wait()
				assert.Equal(t, 1, b.hits(), "one transfer for five clients")
				assert.False(t, b.isStored(t, request("/a")))
			})
		})
	}
	scene(t, "a draft that loses what it had is no end of the content", func(t *testing.T, b *bench) { // F2, F22
		b = start(t, &broken{Store: b.store, after: 100_000, lost: true})
		defer b.close()
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(200, -1, io.NopCloser(iotest.HalfReader(bytes.NewReader(content)))), nil
		})
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		synctest.Wait()
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	t.Run("a client that stops does not stop the others", func(t *testing.T) { // F19
		synctest.Test(t, func(t *testing.T) {
			b := start(t, &broken{Store: new(mem.Store), draft: store.ErrFull})
			defer b.close()
			b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
				time.Sleep(time.Second)
				return whole(content)(ctx, r)
			})
			go func() {
				stuck, err := b.src.Get(t.Context(), request("/a"))
				if assert.NoError(t, err) {
					time.Sleep(time.Minute)
					_, err = io.ReadAll(stuck.Body)
					assert.Error(t, err)
					stuck.Body.Close()
				}
			}()
			got, _ := b.get(t, request("/a"))
			assert.True(t, bytes.Equal(content, got))
			time.Sleep(2 * time.Minute)
		})
	})
	t.Run("after five errors in a row the store is left alone for a while", func(t *testing.T) { // F23
		synctest.Test(t, func(t *testing.T) {
			s := &broken{Store: new(mem.Store), draft: errors.New("input/output error")}
			b := start(t, s)
			defer b.close()
			b.set(whole(content[:100]))
			for range 20 {
				b.get(t, request("/a"))
			}
			assert.EqualValues(t, 5, s.made.Load())
			time.Sleep(31 * time.Second)
			s.draft, s.after = nil, 1<<30
			b.get(t, request("/a"))
			synctest.Wait()
			assert.True(t, b.isStored(t, request("/a")), "the probe")
		})
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, new(mem.Store))
		pw := piped(b.origin, 6)
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		pw.Write([]byte("abc"))
		go func() {
			_, err := io.ReadAll(resp.Body)
			assert.Error(t, err)
			resp.Body.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		begin := time.Now()
		require.NoError(t, b.cache.Close(ctx))
		assert.Equal(t, 30*time.Second, time.Since(begin), "flights with readers have their time")
	})
}
