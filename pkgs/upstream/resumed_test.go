package upstream

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A listening origin remembers the conditions and ranges it was asked for.
type listening struct {
	ranged
	mu    sync.Mutex
	heard []string
	down  bool
}

func (s *listening) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.heard = append(s.heard, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
	s.mu.Unlock()
	if s.down {
		panic(http.ErrAbortHandler)
	}
	s.ranged.ServeHTTP(w, r)
}

func TestResume(t *testing.T) { // F1, F10
	const size = 4 << 20
	const n = size/2 + 5
	content, foreign := large(size, 1), large(size, 2)
	sum := sha256.Sum256(content)
	digest := exchange.NewDigest("sha256", sum[:])
	same, changed, weak := tagged(`"a"`), tagged(`"b"`), tagged(`W/"a"`)
	dated := http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}, "Date": {"Mon, 02 Jan 1995 16:04:05 GMT"}}
	later := http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:06 GMT"}}
	fresh := http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}, "Date": {"Mon, 02 Jan 1995 15:04:06 GMT"}}
	const span, whole = "bytes=2097157-", " "
	tests := []struct {
		name    string
		stored  http.Header // of the entry that is at hand in part; its mirror is the first
		digest  exchange.Digest
		mirrors []*listening
		heard   []string // by the mirror that wins
		from    string   // that mirror
		resumed bool
	}{
		{"equal tag", same, "", []*listening{{ranged: ranged{content: content, header: same}}}, []string{span + ` "a"`}, "http://m0", true},
		{"equal tag on another mirror", same, "", []*listening{{down: true}, {ranged: ranged{content: content, header: same}}}, []string{span + ` "a"`}, "http://m1", true},
		{"a digest", nil, digest, []*listening{{ranged: ranged{content: content}}}, []string{span + " "}, "http://m0", true},
		{"a digest, another mirror and tag", same, digest, []*listening{{down: true}, {ranged: ranged{content: content, header: changed}}}, []string{span + " "}, "http://m1", true},
		{"a digest, the same mirror and another tag", same, digest, []*listening{{ranged: ranged{content: content, header: changed}}}, []string{span + " ", whole}, "http://m0", false},
		{"a date", dated, "", []*listening{{ranged: ranged{content: content, header: dated}}}, []string{span + " Mon, 02 Jan 1995 15:04:05 GMT"}, "http://m0", true},
		{"a date that is too near", fresh, "", []*listening{{ranged: ranged{content: content, header: dated}}}, []string{whole}, "http://m0", false},
		{"a date, another mirror", dated, "", []*listening{{down: true}, {ranged: ranged{content: content, header: dated}}}, []string{whole}, "http://m1", false},
		{"it has changed", same, "", []*listening{{ranged: ranged{content: foreign, header: changed}}}, []string{span + ` "a"`, whole}, "http://m0", false},
		{"it has changed, by date", dated, "", []*listening{{ranged: ranged{content: foreign, header: later}}}, []string{span + " Mon, 02 Jan 1995 15:04:05 GMT", whole}, "http://m0", false},
		{"another length", same, "", []*listening{{ranged: ranged{content: content[:size-1], header: same}}}, []string{span + ` "a"`, whole}, "http://m0", false},
		{"a weak tag", weak, "", []*listening{{ranged: ranged{content: content, header: weak}}}, []string{whole}, "http://m0", false},
		{"no validator", nil, "", []*listening{{ranged: ranged{content: content}}}, []string{whole}, "http://m0", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var handlers []http.HandlerFunc
				for _, m := range test.mirrors {
					m.mu.Lock()
					m.heard = nil
					m.mu.Unlock()
					handlers = append(handlers, m.ServeHTTP)
				}
				g := bubble(t, Options{Race: Race{Switch: true, Width: 1}}, handlers...)
				req := request("/a")
				req.Digest = test.digest
				stored := &exchange.Entry{Key: req.Key, Status: 200, Header: test.stored, Size: size, Mirror: "http://m0", Received: time.Now().Add(-time.Hour)}
				req.Resume = &exchange.Part{Entry: stored, Have: []exchange.Span{{From: 0, To: n}}}
				res, err := g.Get(t.Context(), req)
				require.NoError(t, err)
				defer res.Body.Close()
				winner := test.mirrors[slices.Index(g.Mirrors(), test.from)]
				assert.Equal(t, test.heard, winner.heard)
				require.Equal(t, test.resumed, res.Resumed)
				want := winner.content
				if res.Resumed {
					assert.Equal(t, stored.Header, res.Entry.Header)
					assert.Equal(t, 200, res.Entry.Status)
					assert.EqualValues(t, size, res.Entry.Size)
					assert.WithinDuration(t, time.Now(), res.Entry.Received, time.Second)
					res.Ranges.Rewind(n)
					want = want[n:]
				}
				got, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(want, got))
				if blend, ok := res.Body.(exchange.Blend); ok {
					assert.Equal(t, []exchange.Share{{Mirror: test.from, Bytes: int64(len(want))}}, blend.Shares())
				}
				assert.Len(t, winner.heard, len(test.heard), "nothing more was asked")
			})
		})
	}
	t.Run("who knows nothing of a part reads the whole", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := &listening{ranged: ranged{content: content, header: same}}
			g := bubble(t, Options{Race: Race{Switch: true}}, m.ServeHTTP)
			req := request("/a")
			req.Resume = &exchange.Part{Entry: &exchange.Entry{Status: 200, Header: same, Size: size, Mirror: "http://m0"}, Have: []exchange.Span{{From: 0, To: n}}}
			res, got := get(t, g, req)
			assert.True(t, res.Resumed)
			assert.True(t, string(content) == got)
		})
	})
	t.Run("nobody can be asked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := &listening{down: true}
			g := bubble(t, Options{Race: Race{Switch: true}}, m.ServeHTTP)
			req := request("/a")
			req.Resume = &exchange.Part{Entry: &exchange.Entry{Status: 200, Header: same, Size: size, Mirror: "http://m0"}, Have: []exchange.Span{{From: 0, To: n}}}
			_, err := g.Get(t.Context(), req)
			require.Error(t, err)
			for _, h := range m.heard {
				assert.Contains(t, h, "bytes=", "and the whole is not asked for either")
			}
		})
	})
}

