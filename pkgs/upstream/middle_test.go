package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// answering changes the answers to requests for a range.
func answering(ranges, others http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			ranges(w, r)
			return
		}
		others(w, r)
	}
}

// What upstream makes of a request whose client begins in the middle (F10).
func TestBeginInTheMiddle(t *testing.T) {
	const size, from = 3 << 20, 2<<20 + 5
	const span, whole = "bytes=2097157- ", " "
	content := large(size, 1)
	sum := sha256.Sum256(content)
	digest := exchange.NewDigest("sha256", sum[:])
	tag := tagged(`"a"`)
	dated := http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}, "Date": {"Mon, 02 Jan 1995 16:04:05 GMT"}}
	fresh := http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}, "Date": {"Mon, 02 Jan 1995 15:04:06 GMT"}}
	page := http.Header{"Etag": {`"a"`}, "Content-Type": {"text/html"}}
	nameless := http.Header{"Etag": {`"a"`}, "Connection": {"Etag"}}
	partial := func(says string, length int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Etag"] = []string{`"a"`}
			if says != "" {
				w.Header().Set("Content-Range", says)
			}
			w.Header().Set("Content-Length", strconv.Itoa(length))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(content[:length])
		}
	}
	whatever := &ranged{content: content, header: tag}
	tests := []struct {
		name   string
		change func(*exchange.Request, *Options) // nil: none
		header http.Header
		ranges http.HandlerFunc // answers ranges; nil: as the header says
		heard  []string
		from   int64
		status int // 0: no answer
	}{
		{"a tag", nil, tag, nil, []string{span}, from, 200},
		{"a date", nil, dated, nil, []string{span}, from, 200},
		{"a digest", func(r *exchange.Request, _ *Options) { r.Digest = digest }, nil, nil, []string{span}, from, 200},
		{"the size that was promised", func(r *exchange.Request, _ *Options) { r.Size = size }, tag, nil, []string{span}, from, 200},
		{"of an archive", func(r *exchange.Request, _ *Options) { r.Key.Path = "/a.deb" }, http.Header{"Etag": {`"a"`}, "Content-Type": {"application/x"}}, nil, []string{span}, from, 200},
		{"mode all", func(_ *exchange.Request, o *Options) { o.Race.Mode = All }, tag, nil, []string{span}, from, 200},

		{"nothing vouches for it", nil, nil, nil, []string{span, whole}, 0, 200},
		{"a weak tag", nil, tagged(`W/"a"`), nil, []string{span, whole}, 0, 200},
		{"a date that is too near", nil, fresh, nil, []string{span, whole}, 0, 200},
		{"a tag that is the connection's", nil, nameless, nil, []string{span}, 0, 0},
		{"there is less of it", func(r *exchange.Request, _ *Options) { r.From = size }, tag, nil, []string{"bytes=3145728- ", whole}, 0, 200},
		{"no ranges", nil, tag, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			whatever.ServeHTTP(w, r)
		}, []string{span}, 0, 200},
		{"another range", nil, tag, partial("bytes 0-999/3145728", 1000), []string{span, whole}, 0, 200},
		{"from elsewhere on", nil, tag, partial("bytes 2097158-3145727/3145728", size-from-1), []string{span, whole}, 0, 200},
		{"less than the rest", nil, tag, partial("bytes 2097157-2097256/3145728", 100), []string{span, whole}, 0, 200},
		{"of unknown length", nil, tag, partial("bytes 2097157-3145727/*", size-from), []string{span, whole}, 0, 200},
		{"another length", nil, tag, partial("bytes 2097157-3145727/3145728", size-from-1), []string{span, whole}, 0, 200},
		{"many parts", nil, tag, partial("", 1000), []string{span, whole}, 0, 200},
		{"what might be a page", func(r *exchange.Request, _ *Options) { r.Key.Path = "/a.deb" }, page, nil, []string{span, whole}, 0, 200},
		{"a range is a bad request", nil, tag, says(400, "no"), []string{span, whole}, 0, 200},
		{"another size than was promised", func(r *exchange.Request, _ *Options) { r.Size = size + 1 }, tag, nil, []string{span}, 0, 0},
		{"without what a checker demands", func(_ *exchange.Request, o *Options) {
			o.Mirrors = []Mirror{{Checkers: []Checker{{Headers: []HeaderCheck{{Name: "X-Good"}}}}}}
		}, tag, nil, []string{span}, 0, 0},
		{"absent", nil, tag, says(404, "no"), []string{span}, 0, 404},
		{"forbidden", nil, tag, says(403, "no"), []string{span}, 0, 403},
		{"busy", nil, tag, says(503, "later"), []string{span}, 0, 0},
		{"broken", nil, tag, says(500, "no"), []string{span}, 0, 0},

		{"nothing is joined", func(_ *exchange.Request, o *Options) { o.Race.Switch = false }, tag, nil, []string{whole}, 0, 200},
		{"a head", func(r *exchange.Request, _ *Options) { r.Head = true }, tag, nil, []string{whole}, 0, 200},
		{"a mirror that is doubted", func(r *exchange.Request, _ *Options) { r.Doubt = []string{"http://m0"} }, tag, nil, []string{whole}, 0, 200},
		{"a validation", func(r *exchange.Request, _ *Options) {
			r.Validate = &exchange.Entry{Header: tagged(`"b"`), Mirror: "http://m0"}
		}, tag, nil, []string{whole}, 0, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				origin := &listening{ranged: ranged{content: content, header: test.header}}
				h := origin.ServeHTTP
				if test.ranges != nil {
					h = answering(func(w http.ResponseWriter, r *http.Request) {
						origin.heard = append(origin.heard, r.Header.Get("Range")+" ")
						test.ranges(w, r)
					}, h)
				}
				o, req := Options{Race: Race{Switch: true}}, request("/a")
				if req.From = from; test.change != nil {
					test.change(req, &o)
				}
				g := bubble(t, o, h)
				res, err := g.Get(t.Context(), req)
				assert.Equal(t, test.heard, origin.heard)
				if test.status == 0 {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				defer res.Body.Close()
				assert.Equal(t, test.status, res.Entry.Status)
				assert.Equal(t, test.from, res.From)
				if test.status != 200 || req.Head {
					return
				}
				assert.EqualValues(t, size, res.Entry.Size)
				assert.Empty(t, res.Entry.Header["Content-Range"])
				assert.Equal(t, test.header.Get("Etag"), res.Entry.Header.Get("Etag"))
				if res.From > 0 {
					res.Ranges.Rewind(from)
				}
				got, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(content[test.from:], got))
				assert.Len(t, origin.heard, len(test.heard), "nothing more was asked")
			})
		})
	}
	t.Run("who knows nothing of it reads the whole", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{Race: Race{Switch: true}}, whatever.ServeHTTP)
			req := request("/a")
			req.From = from
			res, got := get(t, g, req)
			assert.EqualValues(t, from, res.From)
			assert.True(t, string(content) == got)
		})
	})
	t.Run("a mirror that sends all is asked for no section", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{Race: Race{Switch: true}}, says(200, "content", "Etag", `"a"`))
			req := request("/a")
			req.From = 5
			res, err := g.Get(t.Context(), req)
			require.NoError(t, err)
			defer res.Body.Close()
			_, err = res.Ranges.Section(t.Context(), 2, 3)
			assert.Error(t, err)
			assert.EqualValues(t, 1, g.Stats().Asked)
		})
	})
	t.Run("what does ranges does them, whatever it says", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{Race: Race{Switch: true}}, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Accept-Ranges"] = []string{"none"}
				partial("bytes 2097157-3145727/3145728", size-from)(w, r)
			})
			req := request("/a")
			req.From = from
			res, err := g.Get(t.Context(), req)
			require.NoError(t, err)
			defer res.Body.Close()
			assert.EqualValues(t, from, res.From)
			assert.NotNil(t, res.Ranges)
		})
	})
	t.Run("what was asked twice is late once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{Race: Race{Switch: true}}, late(100*time.Millisecond, (&ranged{content: content}).ServeHTTP))
			req := request("/a")
			req.From = from
			res, err := g.Get(t.Context(), req)
			require.NoError(t, err)
			res.Body.Close()
			assert.Equal(t, 100*time.Millisecond, g.Records()[0].First)
		})
	})
	t.Run("the next mirror, where the first is down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{Race: Race{Switch: true, Width: 1}}, abort, whatever.ServeHTTP)
			req := request("/a")
			req.From = from
			res, err := g.Get(t.Context(), req)
			require.NoError(t, err)
			defer res.Body.Close()
			assert.EqualValues(t, from, res.From)
			assert.Equal(t, "http://m1", res.Entry.Mirror)
		})
	})
}

