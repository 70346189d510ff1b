package upstream

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
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

// object is content whose every byte says where it is.
func object(size int, seed uint64) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := 0; i+8 <= size; i += 8 {
		v := r.Uint64()
		for k := range 8 {
			b[i+k] = byte(v >> (8 * k))
		}
	}
	return b
}

// A faulty origin serves an object with ranges, and from a byte on does
// something else.
type faulty struct {
	content []byte
	header  http.Header
	piece   int           // 0: 64 KiB
	pause   time.Duration // after each piece

	at    atomic.Int64 // of the fault; 0: none
	fault func(w http.ResponseWriter, r *http.Request, rest []byte)
	asked atomic.Int64 // ranges
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, status := 0, 200
	for name, values := range f.header {
		w.Header()[name] = values
	}
	if s, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		f.asked.Add(1)
		condition := r.Header.Get("If-Range")
		if condition == "" || condition == f.header.Get("Etag") || condition == f.header.Get("Last-Modified") {
			from, _ = strconv.Atoi(strings.TrimSuffix(s, "-"))
			status = 206
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(f.content)-1, len(f.content)))
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(f.content)-from))
	w.WriteHeader(status)
	piece := f.piece
	if piece == 0 {
		piece = 64 << 10
	}
	for off := from; off < len(f.content); {
		end := min(off+piece, len(f.content))
		at := int(f.at.Load())
		if at > 0 && off >= at {
			w.(http.Flusher).Flush()
			f.fault(w, r, f.content[off:])
			return
		}
		if at > off {
			end = min(end, at)
		}
		if _, err := w.Write(f.content[off:end]); err != nil {
			return
		}
		off = end
		if f.pause > 0 {
			w.(http.Flusher).Flush()
			select {
			case <-time.After(f.pause):
			case <-r.Context().Done():
				return
			}
		}
	}
}

func dies(http.ResponseWriter, *http.Request, []byte)         { panic(http.ErrAbortHandler) }
func stalls(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() }

func crawling(w http.ResponseWriter, r *http.Request, rest []byte) {
	for len(rest) > 0 {
		n := min(512, len(rest))
		if _, err := w.Write(rest[:n]); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		rest = rest[n:]
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

func tagged(etag string) http.Header { return http.Header{"Etag": {etag}} }

func TestSwitch(t *testing.T) { // F1, F4, F5, F6, F10
	t.Parallel()
	const size = 4 << 20
	content, foreign := object(size, 1), object(size, 2)
	digest := exchange.NewDigest("sha256", func() []byte { s := sha256.Sum256(content); return s[:] }())
	same := tagged(`"a"`)
	dated := http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}}
	faults := map[string]func(http.ResponseWriter, *http.Request, []byte){"dies": dies, "stalls": stalls, "crawls": crawling}
	tests := []struct {
		name   string
		digest exchange.Digest
		first  http.Header
		second *faulty // nil: there is none
		only   string  // of the faults
		whole  bool
		asked  int64 // the second
	}{
		{"equal tags", "", same, &faulty{content: content, header: same}, "", true, 1},
		{"other tags, a digest", digest, same, &faulty{content: content, header: tagged(`"b"`)}, "", true, 1},
		{"no tags, a digest", digest, nil, &faulty{content: content}, "", true, 1},
		{"other content", "", same, &faulty{content: foreign, header: tagged(`"b"`)}, "stalls", false, 1},
		{"other content of the same date", "", dated, &faulty{content: foreign, header: dated}, "stalls", false, 0},
		{"no validator", "", nil, &faulty{content: content}, "dies", false, 0},
		{"a weak one", "", tagged(`W/"a"`), &faulty{content: content, header: tagged(`W/"a"`)}, "dies", false, 0},
		{"another length, a digest", digest, nil, &faulty{content: content[:size-1]}, "stalls", false, 1},
	}
	for _, test := range tests {
		for name, fault := range faults {
			if test.only != "" && test.only != name {
				continue
			}
			t.Run(test.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					first := &faulty{content: content, header: test.first, piece: 32 << 10, pause: 10 * time.Millisecond, fault: fault}
					first.at.Store(size/2 + 123)
					g := bubble(t, Options{Race: Race{Switch: true, Width: 1}, Limits: Limits{Idle: 5 * time.Second}}, first.ServeHTTP, test.second.ServeHTTP)
					test.second.asked.Store(0)
					req := request("/a")
					req.Digest = test.digest
					start := time.Now()
					res, err := g.Get(t.Context(), req)
					require.NoError(t, err)
					defer res.Body.Close()
					got, err := io.ReadAll(res.Body)
					assert.True(t, string(got) == string(content[:len(got)]), "a mix")
					assert.Equal(t, "http://m0", res.Entry.Mirror)
					assert.Equal(t, test.asked, test.second.asked.Load())
					if !test.whole {
						assert.Error(t, err)
						_, again := res.Body.Read(make([]byte, 1))
						assert.Equal(t, err, again)
						return
					}
					require.NoError(t, err)
					assert.Len(t, got, size)
					assert.LessOrEqual(t, time.Since(start), 64*10*time.Millisecond+1500*time.Millisecond)
					s := g.Stats()
					assert.EqualValues(t, 1, s.Switches)
					assert.EqualValues(t, 1, s.Mirrors[0].Left)
					assert.EqualValues(t, 1, s.Mirrors[1].Resumed)
					assert.LessOrEqual(t, s.Mirrors[0].Bytes+s.Mirrors[1].Bytes, int64(size*103/100))
				})
			})
		}
	}
}

