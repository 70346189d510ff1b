package cacheproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func newFills(all, client int) *fills {
	return &fills{limits: func() *Fills { return &Fills{All: all, PerClient: client} }, clients: map[netip.Addr]int{}}
}

// TestFills: who finds no room waits its turn, behind nobody who could not go
// anyway, and not for ever.
func TestFills(t *testing.T) {
	greedy, modest := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	synctest.Test(t, func(t *testing.T) {
		f := newFills(3, 2)
		var ends []func()
		for range 2 {
			end, err := f.begin(t.Context(), greedy)
			require.NoError(t, err)
			ends = append(ends, end)
		}
		waits := make(chan error, 10)
		for range 2 {
			go func() {
				end, err := f.begin(t.Context(), greedy)
				if err == nil {
					defer end()
				}
				waits <- err
			}()
		}
		synctest.Wait()
		assert.Len(t, f.queue, 2)
		end, err := f.begin(t.Context(), modest)
		require.NoError(t, err, "the other client passes by those who wait")
		_, err = f.begin(canceled(t), modest)
		require.ErrorIs(t, err, context.Canceled)
		end()
		end() // once
		ends[0]()
		assert.NoError(t, <-waits)
		assert.NoError(t, <-waits)
		synctest.Wait()
		assert.Equal(t, 1, f.all)

		ends[0], err = f.begin(t.Context(), greedy)
		require.NoError(t, err)
		began := time.Now()
		_, err = f.begin(t.Context(), greedy)
		var refusal *exchange.Error
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, 503, refusal.Status)
		assert.Equal(t, time.Second, refusal.RetryAfter)
		assert.Equal(t, fillWait, time.Since(began))
		assert.EqualValues(t, 1, f.refusedClient.Load())
		assert.Empty(t, f.queue)
		ends[0]()
		ends[1]()
		assert.Zero(t, f.all)
		assert.Empty(t, f.clients)
	})
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestFillsInAll: the bound of all is one for all, those without an address too.
func TestFillsInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFills(1, 1)
		end, err := f.begin(t.Context(), netip.Addr{})
		require.NoError(t, err)
		_, err = f.begin(t.Context(), netip.MustParseAddr("192.0.2.1"))
		require.Error(t, err)
		assert.EqualValues(t, 1, f.refusedAll.Load())
		end()
	})
}

// TestServerFills: a client with all its fills under way waits, another does not,
// and a transfer that is shared is one.
func TestServerFills(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Length", "3")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "abc")
	}))
	t.Cleanup(origin.Close)
	s := serverOf(t, "limits: {fills: {per-client: 2}}\nupstream: [{server: '"+origin.URL+"'}]", io.Discard)
	done := make(chan string, 10)
	get := func(client, path string) {
		r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		r.RemoteAddr = client + ":1"
		s.ServeHTTP(w, r)
		done <- w.Body.String()
	}
	for _, path := range []string{"/a", "/b", "/c", "/a"} {
		go get("192.0.2.1", path)
	}
	require.Eventually(t, func() bool { return s.Stats().Fills.Waiting == 1 && asked.Load() == 2 }, 5*time.Second, time.Millisecond)
	go get("192.0.2.2", "/d")
	require.Eventually(t, func() bool { return asked.Load() == 3 }, 5*time.Second, time.Millisecond)
	assert.Equal(t, 3, s.Stats().Fills.Now)
	close(release)
	for range 5 {
		assert.Equal(t, "abc", <-done)
	}
	require.Eventually(t, func() bool { return s.Stats().Fills.Now == 0 }, 5*time.Second, time.Millisecond)
	assert.EqualValues(t, 4, asked.Load())
}

// TestBounded: room comes back with the end of a body, its close, an error, and
// the end of the request.
func TestBounded(t *testing.T) {
	fail := errors.New("no")
	next := roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/fail" {
			return nil, fail
		}
		return &http.Response{Body: io.NopCloser(strings.NewReader("x"))}, nil
	})
	b := bounded(next, 1)
	request := func(ctx context.Context, path string) *http.Request {
		return httptest.NewRequestWithContext(ctx, "GET", path, nil)
	}
	_, err := b.RoundTrip(request(t.Context(), "/fail"))
	require.ErrorIs(t, err, fail)
	resp, err := b.RoundTrip(request(t.Context(), "/"))
	require.NoError(t, err)
	_, err = b.RoundTrip(request(canceled(t), "/"))
	require.ErrorIs(t, err, context.Canceled)
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp, err = b.RoundTrip(request(t.Context(), "/"))
	require.NoError(t, err)
	resp.Body.Close()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = b.RoundTrip(request(ctx, "/"))
	require.NoError(t, err)
	cancel()
	_, err = b.RoundTrip(request(t.Context(), "/"))
	require.NoError(t, err)
}