// mute does not say that it does ranges.
type mute struct{ http.ResponseWriter }

func (w mute) WriteHeader(status int) {
	w.Header().Del("Accept-Ranges")
	w.ResponseWriter.WriteHeader(status)
}

// A course is the order in which content has come.
type course struct {
	*sink
	waits int64 // an offset that a reader waits for, while nothing has come there
	begun time.Time
	first map[int64]time.Duration // when each MiB had its first byte
	order []int64                 // of the MiB
}

func (c *course) note(off, n int64) {
	c.sink.note(off, n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.first[off>>20]; !ok {
		c.first[off>>20] = time.Since(c.begun)
		c.order = append(c.order, off>>20)
	}
}

func (c *course) wanted() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.first[c.waits>>20]; ok {
		return -1
	}
	return c.waits
}

// The whole of content that was begun in the middle comes from there on, then from
// the beginning, each byte once.
func TestCopyBegun(t *testing.T) {
	const size, from, rate = 8 << 20, 5 << 20, 4 * mega
	content := large(size, 1)
	second := func(n int) *paced { return newPaced(content, `"a"`, n) }
	tests := []struct {
		name    string
		mirrors []*paced
		stripe  int64 // from which size on; 0: never
		waits   int64
		order   []int64 // of the MiB; nil: not said
		asked   int64
		beside  time.Duration // before that the beginning was there; 0: not said
	}{
		{"one mirror", []*paced{second(rate)}, 0, -1, []int64{5, 6, 7, 0, 1, 2, 3, 4}, 2, 0},
		{"a reader waits for the beginning", []*paced{second(rate)}, 0, 0, nil, 2, 200 * time.Millisecond},
		{"a reader waits for the end", []*paced{second(rate)}, 0, 7 << 20, []int64{5, 6, 7, 0, 1, 2, 3, 4}, 2, 0},
		{"several mirrors, no stripes", []*paced{second(rate), second(rate)}, 0, -1, []int64{5, 6, 7, 0, 1, 2, 3, 4}, 2, 0},
		{"the first dies in the tail", []*paced{{dies: mega}, second(rate)}, 0, -1, []int64{5, 6, 7, 0, 1, 2, 3, 4}, 3, 0},
		{"the only one dies now and then", []*paced{{dies: 7 * mega / 2}}, 0, -1, []int64{5, 6, 7, 0, 1, 2, 3, 4}, 3, 0},
		{"stripes", []*paced{second(rate), second(rate), second(rate)}, size, -1, nil, 0, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var handlers []http.HandlerFunc
				for _, m := range test.mirrors {
					if m.pacer == nil {
						m.ranged, m.pacer = ranged{content: content, header: tagged(`"a"`)}, &pacer{rate: rate}
					}
					handlers = append(handlers, func(w http.ResponseWriter, r *http.Request) { m.ServeHTTP(mute{w}, r) })
				}
				stripe := Stripe{MinSize: -1}
				if test.stripe > 0 {
					stripe = Stripe{MinSize: test.stripe, Part: mega / 2}
				}
				g := bubble(t, Options{Race: Race{Switch: true, Width: 1, Stripe: stripe}}, handlers...)
				req := request("/a")
				req.From = from
				res, err := g.Get(t.Context(), req)
				require.NoError(t, err)
				defer res.Body.Close()
				require.EqualValues(t, from, res.From)
				assert.Equal(t, test.stripe > 0, res.Ranges.Striped())
				w := &course{sink: newSink(size), waits: test.waits, begun: time.Now(), first: map[int64]time.Duration{}}
				require.NoError(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
				assert.True(t, bytes.Equal(content, w.b))
				assert.EqualValues(t, size, w.arrived)
				assert.False(t, w.twice)
				assert.EqualValues(t, 5, w.order[0])
				if test.order != nil {
					assert.Equal(t, test.order, w.order)
				}
				if test.beside > 0 {
					assert.Less(t, w.first[0], test.beside)
				}
				if test.asked > 0 {
					assert.Equal(t, test.asked, g.Stats().Asked)
				}
				assert.Equal(t, test.stripe > 0, g.Stats().Stripes == 1)
				var sum int64
				for _, s := range res.Ranges.(exchange.Blend).Shares() {
					sum += s.Bytes
				}
				assert.EqualValues(t, size, sum, "all of it is on somebody's account")
			})
		})
	}
}

