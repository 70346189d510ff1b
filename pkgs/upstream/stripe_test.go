package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A pacer lets so many bytes a second through, whoever sends them.
type pacer struct {
	rate int

	mu   sync.Mutex
	free time.Time // when the next byte may pass
	sent int
}

func (p *pacer) pass(n int) {
	p.mu.Lock()
	now := time.Now()
	if late := now.Add(-20 * time.Millisecond); p.free.Before(late) { // a sleep may take longer
		p.free = late
	}
	p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	p.sent += n
	wait := p.free.Sub(now)
	p.mu.Unlock()
	time.Sleep(wait)
}

// A paced origin has content, or dies after some bytes of each answer.
type paced struct {
	ranged
	*pacer
	dies     int                   // bytes; 0: it does not
	noRanges bool                  // though it says that it does them
	crawls   atomic.Pointer[pacer] // from now on; nil: it does not
}

// large is object, made faster.
func large(size int, seed byte) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func newPaced(content []byte, etag string, rate int) *paced {
	return &paced{ranged: ranged{content: content, header: tagged(etag)}, pacer: &pacer{rate: rate}}
}

func (p *paced) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.noRanges {
		r.Header.Del("Range")
	}
	p.ranged.ServeHTTP(&pacedWriter{w, p, 0}, r)
}

type pacedWriter struct {
	http.ResponseWriter
	origin *paced
	sent   int
}

func (w *pacedWriter) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		piece := b[n:min(n+16<<10, len(b))]
		if w.sent += len(piece); w.origin.dies > 0 && w.sent > w.origin.dies {
			panic(http.ErrAbortHandler)
		}
		pacer := w.origin.pacer
		if slow := w.origin.crawls.Load(); slow != nil {
			pacer = slow
		}
		pacer.pass(len(piece))
		var m int
		m, err = w.ResponseWriter.Write(piece)
		n += m
	}
	return n, err
}

// A sink is content whose parts have arrived, once each.
type sink struct {
	mu      sync.Mutex
	b       []byte
	arrived int64
	twice   bool
	fail    int64 // bytes until it does; 0: never
	gaps    bool  // a reader waits for the first gap
	slowest time.Duration
	last    time.Time
	next    int64
	have    map[int64]int64
}

var errSink = errors.New("no room")

func newSink(size int) *sink {
	return &sink{b: make([]byte, size), have: map[int64]int64{}, last: time.Now()}
}

func (s *sink) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 && s.arrived > s.fail {
		return 0, errSink
	}
	return copy(s.b[off:], p), nil
}

func (s *sink) note(off, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived += n
	_, s.twice = s.have[off]
	s.have[off] = n
	for s.have[s.next] > 0 {
		s.next += s.have[s.next]
		s.slowest = max(s.slowest, time.Since(s.last))
		s.last = time.Now()
	}
}

func (s *sink) wanted() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gaps {
		return -1
	}
	return s.next
}

// mega is a rate.
const mega = 1 << 20

