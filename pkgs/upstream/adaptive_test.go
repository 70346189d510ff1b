package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// firsts are the times to the first byte of n requests, sorted. Between them it pauses.
func firsts(t testing.TB, g *Group, n int, pause time.Duration) []time.Duration {
	t.Helper()
	var all []time.Duration
	for range n {
		start := time.Now()
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		_, err = io.ReadFull(res.Body, make([]byte, 1))
		require.NoError(t, err)
		all = append(all, time.Since(start))
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		res.Body.Close()
		time.Sleep(pause)
	}
	slices.Sort(all)
	return all
}

// around are mirrors of 20, 60 and 200 ms, and another one among them.
func around(place int, dead http.HandlerFunc) []http.HandlerFunc {
	var handlers []http.HandlerFunc
	for _, d := range []time.Duration{200, 20, 60} {
		handlers = append(handlers, late(d*time.Millisecond, says(200, "x")))
	}
	return slices.Insert(handlers, place, dead)
}

func TestNearlyAsFastAsTheFastest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		place int
		dead  http.HandlerFunc
	}{{"silent", 0, silent}, {"silent, last", 3, silent}, {"cut", 1, abort}, {"ill", 2, says(503, "")}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bubble(t, Options{}, around(test.place, test.dead)...)
				firsts(t, g, 20, 100*time.Millisecond)
				before := g.Stats()
				all := firsts(t, g, 300, 100*time.Millisecond)
				assert.LessOrEqual(t, all[150], 22*time.Millisecond)
				assert.LessOrEqual(t, all[297], 22*time.Millisecond)
				after := g.Stats()
				assert.EqualValues(t, 300, after.Requests-before.Requests)
				assert.LessOrEqual(t, after.Asked-before.Asked, int64(330))
				assert.GreaterOrEqual(t, after.Explorations-before.Explorations, int64(6))
			})
		})
	}
}

// The times of real connections, and what upstream is asked a miss.
func BenchmarkFirstByte(b *testing.B) {
	var bases []string
	for _, h := range around(0, silent) {
		bases = append(bases, origin(b, h).URL)
	}
	g := join(b, Options{Mirrors: mirrors(b, bases...)})
	alone := join(b, Options{Mirrors: mirrors(b, bases[2])})
	firsts(b, g, 20, 0)
	firsts(b, alone, 20, 0)
	before := g.Stats()
	ours := firsts(b, g, b.N, 0)
	fastest := firsts(b, alone, b.N, 0)
	after := g.Stats()
	at := func(all []time.Duration, share float64) float64 { return all[int(share*float64(len(all)-1))].Seconds() }
	b.ReportMetric(at(ours, .5)/at(fastest, .5), "median/fastest")
	b.ReportMetric(at(ours, .99)/at(fastest, .99), "p99/fastest")
	b.ReportMetric(float64(after.Asked-before.Asked)/float64(after.Requests-before.Requests), "asked/miss")
}

func TestTheBestChanges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change http.HandlerFunc
		worst  time.Duration
	}{
		{"silent", silent, 400 * time.Millisecond},
		{"slow", late(2*time.Second, says(200, "x")), 400 * time.Millisecond},
		{"cut", abort, 200 * time.Millisecond},
		{"ill", says(500, ""), 200 * time.Millisecond},
		{"busy", says(429, "", "Retry-After", "30"), 200 * time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var changed atomic.Bool
				well := late(20*time.Millisecond, says(200, "x"))
				g := bubble(t, Options{}, late(60*time.Millisecond, says(200, "x")), late(200*time.Millisecond, says(200, "x")),
					func(w http.ResponseWriter, r *http.Request) {
						if changed.Load() {
							test.change(w, r)
							return
						}
						well(w, r)
					})
				all := firsts(t, g, 100, 100*time.Millisecond)
				assert.Equal(t, 20*time.Millisecond, all[50])
				changed.Store(true)
				all = firsts(t, g, 100, 100*time.Millisecond)
				assert.LessOrEqual(t, all[99], test.worst)
				assert.LessOrEqual(t, all[90], 66*time.Millisecond)
				changed.Store(false)
				firsts(t, g, 300, 100*time.Millisecond) // found out by exploring
				all = firsts(t, g, 100, 100*time.Millisecond)
				assert.LessOrEqual(t, all[90], 22*time.Millisecond, "it is the best again")
				s := g.Stats()
				assert.LessOrEqual(t, s.Hedges, s.Requests/10)
				assert.LessOrEqual(t, s.Asked, s.Requests*115/100)
			})
		})
	}
}

func TestHedgesAreFew(t *testing.T) { // even if all of them are erratic
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		erratic := func(w http.ResponseWriter, r *http.Request) {
			d := 20 * time.Millisecond
			if n.Add(7)%5 == 0 {
				d = 90 * time.Millisecond
			}
			late(d, says(200, "x"))(w, r)
		}
		g := bubble(t, Options{}, erratic, erratic, erratic)
		firsts(t, g, 1000, 10*time.Millisecond)
		s := g.Stats()
		assert.LessOrEqual(t, s.Asked, int64(1000*1.1+20))
	})
}