// A mirror that is asked for one thing at a time gets room from the tail for the
// beginning, though nobody reads what says that the tail has ended.
func TestCopyBegunOneAtATime(t *testing.T) {
	const size, from = 4 << 20, 3 << 20
	content := large(size, 1)
	synctest.Test(t, func(t *testing.T) {
		room := make(chan struct{}, 1)
		wrap := func(next http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				room <- struct{}{}
				res, err := next.RoundTrip(r)
				if err == nil {
					res.Body = &lodger{res.Body, sync.OnceFunc(func() { <-room })}
				}
				return res, err
			})
		}
		g := bubble(t, Options{Race: Race{Switch: true}, Mirrors: []Mirror{{Wrap: wrap}}}, newPaced(content, `"a"`, 4*mega).ServeHTTP)
		req := request("/a")
		req.From = from
		res, err := g.Get(t.Context(), req)
		require.NoError(t, err)
		defer res.Body.Close()
		w := newSink(size)
		require.NoError(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
		assert.True(t, bytes.Equal(content, w.b))
	})
}

// A lodger leaves when it is closed, or read beyond its last byte.
type lodger struct {
	io.ReadCloser
	leave func()
}

func (l *lodger) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if n > 0 {
		return n, nil
	}
	if err == io.EOF {
		l.leave()
	}
	return n, err
}