func TestStripe(t *testing.T) { // F10
	t.Parallel()
	const size = 14 << 20
	content, foreign := large(size, 1), large(size, 2)
	sum := sha256.Sum256(content)
	digest := exchange.NewDigest("sha256", sum[:])
	four := func(change func(m []*paced)) func() []*paced {
		return func() []*paced {
			var m []*paced
			for range 4 {
				m = append(m, newPaced(content, `"a"`, 7*mega))
			}
			change(m)
			return m
		}
	}
	one := time.Second * size / (7 * mega)
	tests := []struct {
		name    string
		digest  exchange.Digest
		mirrors func() []*paced
		atMost  time.Duration
		unused  int // a mirror that brings nothing; 0: none
		alone   bool
	}{
		{"four", "", four(func([]*paced) {}), one * 2 / 5, 0, false},
		{"four of different tags, by digest", digest, four(func(m []*paced) { m[1].header, m[2].header = tagged(`"b"`), nil }), one * 2 / 5, 0, false},
		{"one is slow", "", four(func(m []*paced) { m[2].rate = mega / 7 }), one * 10 / 22, 0, false},
		{"the first is slow", "", four(func(m []*paced) { m[0].rate = mega / 7 }), one / 2, 0, false},
		{"one dies in each part", "", four(func(m []*paced) { m[1].dies = 420 << 10 }), one / 2, 0, false},
		{"the first dies", "", four(func(m []*paced) { m[0].dies = 420 << 10 }), one / 2, 0, false},
		{"one does no ranges", "", four(func(m []*paced) { m[1].noRanges = true }), one / 2, 0, false},
		{"one has other content", "", four(func(m []*paced) { m[3].content, m[3].header = foreign, tagged(`"b"`) }), one / 2, 3, false},
		{"one has more, by digest", digest, four(func(m []*paced) { m[3].content = append(foreign[:size:size], 1) }), one / 2, 3, false},
		{"only the first does ranges", "", four(func(m []*paced) { m[1].noRanges, m[2].noRanges, m[3].noRanges = true, true, true }), one * 11 / 10, 0, false},
		{"nobody does ranges after all", "", four(func(m []*paced) {
			for _, p := range m {
				p.noRanges = true
			}
		}), one * 11 / 10, 0, false},
		{"one line", "", four(func(m []*paced) {
			m[0].rate /= 2 // so that there is time to be alone
			m[1].pacer, m[2].pacer, m[3].pacer = m[0].pacer, m[0].pacer, m[0].pacer
		}), one * 22 / 10, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := test.mirrors()
				stripe := Stripe{MinSize: size, Part: mega}
				g := bubble(t, Options{Race: Race{Switch: true, Width: 1, Stripe: stripe}}, m[0].ServeHTTP, m[1].ServeHTTP, m[2].ServeHTTP, m[3].ServeHTTP)
				req := request("/a")
				req.Digest = test.digest
				res, err := g.Get(t.Context(), req)
				require.NoError(t, err)
				defer res.Body.Close()
				require.True(t, res.Ranges.Striped())
				begin, w := time.Now(), newSink(size)
				require.NoError(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
				took := time.Since(begin)
				assert.True(t, bytes.Equal(content, w.b), "a mix")
				assert.EqualValues(t, size, w.arrived)
				assert.False(t, w.twice)
				assert.LessOrEqual(t, took, test.atMost)
				var sum int64
				s := g.Stats()
				for _, ms := range s.Mirrors {
					sum += ms.Bytes
				}
				time.Sleep(time.Second) // until the origins notice
				t.Log(took, float64(one)/float64(took), "times;", float64(sum)/size, "of the bytes")
				assert.LessOrEqual(t, sum, int64(size*103/100))
				assert.EqualValues(t, 1, s.Stripes)
				assert.Equal(t, test.alone, s.Alone == 1)
				if test.alone {
					var most int64
					for _, ms := range s.Mirrors {
						most = max(most, ms.Bytes)
					}
					assert.Greater(t, most, int64(size/2), "the others rest")
				}
				if test.unused > 0 {
					assert.Zero(t, s.Mirrors[test.unused].Bytes)
				}
			})
		})
	}
}

// The one that goes on alone turns slow, or silent: the others come back.
func TestStripeIsNotLeftAlone(t *testing.T) {
	t.Parallel()
	const size, rate = 14 << 20, 7 * mega / 2
	content := large(size, 1)
	for _, test := range []struct {
		name string
		rate int
	}{{"it crawls", 50 << 10}, {"it stalls", 1}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				line := &pacer{rate: rate}
				var m []*paced
				var handlers []http.HandlerFunc
				for i := range 3 {
					m = append(m, newPaced(content, `"a"`, 0))
					m[i].pacer = line
					handlers = append(handlers, m[i].ServeHTTP)
				}
				g := bubble(t, Options{Race: Race{Switch: true, Width: 1, Stripe: Stripe{MinSize: size, Part: mega}}}, handlers...)
				res, err := g.Get(t.Context(), request("/a"))
				require.NoError(t, err)
				defer res.Body.Close()
				time.AfterFunc(2700*time.Millisecond, func() {
					assert.EqualValues(t, 1, g.Stats().Alone)
					before := g.Stats()
					time.Sleep(200 * time.Millisecond)
					after := g.Stats()
					for i := range m {
						if n := after.Mirrors[i].Bytes - before.Mirrors[i].Bytes; n > rate/10 {
							m[i].crawls.Store(&pacer{rate: test.rate})
						}
					}
				})
				begin, w := time.Now(), newSink(size)
				require.NoError(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
				took := time.Since(begin)
				assert.True(t, bytes.Equal(content, w.b))
				assert.LessOrEqual(t, took, size/rate*time.Second+1500*time.Millisecond)
				assert.Greater(t, took, 3*time.Second, "it did turn slow before the end")
				res.Body.Close()
				g.Close()
				time.Sleep(24 * time.Hour) // until the origins notice
			})
		})
	}
}

