package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestShortBody(t *testing.T) { // F1, F2, F3
	tests := []struct {
		name, answer string
		err          error
		unproven     bool
		size         int64
	}{
		{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", io.ErrUnexpectedEOF, false, 10},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nshort", io.ErrUnexpectedEOF, false, -1},
		{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", io.ErrUnexpectedEOF, false, -1},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n", nil, false, -1},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nwho knows", nil, true, -1},
		{"1.0 until close", "HTTP/1.0 200 OK\r\n\r\nwho knows", nil, true, -1},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nwhole", nil, false, 5},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", nil, false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := join(t, Options{Mirrors: mirrors(t, raw(t, test.answer))})
			res, err := g.Get(t.Context(), request("/a"))
			require.NoError(t, err)
			defer res.Body.Close()
			assert.Equal(t, test.unproven, res.Unproven)
			assert.Equal(t, test.size, res.Entry.Size)
			_, err = io.ReadAll(res.Body)
			assert.ErrorIs(t, err, test.err)
			_, again := res.Body.Read(make([]byte, 1))
			if err != nil {
				assert.Equal(t, err, again, "an error stays")
				assert.EqualValues(t, 1, g.mirrors[0].failures.Load())
			}
		})
	}
}

func TestBodyThatStalls(t *testing.T) { // F5
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{Limits: Limits{Idle: 2 * time.Second}}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "short")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer res.Body.Close()
		time.Sleep(time.Minute) // the reader's own slowness is not the mirror's
		_, err = io.ReadFull(res.Body, make([]byte, 5))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		start := time.Now()
		_, err = res.Body.Read(make([]byte, 1))
		var e *exchange.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 504, e.Status)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestBodyRate(t *testing.T) { // F6
	tests := []struct {
		name   string
		piece  int // a second
		limits Limits
		cut    bool
	}{
		{"a trickle", 10, Limits{}, true},
		{"slow, but healthy", 50 << 10, Limits{}, false},
		{"no limit", 10, Limits{MinRate: -1}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bubble(t, Options{Limits: test.limits}, func(w http.ResponseWriter, r *http.Request) {
					for range 400 {
						io.WriteString(w, strings.Repeat("x", test.piece))
						w.(http.Flusher).Flush()
						select {
						case <-time.After(time.Second):
						case <-r.Context().Done():
							return
						}
					}
				})
				res, err := g.Get(t.Context(), request("/a"))
				require.NoError(t, err)
				defer res.Body.Close()
				start := time.Now()
				n, err := io.Copy(io.Discard, res.Body)
				if test.cut {
					var e *exchange.Error
					require.ErrorAs(t, err, &e)
					assert.Equal(t, 504, e.Status)
					assert.InDelta(t, 60, time.Since(start).Seconds(), 2)
					return
				}
				require.NoError(t, err)
				assert.EqualValues(t, 400*test.piece, n)
			})
		})
	}
}

func TestCloseInterruptsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, interrupt := range []func(*exchange.Response){
			func(res *exchange.Response) { res.Body.Close() },
			func(*exchange.Response) { cancel() },
		} {
			res, err := g.Get(ctx, request("/a"))
			require.NoError(t, err)
			failed := make(chan error)
			go func() {
				_, err := res.Body.Read(make([]byte, 1))
				failed <- err
			}()
			synctest.Wait()
			start := time.Now()
			interrupt(res)
			assert.Error(t, <-failed)
			assert.Zero(t, time.Since(start))
			res.Body.Close()
		}
		assert.Zero(t, g.mirrors[0].failures.Load())
	})
}

// sizes records how large the reads are that reach a connection.
type sizes struct {
	io.Reader
	largest int
}

func (s *sizes) Read(p []byte) (int, error) {
	s.largest = max(s.largest, len(p))
	return s.Reader.Read(p)
}

func TestReadsPassThrough(t *testing.T) {
	under := &sizes{Reader: strings.NewReader(strings.Repeat("x", 3<<20))}
	o := &Options{}
	o.setDefaults()
	l := &leg{options: o, req: request("/a"), candidate: candidate{mirror: &mirror{league: &league{}}}}
	l.ctx, l.cancel = context.WithCancelCause(t.Context())
	b := newBody(l, &response{Response: &http.Response{ContentLength: 3 << 20, Body: io.NopCloser(under)}})
	_, err := io.ReadFull(b, make([]byte, 1<<20))
	require.NoError(t, err)
	assert.Equal(t, 1<<20, under.largest)
	require.NoError(t, b.Close())
}