func TestSwitchToItself(t *testing.T) {
	content := object(1<<20, 1)
	tests := []struct {
		name   string
		header http.Header
		change http.Header // after the first cut
		whole  bool
	}{
		{"a tag", tagged(`"a"`), nil, true},
		{"an old date", http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}}, nil, true},
		{"a date of now", http.Header{"Last-Modified": {"now"}}, nil, false},
		{"nothing", nil, nil, false},
		{"a changed tag", tagged(`"a"`), tagged(`"b"`), false},
		{"a changed date", http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}}, http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:06 GMT"}}, false},
	}
	for _, test := range tests {
		for mirrors := 1; mirrors <= 2; mirrors++ { // the second one refuses
			t.Run(fmt.Sprint(test.name, mirrors), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					header := test.header.Clone()
					if header.Get("Last-Modified") == "now" {
						header.Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
					}
					f := &faulty{content: content, header: header}
					cuts := 0
					f.fault = func(http.ResponseWriter, *http.Request, []byte) {
						if cuts++; cuts == maxSwitches {
							f.at.Store(0)
						} else {
							f.at.Add(100000)
						}
						if test.change != nil {
							f.header = test.change
						}
						panic(http.ErrAbortHandler)
					}
					f.at.Store(300000)
					g := bubble(t, Options{Race: Race{Switch: true}}, []http.HandlerFunc{f.ServeHTTP, says(500, "")}[:mirrors]...)
					res, err := g.Get(t.Context(), request("/a"))
					require.NoError(t, err)
					defer res.Body.Close()
					got, err := io.ReadAll(res.Body)
					assert.True(t, string(got) == string(content[:len(got)]), "a mix")
					if test.whole {
						require.NoError(t, err)
						assert.Len(t, got, len(content))
						assert.Equal(t, maxSwitches, cuts)
					} else {
						assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
						assert.Equal(t, 1, cuts)
					}
				})
			})
		}
	}
}

func TestSwitchesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{content: object(1<<20, 1), header: tagged(`"a"`)}
		f.fault = func(http.ResponseWriter, *http.Request, []byte) {
			f.at.Add(1000)
			panic(http.ErrAbortHandler)
		}
		f.at.Store(1000)
		g := bubble(t, Options{Race: Race{Switch: true, Width: 1}}, f.ServeHTTP, f.ServeHTTP)
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		got, err := io.ReadAll(res.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.LessOrEqual(t, len(got), 1000*(2+maxSwitches))
		assert.LessOrEqual(t, f.asked.Load(), int64(2*maxSwitches))
		require.NoError(t, res.Body.Close())
	})
}

func TestSwitchIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{content: object(1<<20, 1), header: tagged(`"a"`), fault: stalls}
		f.at.Store(1000)
		g := bubble(t, Options{Race: Race{Switch: true, Width: 1}}, f.ServeHTTP, func(w http.ResponseWriter, r *http.Request) {
			silent(w, r)
		})
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			_, err := io.ReadAll(res.Body)
			done <- err
		}()
		time.Sleep(stalled + 100*time.Millisecond) // a search goes on
		start := time.Now()
		res.Body.Close()
		assert.Error(t, <-done)
		assert.Zero(t, time.Since(start))
	})
}

func TestStallThatEndsKeepsItsMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := object(1<<20, 1)
		f := &faulty{content: content, header: tagged(`"a"`), fault: func(w http.ResponseWriter, r *http.Request, rest []byte) {
			late(stalled+100*time.Millisecond, func(w http.ResponseWriter, r *http.Request) { w.Write(rest) })(w, r)
		}}
		f.at.Store(500000)
		g := bubble(t, Options{Race: Race{Switch: true, Width: 1}}, f.ServeHTTP,
			late(200*time.Millisecond, (&faulty{content: content, header: tagged(`"a"`)}).ServeHTTP))
		_, text := get(t, g, request("/a"))
		assert.True(t, text == string(content))
		assert.Zero(t, g.Stats().Switches)
	})
}

func TestContinuationCheck(t *testing.T) {
	c := continuation{from: 5, size: 10, etag: `"a"`, mirror: "m"}
	proved := c
	proved.digest = true
	tests := []struct {
		name    string
		c       continuation
		mirror  string
		length  int64
		headers []string
		ok      bool
	}{
		{"it is", c, "n", 5, []string{"Content-Range", "bytes 5-9/10", "Etag", `"a"`}, true},
		{"no tag", c, "n", 5, []string{"Content-Range", "bytes 5-9/10"}, false},
		{"weak tag", c, "n", 5, []string{"Content-Range", "bytes 5-9/10", "Etag", `W/"a"`}, false},
		{"other tag, proved", proved, "n", 5, []string{"Content-Range", "bytes 5-9/10", "Etag", `"b"`}, true},
		{"other tag of its own, proved", proved, "m", 5, []string{"Content-Range", "bytes 5-9/10", "Etag", `"b"`}, false},
		{"other offset", c, "n", 5, []string{"Content-Range", "bytes 4-9/10", "Etag", `"a"`}, false},
		{"part of it", c, "n", 4, []string{"Content-Range", "bytes 5-8/10", "Etag", `"a"`}, false},
		{"other size", c, "n", 6, []string{"Content-Range", "bytes 5-10/11", "Etag", `"a"`}, false},
		{"unknown size", c, "n", 5, []string{"Content-Range", "bytes 5-9/*", "Etag", `"a"`}, false},
		{"no length", c, "n", -1, []string{"Content-Range", "bytes 5-9/10", "Etag", `"a"`}, false},
		{"no range", c, "n", 5, []string{"Etag", `"a"`}, false},
		{"encoded", c, "n", 5, []string{"Content-Range", "bytes 5-9/10", "Etag", `"a"`, "Content-Encoding", "gzip"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			for i := 0; i < len(test.headers); i += 2 {
				h.Set(test.headers[i], test.headers[i+1])
			}
			err := test.c.check(test.mirror, &http.Response{ContentLength: test.length, Header: h})
			assert.Equal(t, test.ok, err == nil, "%v", err)
			assert.True(t, err == nil || errors.Is(err, errOther))
		})
	}
}

func TestCrawls(t *testing.T) {
	rated := Record{At: epoch, Rate: 50e6, Rated: 1}
	tests := []struct {
		name                  string
		others                []Record
		rate, peak, elsewhere float64
		left                  int64
		want                  bool
	}{
		{"promised", []Record{rated}, 1e6, 1e6, 0, 1e8, true},
		{"not so much", []Record{rated}, 20e6, 20e6, 0, 1e9, false},
		{"soon over", []Record{rated}, 1e6, 1e6, 0, 5e5, false},
		{"the line is full", []Record{rated}, 1e6, 1e6, 40e6, 1e8, false},
		{"hoped", []Record{{}}, 1e6, 20e6, 0, 1e8, true},
		{"always so", []Record{{}}, 1e6, 1e6, 0, 1e8, false},
		{"a bad one", []Record{rated.nameless(epoch, true)}, 1e6, 1e6, 0, 1e8, false},
		{"nobody", nil, 1e6, 1e8, 0, 1e8, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, crawls(test.others, epoch, test.rate, test.peak, test.elsewhere, test.left))
		})
	}
}