func (l *lodger) Close() error {
	l.leave()
	return l.ReadCloser.Close()
}

// What ends the transfer of content that was begun in the middle.
func TestCopyBegunFails(t *testing.T) {
	const size, from = 8 << 20, 5 << 20
	content := large(size, 1)
	begin := func(t *testing.T, ctx context.Context, h http.HandlerFunc) *exchange.Response {
		t.Cleanup(func() { time.Sleep(time.Second) }) // at last, until the origin notices
		g := bubble(t, Options{Race: Race{Switch: true}}, h)
		req := request("/a")
		req.From = from
		res, err := g.Get(ctx, req)
		require.NoError(t, err)
		require.EqualValues(t, from, res.From)
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	t.Run("no room, in the tail or in the beginning", func(t *testing.T) {
		for _, after := range []int64{mega, 4 * mega} {
			synctest.Test(t, func(t *testing.T) {
				res := begin(t, t.Context(), newPaced(content, `"a"`, 4*mega).ServeHTTP)
				w := newSink(size)
				w.fail = after
				require.ErrorIs(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted), errSink)
				res.Ranges.Rewind(1000)
				got, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(content[1000:], got))
			})
		}
	})
	t.Run("nobody has the beginning", func(t *testing.T) {
		for _, waits := range []int64{-1, 0} {
			synctest.Test(t, func(t *testing.T) {
				m := newPaced(content, `"a"`, 4*mega)
				asked := 0
				res := begin(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
					if asked++; asked > 1 {
						abort(w, r)
					}
					m.ServeHTTP(w, r)
				})
				w := &course{sink: newSink(size), waits: waits, begun: time.Now(), first: map[int64]time.Duration{}}
				require.Error(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
				if waits == 0 {
					assert.Less(t, time.Since(w.begun), 300*time.Millisecond, "who waits hears of it soon")
				}
			})
		}
	})
	t.Run("nobody has the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newPaced(content, `"a"`, 4*mega)
			m.dies = mega
			asked := 0
			res := begin(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked > 1 {
					abort(w, r)
				}
				m.ServeHTTP(w, r)
			})
			w := newSink(size)
			require.Error(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
			assert.Less(t, w.arrived, int64(size-from))
		})
	})
	t.Run("nobody has the end, and the beginning stalls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newPaced(content, `"a"`, 4*mega)
			m.dies = mega
			res := begin(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
				switch r.Header.Get("Range") {
				case "bytes=5242880-":
					m.ServeHTTP(w, r)
				case "bytes=0-5242879":
					stalls(w, r, nil)
				default:
					abort(w, r)
				}
			})
			w := &course{sink: newSink(size), begun: time.Now(), first: map[int64]time.Duration{}}
			require.Error(t, res.Ranges.CopyParts(t.Context(), w, w.note, w.wanted))
			assert.Less(t, time.Since(w.begun), 5*time.Second)
		})
	})
	t.Run("who asked has gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone := errors.New("gone")
			ctx, cancel := context.WithCancelCause(t.Context())
			res := begin(t, ctx, newPaced(content, `"a"`, 4*mega).ServeHTTP)
			time.AfterFunc(time.Second/2, func() { cancel(gone) })
			w := newSink(size)
			assert.ErrorIs(t, res.Ranges.CopyParts(ctx, w, w.note, w.wanted), gone)
		})
	})
}