func TestStripeEnds(t *testing.T) {
	t.Parallel()
	const size = 14 << 20
	content := large(size, 1)
	setup := func(t *testing.T) (*Group, []*paced, *exchange.Response) {
		m := []*paced{newPaced(content, `"a"`, 7*mega), newPaced(content, `"a"`, 7*mega)}
		g := bubble(t, Options{Race: Race{Switch: true, Width: 1, Stripe: Stripe{MinSize: size, Part: mega}}}, m[0].ServeHTTP, m[1].ServeHTTP)
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		t.Cleanup(func() {
			res.Body.Close()
			time.Sleep(time.Second) // until the origins notice
		})
		require.True(t, res.Ranges.Striped())
		return g, m, res
	}
	t.Run("with the draft, and goes on alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, res := setup(t)
			w := newSink(size)
			w.fail = size / 2
			require.ErrorIs(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted), errSink)
			res.Ranges.Rewind(w.next)
			rest, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content, append(w.b[:w.next:w.next], rest...)))
		})
	})
	t.Run("with the last mirror", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, m, res := setup(t)
			m[0].dies, m[1].dies = 600<<10, 600<<10
			w := newSink(size)
			assert.ErrorIs(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted), io.ErrUnexpectedEOF)
			assert.Less(t, w.arrived, int64(size))
		})
	})
	t.Run("with whoever asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, res := setup(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("nobody waits")
			time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
			w := newSink(size)
			assert.ErrorIs(t, res.Ranges.CopyParts(ctx, w, w.note, w.wanted), why)
		})
	})
	t.Run("with the body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, res := setup(t)
			time.AfterFunc(300*time.Millisecond, func() { res.Body.Close() })
			w := newSink(size)
			assert.Error(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
		})
	})
}

func TestStripeFeedsReader(t *testing.T) {
	t.Parallel()
	const size = 14 << 20
	content := large(size, 1)
	synctest.Test(t, func(t *testing.T) {
		var m []*paced
		for range 4 {
			m = append(m, newPaced(content, `"a"`, 7*mega))
		}
		m[2].rate = mega / 7
		g := bubble(t, Options{Race: Race{Switch: true, Width: 1, Stripe: Stripe{MinSize: size, Part: mega}}}, m[0].ServeHTTP, m[1].ServeHTTP, m[2].ServeHTTP, m[3].ServeHTTP)
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer res.Body.Close()
		w := newSink(size)
		w.gaps = true
		require.NoError(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
		assert.True(t, bytes.Equal(content, w.b))
		time.Sleep(time.Second)
		assert.LessOrEqual(t, w.slowest, time.Second, "a reader has waited so long for a slow part")
	})
}

func TestNotStriped(t *testing.T) {
	content := object(1<<20, 1)
	good := newPaced(content, `"a"`, 100*mega)
	dated := newPaced(content, "", 100*mega)
	dated.header = http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}}
	tests := []struct {
		name    string
		race    Race
		mirrors []*paced
		want    bool
	}{
		{"striped", Race{Stripe: Stripe{MinSize: mega}}, []*paced{good, good}, true},
		{"too small", Race{Stripe: Stripe{MinSize: mega + 1}}, []*paced{good, good}, false},
		{"off", Race{Stripe: Stripe{MinSize: -1}}, []*paced{good, good}, false},
		{"one mirror", Race{Stripe: Stripe{MinSize: mega}}, []*paced{good}, false},
		{"a date", Race{Stripe: Stripe{MinSize: mega}}, []*paced{dated, dated}, false},
		{"one after another", Race{Mode: Ordered, Stripe: Stripe{MinSize: mega}}, []*paced{good, good}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.race.Switch = true
				var handlers []http.HandlerFunc
				for _, m := range test.mirrors {
					handlers = append(handlers, (&paced{ranged: ranged{content: m.content, header: m.header}, pacer: &pacer{rate: m.rate}}).ServeHTTP)
				}
				g := bubble(t, Options{Race: test.race}, handlers...)
				res, err := g.Get(t.Context(), request("/a"))
				require.NoError(t, err)
				assert.Equal(t, test.want, res.Ranges.Striped())
				res.Body.Close()
				time.Sleep(time.Second)
			})
		})
	}
}
