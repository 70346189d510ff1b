package cache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

// A source that begins where the client does: what is there first, then the
// beginning, or that beside if a reader waits for it. A MiB takes a second.
type begunSource struct {
	content []byte
	lanes   bool // several mirrors bring it
	slow    bool // sections take a minute
	cut     int  // after so many bytes of an answer it ends early; 0: it does not

	mu       sync.Mutex
	read     int // bytes, in all
	sections int // bytes of sections
}

func (s *begunSource) reply(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	resp := answer(200, int64(len(s.content)), nil)
	b := &begunBody{source: s, ctx: ctx, missing: []exchange.Span{{From: 0, To: int64(len(s.content))}}}
	if p := req.Resume; p != nil {
		same := *p.Entry
		same.Received = time.Now()
		resp.Entry, resp.Resumed, b.missing = &same, true, p.Missing()
	} else if from := req.From; from > 0 {
		resp.From = from
		b.missing = []exchange.Span{{From: from, To: int64(len(s.content))}, {From: 0, To: from}}
	}
	resp.Body, resp.Ranges = b, b
	return resp, nil
}

type begunBody struct {
	source  *begunSource
	ctx     context.Context
	missing []exchange.Span // in the order in which they come
	off     int64

	mu  sync.Mutex
	got int
}

const piece = 128 << 10

// more is called for n bytes that come.
func (b *begunBody) more(n int) error {
	select {
	case <-time.After(time.Duration(n) * time.Second / mib):
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.got += n; b.source.cut > 0 && b.got > b.source.cut {
		return errCut
	}
	b.source.mu.Lock()
	defer b.source.mu.Unlock()
	b.source.read += n
	return nil
}

func (b *begunBody) Read(p []byte) (int, error) {
	if b.off == int64(len(b.source.content)) {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), piece)], b.source.content[b.off:])
	if err := b.more(n); err != nil {
		return 0, err
	}
	b.off += int64(n)
	return n, nil
}

func (b *begunBody) Close() error     { return nil }
func (b *begunBody) Rewind(off int64) { b.off = off }
func (b *begunBody) Striped() bool    { return b.source.lanes }

func (b *begunBody) Section(_ context.Context, off, n int64) (io.ReadCloser, error) {
	b.source.mu.Lock()
	defer b.source.mu.Unlock()
	b.source.sections += int(n)
	r := io.Reader(bytes.NewReader(b.source.content[off : off+n]))
	if b.source.slow {
		r = &tardy{r}
	}
	return io.NopCloser(r), nil
}

// tardy comes after a minute.
type tardy struct{ io.Reader }

func (r *tardy) Read(p []byte) (int, error) {
	time.Sleep(time.Minute)
	return r.Reader.Read(p)
}

func (b *begunBody) CopyParts(ctx context.Context, w io.WriterAt, arrived func(off, n int64), wanted func() int64) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ended, done := make(chan struct{}), make(chan struct{})
	span := func(s exchange.Span) {
		for off := s.From; off < s.To && ctx.Err() == nil; off += piece {
			p := b.source.content[off:min(off+piece, s.To)]
			if err := b.more(len(p)); err != nil {
				fail(err)
			} else if _, err := w.WriteAt(p, off); err != nil {
				fail(err)
			} else {
				arrived(off, int64(len(p)))
			}
		}
	}
	go func() {
		defer close(done)
		for waits := true; waits; {
			select {
			case <-ended:
				waits = false
			case <-time.After(10 * time.Millisecond):
				at := wanted()
				waits = at < 0 || at >= b.missing[0].From
			}
		}
		for _, s := range b.missing[1:] {
			span(s)
		}
	}()
	span(b.missing[0])
	close(ended)
	<-done
	return context.Cause(ctx)
}

// counts are the bytes that were read, and those of sections.
func (s *begunSource) counts() (read, sections int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read, s.sections
}

