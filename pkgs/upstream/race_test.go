package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// streams sends size bytes, piece by piece, each after a pause, and counts them.
func streams(letter string, size, piece int, pause time.Duration, sent *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.(http.Flusher).Flush()
		for at := 0; at < size; at += piece {
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
			n, err := io.WriteString(w, strings.Repeat(letter, min(piece, size-at)))
			w.(http.Flusher).Flush()
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}
}

func TestRaceByBandwidth(t *testing.T) { // M031 at a hundredth of its size
	tests := []struct {
		firstChunk int64
		winner     string
	}{{300 << 10, "2"}, {1, "1"}}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.firstChunk), func(t *testing.T) {
			spool, files := spooling(t)
			synctest.Test(t, func(t *testing.T) {
				var slow, fast atomic.Int64
				const size = 400 << 10
				g := bubble(t, Options{Race: Race{Mode: All, FirstChunk: test.firstChunk}, Spool: spool},
					streams("1", size, 10<<10, 10*time.Millisecond, &slow),
					late(50*time.Millisecond, streams("2", size, 100<<10, 0, &fast)))
				start := time.Now()
				res, err := g.Get(t.Context(), request("/a"))
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(start), 60*time.Millisecond)
				if test.winner == "2" {
					synctest.Wait() // the loser has had its last byte
					before := slow.Load()
					time.Sleep(time.Second)
					assert.Equal(t, before, slow.Load(), "losers are cancelled at once")
				}
				text, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				assert.True(t, string(text) == strings.Repeat(test.winner, size))
				require.NoError(t, res.Body.Close())
			})
			assert.LessOrEqual(t, files.Load(), int64(2))
		})
	}
}

func TestSmallBodyNeedsNoFirstChunk(t *testing.T) { // M032
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		g := bubble(t, Options{Race: Race{Mode: All}}, silent, says(200, strings.Repeat("x", 10<<10)))
		_, text := get(t, g, request("/a"))
		assert.Len(t, text, 10<<10)
		assert.Zero(t, time.Since(start))
	})
}

func TestFailOver(t *testing.T) { // M034, M035, F7, F9
	for _, mode := range []string{Adaptive, All, Ordered} {
		t.Run(mode, func(t *testing.T) {
			good := origin(t, late(50*time.Millisecond, says(200, "good")))
			bad := []string{refusing(t), origin(t, says(503, "no")).URL, origin(t, says(404, "no")).URL,
				origin(t, says(403, "no")).URL, origin(t, says(206, "no")).URL, origin(t, says(429, "no")).URL,
				origin(t, says(302, "no")).URL, origin(t, says(200, "no", "Content-Range", "bytes 0-1/2")).URL}
			g := join(t, Options{Mirrors: mirrors(t, append(bad, good.URL)...), Race: Race{Mode: mode}})
			res, text := get(t, g, request("/a"))
			assert.Equal(t, "good", text)
			assert.Equal(t, good.URL, res.Entry.Mirror)
		})
	}
}

func TestCutDuringTheRaceIsAFailure(t *testing.T) {
	spool, _ := spooling(t)
	synctest.Test(t, func(t *testing.T) {
		cut := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "200000")
			io.WriteString(w, strings.Repeat("1", 100000))
			panic(http.ErrAbortHandler)
		}
		var sent atomic.Int64
		g := bubble(t, Options{Race: Race{Mode: All, FirstChunk: 150000}, Spool: spool},
			cut, late(time.Second, streams("2", 200000, 50000, 0, &sent)))
		_, text := get(t, g, request("/a"))
		assert.True(t, text == strings.Repeat("2", 200000))
	})
}

func TestTiers(t *testing.T) { // M081
	ranked := func(list ...int) (o Options) {
		for _, p := range list {
			o.Mirrors = append(o.Mirrors, Mirror{Priorities: []Priority{{regexp.MustCompile("^/dists/"), p}, {nil, -p}}})
		}
		return o
	}
	tests := []struct {
		name, target, want string
		mode               string
		first, second      http.HandlerFunc
		after              time.Duration
	}{
		{"the higher is waited for", "/dists/x", "1", Adaptive, late(time.Second, says(200, "1")), says(200, "2"), time.Second},
		{"another rule for another path", "/pool/x", "2", Adaptive, says(200, "1"), late(time.Second, says(200, "2")), time.Second},
		{"it fails", "/dists/x", "2", Adaptive, late(time.Second, says(500, "1")), says(200, "2"), time.Second},
		{"it is slow", "/dists/x", "2", Adaptive, late(time.Minute, says(200, "1")), says(200, "2"), patience},
		{"it is slow, yet faster", "/dists/x", "1", Adaptive, late(3*time.Second, says(200, "1")), late(5*time.Second, says(200, "2")), 3 * time.Second},
		{"it moves", "/dists/x", "111", All, streams("1", 3, 1, time.Second, new(atomic.Int64)), says(200, "2"), 3 * time.Second},
		{"it stalls", "/dists/x", "2", All, streams("1", 3, 1, time.Minute, new(atomic.Int64)), says(200, "2"), 2 * patience},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := ranked(10, 0)
				o.Race.Mode = test.mode
				g := bubble(t, o, test.first, test.second)
				start := time.Now()
				_, text := get(t, g, request(test.target))
				assert.Equal(t, test.want, text)
				assert.Equal(t, test.after, time.Since(start))
			})
		})
	}
}

func TestOrderedAsksOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{Race: Race{Mode: Ordered}}, late(time.Second, says(200, "1")),
			func(http.ResponseWriter, *http.Request) { t.Error("asked") })
		_, text := get(t, g, request("/a"))
		assert.Equal(t, "1", text)
	})
}