func TestAllPaused(t *testing.T) { // F15
	synctest.Test(t, func(t *testing.T) {
		for n := range 2 {
			busy := says(429, "", "Retry-After", "30")
			g := bubble(t, Options{}, []http.HandlerFunc{busy, busy}[n:]...)
			assert.Equal(t, 30*time.Second, failure(t, g, request("/a")).RetryAfter)
			time.Sleep(20 * time.Second)
			e := failure(t, g, request("/a"))
			assert.Equal(t, 503, e.Status)
			assert.InDelta(t, 10, e.RetryAfter.Seconds(), 1)
			assert.EqualValues(t, 2-n, g.Stats().Asked)
			time.Sleep(10 * time.Second)
			failure(t, g, request("/a"))
			assert.EqualValues(t, 4-2*n, g.Stats().Asked)
		}
	})
}

func TestPausedHasNoVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, says(404, ""), says(429, "", "Retry-After", "30"))
		assert.Equal(t, 502, failure(t, g, request("/a")).Status, "it was asked")
		res, _ := get(t, g, request("/a"))
		assert.Equal(t, 404, res.Entry.Status)
		time.Sleep(30 * time.Second)
		assert.Equal(t, 502, failure(t, g, request("/a")).Status)
	})
}

func TestOutageOfEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out atomic.Bool
		flaky := func(d time.Duration) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if out.Load() {
					abort(w, r)
				}
				late(d, says(200, "x"))(w, r)
			}
		}
		g := bubble(t, Options{}, flaky(20*time.Millisecond), flaky(60*time.Millisecond), flaky(200*time.Millisecond))
		firsts(t, g, 50, 100*time.Millisecond)
		out.Store(true)
		for range 100 {
			failure(t, g, request("/a"))
			time.Sleep(time.Second)
		}
		out.Store(false)
		firsts(t, g, 1, 0)
		time.Sleep(firstTrip)
		for _, m := range g.Stats().Mirrors {
			assert.NotEqual(t, "open", m.Breaker)
		}
		all := firsts(t, g, 200, 100*time.Millisecond)
		assert.LessOrEqual(t, all[100], 22*time.Millisecond)
	})
}

func TestNameThatDoesNotResolve(t *testing.T) { // F41
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, says(200, "0"), late(20*time.Millisecond, says(200, "1")))
		var asked int
		back := g.mirrors[0].dialer
		g.mirrors[0].dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			asked++
			return nil, &net.DNSError{Err: "no such host", Name: "m0", IsNotFound: true}
		}
		for range 10 {
			_, text := get(t, g, request("/a"))
			assert.Equal(t, "1", text)
		}
		assert.Equal(t, 1, asked)
		g.mirrors[0].dialer = back
		time.Sleep(dnsTrip)
		firsts(t, g, 200, 100*time.Millisecond)
		assert.Equal(t, "closed", g.Stats().Mirrors[0].Breaker)
		_, text := get(t, g, request("/a"))
		assert.Equal(t, "0", text)
	})
}

func TestOnlyItsOwnMirrorVouches(t *testing.T) { // for an entry without a strong validator
	synctest.Test(t, func(t *testing.T) {
		well := func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(304)
			}
		}
		g := bubble(t, Options{}, late(20*time.Millisecond, well), late(30*time.Millisecond, well), late(10*time.Millisecond, well))
		for range 10 {
			get(t, g, request("/a"))
		}
		before := g.Stats().Asked
		for range 50 {
			req := request("/a")
			req.Validate = &exchange.Entry{Mirror: "http://m1", Header: http.Header{"Etag": {`W/"a"`}}}
			res, _ := get(t, g, req)
			assert.Equal(t, 304, res.Entry.Status)
			assert.Equal(t, "http://m1", res.Entry.Mirror)
		}
		assert.LessOrEqual(t, g.Stats().Asked-before, int64(55))
	})
}

// A mirror that is seldom asked is not blamed for the connection that it needs
// each time, and keeps it where that is cheap.
func TestConnectionsAreNotTheMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, late(20*time.Millisecond, says(200, "x")), late(30*time.Millisecond, says(200, "x", "Content-Length", "1")))
		dialled := 0
		dial := g.mirrors[1].dialer
		g.mirrors[1].dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled++
			time.Sleep(200 * time.Millisecond)
			return dial(ctx, network, addr)
		}
		firsts(t, g, 1, time.Second)
		assert.Equal(t, 30*time.Millisecond, g.Records()[1].First)
		firsts(t, g, 200, time.Second)
		assert.Equal(t, 1, dialled)
	})
}