// ranging is a request whose client wants a range.
func ranging(path, ranges string, fields ...string) *exchange.Request {
	req := request(path)
	req.Client.Method, req.Client.Header = http.MethodGet, http.Header{"Range": {ranges}}
	for i := 0; i < len(fields); i += 2 {
		req.Client.Header.Add(fields[i], fields[i+1])
	}
	return req
}

// part is n bytes of a response at an offset, as the edge reads them, and how long they took.
func (b *bench) part(t *testing.T, req *exchange.Request, off, n int64) ([]byte, time.Duration) {
	t.Helper()
	begun := time.Now()
	resp, err := b.src.Get(t.Context(), req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = resp.Body.(io.Seeker).Seek(off, io.SeekStart)
	require.NoError(t, err)
	var out bytes.Buffer
	_, err = resp.Body.(interface {
		CopyTo(io.Writer, int64) (int64, error)
	}).CopyTo(&out, n)
	require.NoError(t, err)
	return out.Bytes(), time.Since(begun)
}

// begins runs a test with a cache before a source that begins in the middle.
func begins(t *testing.T, name string, f func(t *testing.T, b *bench, s *begunSource)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, new(keepingStore))
			defer b.cache.Close(t.Context())
			s := &begunSource{content: eight()}
			b.set(s.reply)
			f(t, b, s)
		})
	})
}