func TestHungMirrorDelaysNoOtherPath(t *testing.T) { // T07
	synctest.Test(t, func(t *testing.T) {
		o := Options{Mirrors: make([]Mirror, 2)}
		o.Mirrors[0].Path.Match, o.Mirrors[0].Path.Replace = regexp.MustCompile("^/a"), "/a"
		o.Mirrors[0].MaxConnections = 2
		o.Mirrors[1].Path.Match, o.Mirrors[1].Path.Replace = regexp.MustCompile("^/b"), "/b"
		g := bubble(t, o, silent, says(200, "b"))
		var hung sync.WaitGroup
		for range 10 {
			hung.Go(func() {
				start := time.Now()
				e := failure(t, g, request("/a"))
				assert.Equal(t, 504, e.Status)
				assert.LessOrEqual(t, time.Since(start), 23*time.Second, "waiting for a connection counts")
			})
		}
		synctest.Wait()
		start := time.Now()
		_, text := get(t, g, request("/b"))
		assert.Equal(t, "b", text)
		assert.Zero(t, time.Since(start))
		hung.Wait()
	})
}

func TestLosersAreNeitherDrainedNorBlamed(t *testing.T) { // F8
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		g := bubble(t, Options{}, says(200, "good"), func(w http.ResponseWriter, r *http.Request) {
			for range 1000 { // a pipe has no buffer: what is written was read
				n, err := w.Write(make([]byte, 4<<10))
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		})
		_, text := get(t, g, request("/a"))
		synctest.Wait()
		if text == "good" { // else the other one was first, which is as well
			assert.LessOrEqual(t, sent.Load(), int64(64<<10))
		}
		for _, m := range g.mirrors {
			assert.Zero(t, m.failures.Load())
		}
	})
}

// closing records that it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestDiscardLetsGo(t *testing.T) {
	body := new(closing)
	l := &leg{body: body}
	l.ctx, l.cancel = context.WithCancelCause(t.Context())
	l.discard()
	assert.True(t, body.closed)
	assert.ErrorIs(t, context.Cause(l.ctx), errLost)
}

func TestThousandRacesLeaveNothing(t *testing.T) { // F8
	spool, _ := spooling(t)
	list := mirrors(t, origin(t, says(200, strings.Repeat("1", 20000))).URL,
		origin(t, late(time.Millisecond, says(200, strings.Repeat("2", 20000)))).URL, origin(t, silent).URL)
	descriptors := func() int {
		l, _ := os.ReadDir("/proc/self/fd")
		return len(l)
	}
	for _, mode := range []string{Adaptive, All} {
		t.Run(mode, func(t *testing.T) {
			goroutines, fds := runtime.NumGoroutine(), descriptors()
			g, err := New(Options{Mirrors: list, Race: Race{Mode: mode}, Spool: spool})
			require.NoError(t, err)
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					for i := range 50 {
						res, err := g.Get(t.Context(), request("/a"))
						if !assert.NoError(t, err) {
							return
						}
						if i%2 == 0 {
							io.Copy(io.Discard, res.Body)
						}
						res.Body.Close()
					}
				})
			}
			all.Wait()
			g.Close()
			assert.Eventually(t, func() bool {
				g.Close() // connections become idle a little later
				return runtime.NumGoroutine() <= goroutines+5 && descriptors() <= fds+5
			}, 2*time.Second, 20*time.Millisecond)
			for _, m := range g.mirrors {
				assert.Zero(t, m.failures.Load(), m.base)
			}
		})
	}
}

func TestCandidatesStaySmall(t *testing.T) { // T09
	spool, files := spooling(t)
	var bases []string
	for range 5 {
		bases = append(bases, origin(t, says(200, strings.Repeat("x", 1024))).URL)
	}
	g := join(t, Options{Mirrors: mirrors(t, bases...), Race: Race{Mode: All}, Spool: spool})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			res, err := g.Get(t.Context(), request("/a"))
			if assert.NoError(t, err) {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), "all that was ever allocated, servers included")
	assert.Zero(t, files.Load())
}

func TestSpool(t *testing.T) {
	content := make([]byte, 1<<20+17)
	for i := range content {
		content[i] = byte(i * i >> 3)
	}
	real, files := spooling(t)
	broken := func() (*os.File, error) { return nil, os.ErrPermission }
	full := func() (*os.File, error) { return os.OpenFile("/dev/full", os.O_RDWR, 0) }
	tests := []struct {
		name       string
		open       func() (*os.File, error)
		firstChunk int64
		size       int64 // known
		stored     int64
	}{
		{"memory only", real, 10 << 10, -1, 0},
		{"file", real, 500 << 10, -1, 448 << 10},
		{"file, size known", real, 500 << 10, int64(len(content)), 448 << 10},
		{"all of it", real, 2 << 20, -1, 1 << 20},
		{"none", nil, 500 << 10, -1, 0},
		{"broken", broken, 500 << 10, -1, 0},
		{"full", full, 500 << 10, -1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := &Options{Spool: test.open}
			o.setDefaults()
			l := &leg{options: o, firstChunk: test.firstChunk, entry: &exchange.Entry{Size: test.size}}
			l.ctx, l.cancel = context.WithCancelCause(t.Context())
			l.outcome = good
			l.body = io.NopCloser(bytes.NewReader(content))
			l.collect()
			require.Equal(t, good, l.outcome)
			s := l.body.(*spooled)
			assert.LessOrEqual(t, cap(s.memory), maxMemory)
			assert.Equal(t, test.stored, s.stored)
			got, err := io.ReadAll(l.body)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content, got))
			require.NoError(t, l.body.Close())
		})
	}
	assert.NotZero(t, files.Load())
}