// The best mirror turns bad at a random byte of a large object: nobody notices.
// UPSTREAM_ROUNDS says how often; 200 MiB each, one after the other.
func TestRoundsOfSwitches(t *testing.T) {
	rounds, size, together := 20, 4<<20, 20
	if n, err := strconv.Atoi(os.Getenv("UPSTREAM_ROUNDS")); err == nil {
		rounds, size, together = n, 200<<20, 1
	}
	content := object(size, 3)
	want := sha256.Sum256(content)
	added := make([]time.Duration, rounds)
	var all sync.WaitGroup
	slots := make(chan struct{}, together)
	for round := range rounds {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			best := &faulty{content: content, header: tagged(`"a"`)}
			second := &faulty{content: content, header: tagged(`"a"`)}
			one, two := httptest.NewServer(best), httptest.NewServer(late(20*time.Millisecond, second.ServeHTTP))
			defer one.Close()
			defer two.Close()
			g := join(t, Options{Mirrors: mirrors(t, one.URL, two.URL), Race: Race{Switch: true}})
			defer g.Close()
			fetch := func() time.Duration {
				start := time.Now()
				res, err := g.Get(t.Context(), request("/a"))
				if !assert.NoError(t, err) {
					return 0
				}
				defer res.Body.Close()
				h := sha256.New()
				n, err := io.Copy(h, res.Body)
				assert.NoError(t, err, "round %d, fault at %d of kind %d", round, best.at.Load(), round%3)
				assert.EqualValues(t, size, n)
				assert.Equal(t, want[:], h.Sum(nil))
				return time.Since(start)
			}
			usual := fetch()
			best.fault = []func(http.ResponseWriter, *http.Request, []byte){dies, stalls, crawling}[round%3]
			best.at.Store(1 + rand.Int64N(int64(size-1)))
			added[round] = fetch() - usual
		})
	}
	all.Wait()
	worst := slices.Max(added)
	for kind, name := range []string{"dies", "stalls", "crawls"} {
		var of []time.Duration
		for i := kind; i < rounds; i += 3 {
			of = append(of, added[i])
		}
		slices.Sort(of)
		t.Logf("%d rounds of %d MiB, it %s: added %v as a rule, %v at worst", len(of), size>>20, name, of[len(of)/2], of[len(of)-1])
	}
	assert.LessOrEqual(t, worst, 1500*time.Millisecond)
}

// What the first mirror still sends while another is looked for is not had twice.
func TestSwitchWhileBytesCome(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	content := object(size, 1)
	tests := []struct {
		name     string
		fault    func(http.ResponseWriter, *http.Request, []byte)
		second   func(http.Handler) http.HandlerFunc
		switches int64
		whole    bool
	}{
		{"it crawls on", crawling, func(h http.Handler) http.HandlerFunc { return late(400*time.Millisecond, h.ServeHTTP) }, 1, true},
		{"it stalls, then dies", func(w http.ResponseWriter, r *http.Request, _ []byte) {
			late(stalled+200*time.Millisecond, abort)(w, r)
		}, func(h http.Handler) http.HandlerFunc { return late(400*time.Millisecond, h.ServeHTTP) }, 1, true},
		{"it stalls, sends a little, stalls", func(w http.ResponseWriter, r *http.Request, rest []byte) {
			late(stalled+200*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
				w.Write(rest[:1000])
				w.(http.Flusher).Flush()
				stalls(w, r, nil)
			})(w, r)
		}, func(h http.Handler) http.HandlerFunc { return late(400*time.Millisecond, h.ServeHTTP) }, 1, true},
		{"and nobody has it", stalls, func(http.Handler) http.HandlerFunc { return says(404, "none") }, 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := &faulty{content: content, header: tagged(`"a"`), piece: 32 << 10, pause: 10 * time.Millisecond, fault: test.fault}
				first.at.Store(size/2 + 123)
				second := &faulty{content: content, header: tagged(`"a"`)}
				g := bubble(t, Options{Race: Race{Switch: true, Width: 1}, Limits: Limits{Idle: 5 * time.Second}},
					first.ServeHTTP, test.second(second))
				res, err := g.Get(t.Context(), request("/a"))
				require.NoError(t, err)
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				assert.True(t, string(got) == string(content[:len(got)]), "a mix")
				assert.Equal(t, test.switches, g.Stats().Switches)
				if test.whole {
					require.NoError(t, err)
					assert.Len(t, got, size)
				} else {
					assert.Error(t, err)
				}
			})
		})
	}
}