// A flight begins where its client does (F10).
func TestBeginInTheMiddle(t *testing.T) {
	const from = 5 * mib
	far := func() *exchange.Request { return ranging("/a", "bytes=5242880-5243879") }
	begins(t, "the range first, then the rest, and no byte twice", func(t *testing.T, b *bench, s *begunSource) {
		got, took := b.part(t, far(), from, 1000)
		assert.Equal(t, s.content[from:from+1000], got)
		assert.LessOrEqual(t, took, 200*time.Millisecond)
		assert.EqualValues(t, from, b.last().From)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		whole, resp := b.get(t, request("/a"))
		assert.True(t, resp.Outcome.Hit, "the transfer went on behind")
		assert.True(t, bytes.Equal(s.content, whole))
		assert.Equal(t, digestOf(s.content), resp.Entry.Digest)
		assert.Equal(t, 1, b.hits())
		read, sections := s.counts()
		assert.Equal(t, len(s.content), read)
		assert.Zero(t, sections)
	})
	begins(t, "a range of all the rest", func(t *testing.T, b *bench, s *begunSource) {
		got, took := b.part(t, ranging("/a", "bytes=5242880-"), from, 3*mib)
		assert.True(t, bytes.Equal(s.content[from:], got))
		assert.LessOrEqual(t, took, 3100*time.Millisecond)
		_, sections := s.counts()
		assert.Zero(t, sections)
	})
	begins(t, "who wants the whole does not wait for the end", func(t *testing.T, b *bench, s *begunSource) {
		resp, err := b.src.Get(t.Context(), far())
		require.NoError(t, err)
		defer resp.Body.Close()
		time.Sleep(time.Second)
		begun := time.Now()
		other, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer other.Body.Close()
		_, err = io.ReadFull(other.Body, make([]byte, 1000))
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(begun), 200*time.Millisecond)
		_, err = io.Copy(io.Discard, other.Body)
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(begun), 5100*time.Millisecond)
		read, _ := s.counts()
		assert.Equal(t, len(s.content), read)
	})
	begins(t, "who has not begun to read waits for nothing", func(t *testing.T, b *bench, s *begunSource) {
		resp, err := b.src.Get(t.Context(), far())
		require.NoError(t, err)
		defer resp.Body.Close()
		time.Sleep(2 * time.Second)
		read, _ := s.counts()
		assert.LessOrEqual(t, read, 2*mib, "the beginning did not come beside")
	})
	begins(t, "other ranges", func(t *testing.T, b *bench, s *begunSource) {
		resp, err := b.src.Get(t.Context(), far())
		require.NoError(t, err)
		defer resp.Body.Close()
		time.Sleep(time.Second + time.Millisecond)
		for _, test := range []struct {
			off     int64
			section bool
		}{
			{3 * mib, true},          // far from the beginning
			{from, false},            // there
			{from + mib, false},      // near what is there
			{from + 5*mib/2, true},   // far behind it
			{from + mib/2, false},    // there by now
			{8*mib - 1000, true},     // likewise
			{mib - 1000, false},      // near the beginning, which comes now
			{3*mib + mib/2, true},    // far from it still
			{from + mib + 10, false}, // there
		} {
			_, before := s.counts()
			got, _ := b.part(t, ranging("/a", "bytes=0-"), test.off, 1000)
			assert.Equal(t, s.content[test.off:test.off+1000], got)
			_, after := s.counts()
			assert.Equal(t, test.section, after > before, test.off)
		}
		assert.Equal(t, 1, b.hits())
	})
	begins(t, "several mirrors bring what readers wait for, without sections", func(t *testing.T, b *bench, s *begunSource) {
		s.lanes = true
		resp, err := b.src.Get(t.Context(), far())
		require.NoError(t, err)
		defer resp.Body.Close()
		got, _ := b.part(t, ranging("/a", "bytes=0-"), 3*mib, 1000)
		assert.Equal(t, s.content[3*mib:3*mib+1000], got)
		_, sections := s.counts()
		assert.Zero(t, sections)
	})
	begins(t, "the disk fails", func(t *testing.T, b *bench, s *begunSource) {
		for _, after := range []int64{0, 1, from + mib, 8*mib - 1} {
			disk := &broken{Store: new(mem.Store), after: after}
			if after == 0 {
				disk.draft = store.ErrFull
			}
			b := start(t, disk)
			b.set(s.reply)
			got, _ := b.part(t, ranging("/a", "bytes=5242880-"), from, 3*mib)
			assert.True(t, bytes.Equal(s.content[from:], got), after)
			if after == 0 {
				begun, _ := s.counts()
				got, took := b.part(t, ranging("/b", "bytes=5242880-"), from, 3*mib)
				assert.True(t, bytes.Equal(s.content[from:], got))
				assert.Less(t, took, time.Second, "it does not wait for what passes by")
				assert.Zero(t, b.last().From, "what was begun there would not be kept")
				read, _ := s.counts()
				assert.Less(t, read-begun, mib)
			}
			b.close()
			assert.False(t, b.isStored(t, request("/a")))
		}
	})
	begins(t, "a full disk, and a slow range beside the whole", func(t *testing.T, _ *bench, s *begunSource) {
		b := start(t, &broken{Store: new(mem.Store), draft: store.ErrFull})
		defer b.close()
		b.set(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			time.Sleep(100 * time.Millisecond) // until both wait
			return s.reply(ctx, req)
		})
		s.slow = true
		var wg sync.WaitGroup
		wg.Go(func() {
			got, _ := b.part(t, far(), from, 1000)
			assert.Equal(t, s.content[from:from+1000], got)
		})
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		begun := time.Now()
		_, err = io.ReadFull(resp.Body, make([]byte, mib))
		require.NoError(t, err)
		assert.Less(t, time.Since(begun), 2*time.Second, "it is not held up")
		resp.Body.Close()
		wg.Wait()
	})
	begins(t, "an answer that begins at the beginning", func(t *testing.T, b *bench, s *begunSource) {
		b.set(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			ask := *req
			ask.From = 0
			return s.reply(ctx, &ask)
		})
		got, _ := b.part(t, far(), from, 1000)
		assert.Equal(t, s.content[from:from+1000], got)
		_, sections := s.counts()
		assert.NotZero(t, sections)
		time.Sleep(9 * time.Second)
		assert.True(t, b.isStored(t, request("/a")))
	})
	begins(t, "one that somebody reads on its way", func(t *testing.T, b *bench, s *begunSource) {
		b.set(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := s.reply(ctx, req)
			resp.Ranges = nil // as a filter does that reads all of it
			return resp, err
		})
		got, took := b.part(t, far(), from, 1000)
		assert.Equal(t, s.content[from:from+1000], got)
		assert.GreaterOrEqual(t, took, 5*time.Second)
		whole, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, whole))
	})
}