// Of content with holes only those are asked for, from one mirror or several.
func TestResumeStriped(t *testing.T) {
	const size = 8 << 20
	content := large(size, 1)
	have := []exchange.Span{{From: 0, To: 2 << 20}, {From: 3 << 20, To: 5 << 20}, {From: 6 << 20, To: 7 << 20}}
	for _, test := range []struct {
		name string
		have []exchange.Span
		n    int
	}{
		{"one mirror", have, 1},
		{"three mirrors", have, 3},
		{"the beginning is missing", have[1:], 2},
		{"only the end is missing", []exchange.Span{{From: 0, To: size - 100}}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var m []*paced
				var handlers []http.HandlerFunc
				for range test.n {
					m = append(m, newPaced(content, `"a"`, 4*mega))
					handlers = append(handlers, m[len(m)-1].ServeHTTP)
				}
				g := bubble(t, Options{Race: Race{Switch: true, Width: 1, Stripe: Stripe{MinSize: size, Part: mega / 2}}}, handlers...)
				req := request("/a")
				part := &exchange.Part{Entry: &exchange.Entry{Status: 200, Header: tagged(`"a"`), Size: size, Mirror: "http://m0"}, Have: test.have}
				req.Resume = part
				res, err := g.Get(t.Context(), req)
				require.NoError(t, err)
				defer res.Body.Close()
				require.True(t, res.Resumed)
				w := newSink(size)
				missing := int64(0)
				for _, h := range test.have {
					copy(w.b[h.From:h.To], content[h.From:h.To])
				}
				for _, h := range part.Missing() {
					missing += h.To - h.From
				}
				require.NoError(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
				assert.True(t, bytes.Equal(content, w.b))
				assert.Equal(t, missing, w.arrived)
				shared := int64(0)
				for _, s := range res.Ranges.(exchange.Blend).Shares() {
					shared += s.Bytes
				}
				assert.Equal(t, missing, shared)
				sent := 0
				for _, p := range m {
					sent += p.sent
				}
				assert.LessOrEqual(t, sent, int(missing)+stealCost+64<<10)
			})
		})
	}
}

// Mirrors that are doubted are asked last, and nothing is mixed while there are any.
func TestDoubt(t *testing.T) {
	const size = 8 << 20
	content := large(size, 1)
	synctest.Test(t, func(t *testing.T) {
		var m []*paced
		var handlers []http.HandlerFunc
		for range 4 {
			m = append(m, newPaced(content, `"a"`, 4*mega))
			handlers = append(handlers, m[len(m)-1].ServeHTTP)
		}
		g := bubble(t, Options{Race: Race{Switch: true, Stripe: Stripe{MinSize: size}}}, handlers...)
		req := request("/a")
		req.Doubt = []string{"http://m0", "http://m1"}
		res, err := g.Get(t.Context(), req)
		require.NoError(t, err)
		assert.Contains(t, []string{"http://m2", "http://m3"}, res.Entry.Mirror)
		assert.False(t, res.Ranges.Striped())
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got))
		require.NoError(t, res.Body.Close())

		req.Avoid = []string{"http://m2", "http://m3"}
		res, err = g.Get(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, "http://m0", res.Entry.Mirror)
		require.NoError(t, res.Body.Close())

		m[0].content = content[:0]
		m[0].noRanges, m[0].header = true, http.Header{"Content-Range": {"none"}} // no answer at all
		res, err = g.Get(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, "http://m1", res.Entry.Mirror)
		require.NoError(t, res.Body.Close())

		m[1].dies = size / 2 // and nobody takes over but itself
		res, err = g.Get(t.Context(), req)
		require.NoError(t, err)
		got, err = io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got))
		assert.Equal(t, []exchange.Share{{Mirror: "http://m1", Bytes: size}}, res.Body.(exchange.Blend).Shares())
		require.NoError(t, res.Body.Close())
	})
}