// Who is asked to begin in the middle, and when.
func TestWhereAFlightBegins(t *testing.T) {
	for _, test := range []struct {
		name string
		req  *exchange.Request
		from int64
	}{
		{"far", ranging("/a", "bytes=1048576-1048577"), mib},
		{"far, to the end", ranging("/a", "Bytes=1048576-"), mib},
		{"near", ranging("/a", "bytes=1048575-1048577"), 0},
		{"the last bytes", ranging("/a", "bytes=-5"), 0},
		{"several ranges", ranging("/a", "bytes=1048576-1048577,5-6"), 0},
		{"two fields", ranging("/a", "bytes=1048576-1048577", "Range", "bytes=2000000-"), 0},
		{"another unit", ranging("/a", "rows=1048576-1048577"), 0},
		{"backwards", ranging("/a", "bytes=1048576-1048575"), 0},
		{"a condition", ranging("/a", "bytes=1048576-1048577", "If-Range", `"v1"`), 0},
		{"beyond what was promised", func() *exchange.Request {
			req := ranging("/a", "bytes=8388608-")
			req.Size = 8 * mib
			return req
		}(), 0},
		{"within what was promised", func() *exchange.Request {
			req := ranging("/a", "bytes=8388607-")
			req.Size = 8 * mib
			return req
		}(), 8*mib - 1},
		{"no range", request("/a"), 0},
		{"a request of ours", func() *exchange.Request {
			req := ranging("/a", "bytes=1048576-1048577")
			req.Client.Method = http.MethodPost
			return req
		}(), 0},
	} {
		begins(t, test.name, func(t *testing.T, b *bench, s *begunSource) {
			b.get(t, test.req)
			assert.Equal(t, test.from, b.last().From)
		})
	}
	begins(t, "a head", func(t *testing.T, b *bench, s *begunSource) {
		req := ranging("/a", "bytes=1048576-1048577")
		req.Head = true
		b.get(t, req)
		assert.Zero(t, b.last().From)
	})
	begins(t, "a validation", func(t *testing.T, b *bench, s *begunSource) {
		b.get(t, request("/a"))
		time.Sleep(2 * time.Hour)
		b.get(t, ranging("/a", "bytes=1048576-1048577"))
		assert.Equal(t, 2, b.hits())
		assert.Zero(t, b.last().From)
	})
	begins(t, "what is there in part is gone on with", func(t *testing.T, b *bench, s *begunSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		s.cut = 0
		got, _ := b.get(t, ranging("/a", "bytes=5242880-"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.Zero(t, b.last().From)
		assert.NotNil(t, b.last().Resume)
	})
	t.Run("a disk that was full", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			disk := &broken{Store: new(mem.Store), after: 100 * mib, draft: store.ErrFull}
			b := start(t, disk)
			defer b.close()
			b.set((&begunSource{content: eight()}).reply)
			b.get(t, request("/a"))
			disk.draft = nil
			b.get(t, ranging("/b", "bytes=1048576-1048577"))
			assert.Zero(t, b.last().From, "it is full still, for all that is known")
			synctest.Wait()
			b.get(t, ranging("/c", "bytes=1048576-1048577"))
			assert.EqualValues(t, mib, b.last().From)
		})
	})
}

// What is known of the content proves it, whatever comes first (F4).
func TestBegunIsProved(t *testing.T) {
	begins(t, "the last bytes are there for who wants no more", func(t *testing.T, b *bench, s *begunSource) {
		req := ranging("/a", "bytes=8387608-")
		req.Digest = digestOf(s.content)
		got, took := b.part(t, req, 8*mib-1000, 1000)
		assert.Equal(t, s.content[8*mib-1000:], got)
		assert.LessOrEqual(t, took, 200*time.Millisecond)
		time.Sleep(9 * time.Second)
		_, resp := b.get(t, req)
		assert.True(t, resp.Outcome.Hit)
		assert.Equal(t, req.Digest, resp.Entry.Digest)
	})
	begins(t, "a wrong whole ends short of its end, and is not stored", func(t *testing.T, b *bench, s *begunSource) {
		good := s.content
		s.content = bytes.Clone(good)
		s.content[5] ^= 1
		req := ranging("/a", "bytes=5242880-5243879")
		req.Digest = digestOf(good)
		first, err := b.src.Get(t.Context(), req)
		require.NoError(t, err)
		defer first.Body.Close()
		time.Sleep(4 * time.Second) // the end is there
		b.set(refusing(&exchange.Error{Status: 502}))
		whole := request("/a")
		whole.Digest = req.Digest
		got := b.broken(t, whole)
		assert.LessOrEqual(t, len(got), 8*mib-64<<10, "the end was held back")
		synctest.Wait()
		assert.False(t, b.isStored(t, whole))
		assert.EqualValues(t, 1, b.cache.Stats().Wrong)
	})
}

// What a transfer that began in the middle had brought is gone on with (F1, F34).
func TestBegunIsKept(t *testing.T) {
	const from = 5 * mib
	for _, test := range []struct {
		name string
		cut  int
		have []exchange.Span
	}{
		{"in the tail", 2 * mib, []exchange.Span{{From: from, To: from + 2*mib}}},
		{"in the beginning", 4 * mib, []exchange.Span{{From: 0, To: mib}, {From: from, To: 8*mib - 64<<10}}},
	} {
		begins(t, test.name, func(t *testing.T, b *bench, s *begunSource) {
			s.cut = test.cut
			req := ranging("/a", "bytes=5242880-")
			req.Digest = digestOf(s.content)
			resp, err := b.src.Get(t.Context(), req)
			require.NoError(t, err)
			_, err = resp.Body.(io.Seeker).Seek(from, io.SeekStart)
			require.NoError(t, err)
			_, err = io.ReadAll(resp.Body)
			require.ErrorIs(t, err, errCut)
			resp.Body.Close()
			s.cut = 0
			got, _ := b.get(t, request("/a"))
			assert.True(t, bytes.Equal(s.content, got))
			assert.Equal(t, test.have, b.last().Resume.Have)
		})
	}
	begins(t, "a kill costs a few MiB", func(t *testing.T, b *bench, s *begunSource) {
		b.set((&begunSource{content: random(20 * mib)}).reply)
		resp, err := b.src.Get(t.Context(), ranging("/a", "bytes=5242880-"))
		require.NoError(t, err)
		defer resp.Body.Close()
		noted := func(after time.Duration) []exchange.Span {
			time.Sleep(after)
			kept := b.store.(*keepingStore)
			kept.mu.Lock()
			defer kept.mu.Unlock()
			return kept.noted
		}
		have := noted(10*time.Second + time.Millisecond)
		require.Len(t, have, 1)
		assert.EqualValues(t, from, have[0].From)
		assert.GreaterOrEqual(t, have[0].To, int64(from+6*mib), "of the tail")
		have = noted(9 * time.Second)
		require.Len(t, have, 2)
		assert.Zero(t, have[0].From, "and of the beginning")
	})
	begins(t, "the cache is closed", func(t *testing.T, b *bench, s *begunSource) {
		resp, err := b.src.Get(t.Context(), ranging("/a", "bytes=5242880-"))
		require.NoError(t, err)
		time.Sleep(2*time.Second + time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b.cache.Close(ctx)
		resp.Body.Close()
		_, part, _, err := b.store.(store.Resumer).Resume(t.Context(), request("/a").Key)
		require.NoError(t, err)
		assert.Equal(t, []exchange.Span{{From: from, To: from + 2*mib}}, part.Have)
	})
	begins(t, "upstream fails", func(t *testing.T, b *bench, s *begunSource) {
		b.set(refusing(errors.New("no route")))
		_, err := b.src.Get(t.Context(), ranging("/a", "bytes=5242880-"))
		assert.Error(t, err)
	})
}
