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
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/cache"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

var errCut = errors.New("the connection was cut")

// A ranged source has content, and goes on with parts of it as upstream does.
// Each body ends early when so many bytes were read of it.
type rangedSource struct {
	content []byte
	etag    string
	mirror  string
	cut     int           // bytes of the next bodies, -1 for none at all; 0: none is cut
	block   chan struct{} // bodies wait for it after their first cut bytes, and are not cut; nil: they do not
	parts   bool          // comes in parts
	fickle  bool          // or does not, as it was asked last
	pause   time.Duration // after each MiB

	mu   sync.Mutex
	read int64 // bytes
}

func (s *rangedSource) reply(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	entry := &exchange.Entry{
		Status: 200, Size: int64(len(s.content)), Mirror: s.mirror, Header: http.Header{"Etag": {s.etag}},
		Requested: time.Now(), Received: time.Now(),
	}
	b := &rangedBody{source: s, ctx: ctx}
	resp := &exchange.Response{Entry: entry, Body: b, Ranges: b}
	if p := req.Resume; p != nil && (req.Digest != "" || p.Entry.Header.Get("Etag") == s.etag) && p.Entry.Size == entry.Size {
		same := *p.Entry
		same.Requested, same.Received = entry.Requested, entry.Received
		resp.Entry, resp.Resumed, b.missing = &same, true, p.Missing()
	}
	return resp, nil
}

type rangedBody struct {
	source  *rangedSource
	ctx     context.Context
	missing []exchange.Span
	off     int64
	got     int
}

func (b *rangedBody) Read(p []byte) (int, error) {
	s := b.source
	if b.off == int64(len(s.content)) {
		return 0, io.EOF
	}
	if s.cut != 0 && b.got >= s.cut {
		if s.block == nil {
			return 0, errCut
		}
		select {
		case <-s.block:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	p = p[:min(len(p), 32<<10)]
	n := copy(p, s.content[b.off:])
	b.off += int64(n)
	b.got += n
	s.mu.Lock()
	s.read += int64(n)
	s.mu.Unlock()
	if b.got%mib == 0 {
		time.Sleep(s.pause)
	}
	return n, nil
}

func (b *rangedBody) Close() error     { return nil }
func (b *rangedBody) Rewind(off int64) { b.off = off }

// Striped may change its mind.
func (b *rangedBody) Striped() bool {
	if b.source.fickle {
		b.source.parts = !b.source.parts
	}
	return b.source.parts
}

func (b *rangedBody) Section(context.Context, int64, int64) (io.ReadCloser, error) {
	return nil, errors.New("no sections")
}

// CopyParts brings every second MiB first.
func (b *rangedBody) CopyParts(_ context.Context, w io.WriterAt, arrived func(off, n int64), _ func() int64) error {
	s := b.source
	missing := b.missing
	if missing == nil {
		missing = []exchange.Span{{From: 0, To: int64(len(s.content))}}
	}
	var all []exchange.Span
	for _, odd := range []int64{0, 1} {
		for _, m := range missing {
			for off := m.From; off < m.To; {
				to := min(off/mib*mib+mib, m.To)
				if off/mib%2 == odd {
					all = append(all, exchange.Span{From: off, To: to})
				}
				off = to
			}
		}
	}
	for _, p := range all {
		if s.cut > 0 && b.got >= s.cut {
			return errCut
		}
		if _, err := w.WriteAt(s.content[p.From:p.To], p.From); err != nil {
			return err
		}
		b.got += int(p.To - p.From)
		s.mu.Lock()
		s.read += p.To - p.From
		s.mu.Unlock()
		arrived(p.From, p.To-p.From)
		time.Sleep(s.pause)
	}
	return nil
}

const mib = 1 << 20

// eight is 8 MiB of content, which is not changed.
var eight = sync.OnceValue(func() []byte { return random(8 * mib) })

// A keeping store is one in memory that tells what is noted of its drafts.
type keepingStore struct {
	mem.Store
	mu    sync.Mutex
	noted []exchange.Span // newest
	fails bool            // drafts cannot be read
	slow  bool            // to close drafts
}

type keepingDraft struct {
	store.Keeper
	store *keepingStore
}

func (s *keepingStore) Draft(ctx context.Context, size int64) (store.Draft, error) {
	d, err := s.Store.Draft(ctx, size)
	if err != nil {
		return nil, err
	}
	return &keepingDraft{d.(store.Keeper), s}, nil
}

func (s *keepingStore) Resume(ctx context.Context, key exchange.Key) (store.Keeper, *exchange.Part, []byte, error) {
	d, part, note, err := s.Store.Resume(ctx, key)
	if err != nil {
		return nil, nil, nil, err
	}
	return &keepingDraft{d, s}, part, note, nil
}

func (d *keepingDraft) Keep(part *exchange.Part, note []byte) {
	d.store.mu.Lock()
	d.store.noted = nil
	if part != nil {
		d.store.noted = part.Have
	}
	d.store.mu.Unlock()
	d.Keeper.Keep(part, note)
}

func (d *keepingDraft) Close() error {
	err := d.Keeper.Close()
	if d.store.slow {
		time.Sleep(time.Second)
	}
	return err
}

func (d *keepingDraft) ReadAt(p []byte, off int64) (int, error) {
	if d.store.fails && off >= mib {
		return 0, errors.New("input/output error")
	}
	return d.Keeper.ReadAt(p, off)
}

// resumes runs a test with a cache over a store that keeps parts.
func resumes(t *testing.T, name string, f func(t *testing.T, b *bench, s *rangedSource)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, new(keepingStore))
			defer b.cache.Close(t.Context())
			s := &rangedSource{content: eight(), etag: `"v1"`, mirror: "http://m"}
			b.set(s.reply)
			f(t, b, s)
		})
	})
}

// broken gets what comes of a request before it breaks.
func (b *bench) broken(t *testing.T, req *exchange.Request) []byte {
	t.Helper()
	resp, err := b.src.Get(t.Context(), req)
	require.NoError(t, err)
	got, err := io.ReadAll(resp.Body)
	require.Error(t, err)
	require.NoError(t, resp.Body.Close())
	return got
}

// last is the last request that upstream was asked.
func (b *bench) last() *exchange.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[len(b.asked)-1]
}

func digestOf(content []byte) exchange.Digest {
	sum := sha256.Sum256(content)
	return exchange.NewDigest("sha256", sum[:])
}

func TestResume(t *testing.T) { // F1, F10, F18
	resumes(t, "the next request goes on", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		got := b.broken(t, request("/a"))
		assert.True(t, bytes.HasPrefix(s.content, got))
		s.cut = 0
		got, resp := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.EqualValues(t, 8*mib, resp.Entry.Size)
		assert.Equal(t, []exchange.Span{{From: 0, To: 3 * mib}}, b.last().Resume.Have)
		assert.EqualValues(t, 8*mib, s.read, "nothing was read twice")
		synctest.Wait()
		got, resp = b.get(t, request("/a"))
		assert.True(t, resp.Outcome.Hit)
		assert.True(t, bytes.Equal(s.content, got))
		assert.Equal(t, digestOf(s.content), resp.Entry.Digest)
		assert.Equal(t, cache.Stats{Kept: 1, Resumed: 1, ResumedBytes: 3 * mib}, b.cache.Stats())
	})
	resumes(t, "again and again", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		b.broken(t, request("/a"))
		got, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.EqualValues(t, 8*mib, s.read)
	})
	for _, promised := range []string{"sha256", "sha512"} {
		resumes(t, "a digest that was not known before, "+promised, func(t *testing.T, b *bench, s *rangedSource) {
			s.cut = 3 * mib
			b.broken(t, request("/a"))
			s.cut, s.etag = 0, `"other"`
			req := request("/a")
			req.Digest = digestOf(s.content)
			if promised == "sha512" { // of which there is no state
				sum := sha512.Sum512(s.content)
				req.Digest = exchange.NewDigest("sha512", sum[:])
			}
			got, _ := b.get(t, req)
			assert.True(t, bytes.Equal(s.content, got))
			assert.EqualValues(t, 8*mib, s.read)
			synctest.Wait()
			_, resp := b.get(t, req)
			assert.True(t, resp.Outcome.Hit)
			assert.Equal(t, digestOf(s.content), resp.Entry.Digest)
		})
	}
	resumes(t, "content that has changed begins anew", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		s.cut, s.etag, s.content = 0, `"v2"`, random(9 * mib)[mib:]
		got, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.EqualValues(t, 1, b.cache.Stats().Dropped)
	})
	resumes(t, "a part of what an index denies is dropped", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		req := request("/a")
		req.Digest = digestOf([]byte("old"))
		b.broken(t, req)
		s.cut = 0
		req = request("/a")
		req.Digest = digestOf(s.content)
		got, _ := b.get(t, req)
		assert.True(t, bytes.Equal(s.content, got))
		assert.Nil(t, b.last().Resume)
	})
	resumes(t, "a wrong whole is fetched anew, once", func(t *testing.T, b *bench, s *rangedSource) {
		good := s.content
		s.cut, s.content = 3*mib, bytes.Clone(good)
		s.content[5] ^= 1
		b.broken(t, request("/a")) // nobody notices yet
		s.cut, s.content = 0, good
		req := request("/a")
		req.Digest = digestOf(good)
		got := b.broken(t, req)
		assert.Less(t, len(got), len(good), "the end was held back")
		synctest.Wait()
		got, resp := b.get(t, req)
		assert.True(t, resp.Outcome.Hit)
		assert.True(t, bytes.Equal(good, got))
		assert.Equal(t, 3, b.hits())
		assert.Nil(t, b.last().Resume)
		assert.Equal(t, []string{"http://m"}, b.last().Doubt, "it may have been our own disk")
		assert.Empty(t, b.last().Avoid)
	})
	resumes(t, "readers have what is there before the rest comes", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		s.block, s.cut = make(chan struct{}), -1
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer resp.Body.Close()
		part := make([]byte, 1000)
		seeker := resp.Body.(io.ReadSeeker)
		for _, off := range []int64{2 * mib, 0, 3*mib - 1000} {
			_, err = seeker.Seek(off, io.SeekStart)
			require.NoError(t, err)
			_, err = io.ReadFull(seeker, part)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(s.content[off:off+1000], part))
		}
		close(s.block)
		_, err = seeker.Seek(0, io.SeekStart)
		require.NoError(t, err)
		got, err := io.ReadAll(seeker)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(s.content, got))
	})
	resumes(t, "who sees the failure may ask again at once", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut, b.store.(*keepingStore).slow = 3*mib, true
		s.pause = time.Millisecond // the client has read some before the end
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.ReadFull(resp.Body, make([]byte, mib))
		require.NoError(t, err)
		time.Sleep(time.Second / 2) // the draft has gone back to the store
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, errCut)
		s.cut = 0
		got, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.NotNil(t, b.last().Resume)
	})
	resumes(t, "upstream that cannot answer leaves the part", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		s.cut = 0
		b.set(refusing(&exchange.Error{Status: 502}))
		_, err := b.src.Get(t.Context(), request("/a"))
		require.Error(t, err)
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(http.StatusForbidden, 0, http.NoBody), nil
		})
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		resp.Body.Close()
		b.set(s.reply)
		got, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.EqualValues(t, 8*mib, s.read)
	})
	resumes(t, "what is gone takes the part along", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		b.set(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return answer(http.StatusNotFound, 0, http.NoBody), nil
		})
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		resp.Body.Close()
		_, _, _, err = b.store.(store.Resumer).Resume(t.Context(), request("/a").Key)
		assert.ErrorIs(t, err, fs.ErrNotExist)
	})
	resumes(t, "what somebody else has changed on its way begins anew", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		s.cut = 0
		b.set(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := s.reply(ctx, req)
			resp.Body.(*rangedBody).Rewind(0)
			resp.Ranges = nil // as a filter does that reads all of it
			return resp, err
		})
		got, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		synctest.Wait()
		got, _ = b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
	})
	resumes(t, "little is not kept", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 600 << 10
		b.broken(t, request("/a"))
		s.cut = 0
		b.get(t, request("/a"))
		assert.Nil(t, b.last().Resume)
		assert.Zero(t, b.cache.Stats())
	})
	resumes(t, "all but the end was there", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 8*mib - 32<<10
		b.broken(t, request("/a"))
		s.cut = 0
		req := request("/a")
		req.Digest = digestOf(s.content)
		got, _ := b.get(t, req)
		assert.True(t, bytes.Equal(s.content, got))
		assert.EqualValues(t, 1, b.cache.Stats().Resumed)
	})
	for _, digest := range []bool{true, false} {
		resumes(t, "parts out of order", func(t *testing.T, b *bench, s *rangedSource) {
			s.parts, s.cut = true, 3*mib
			b.broken(t, request("/a"))
			s.cut = 0
			req := request("/a")
			if digest {
				req.Digest = digestOf(s.content)
				s.parts = false // and by now there is one mirror
			}
			got, _ := b.get(t, req)
			assert.True(t, bytes.Equal(s.content, got))
			assert.Len(t, b.last().Resume.Have, 3)
			assert.EqualValues(t, 8*mib, s.read)
			synctest.Wait()
			_, resp := b.get(t, req)
			assert.True(t, resp.Outcome.Hit)
			assert.Equal(t, digestOf(s.content), resp.Entry.Digest)
		})
	}
	for _, parts := range []bool{true, false} {
		resumes(t, "mirrors that come and go", func(t *testing.T, b *bench, s *rangedSource) {
			s.cut = 3 * mib
			b.broken(t, request("/a"))
			s.cut, s.fickle, s.parts = 6*mib, true, parts
			got, _ := b.get(t, request("/a"))
			assert.True(t, bytes.Equal(s.content, got))
			assert.EqualValues(t, 8*mib, s.read)
		})
	}
	resumes(t, "a part that cannot be read is not kept", func(t *testing.T, b *bench, s *rangedSource) {
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		s.cut = 0
		b.store.(*keepingStore).fails = true
		req := request("/a")
		sum := sha512.Sum512(s.content) // for which all has to be read again
		req.Digest = exchange.NewDigest("sha512", sum[:])
		b.broken(t, req)
		synctest.Wait() // the flight has seen it too
		b.store.(*keepingStore).fails = false
		got, _ := b.get(t, req)
		assert.True(t, bytes.Equal(s.content, got))
		assert.Nil(t, b.last().Resume)
	})
	resumes(t, "nobody is left below the half", func(t *testing.T, b *bench, s *rangedSource) {
		s.content = make([]byte, 72*mib)
		s.block, s.cut = make(chan struct{}), 3*mib
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := b.src.Get(ctx, request("/a"))
		require.NoError(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, 2*mib))
		require.NoError(t, err)
		cancel()
		resp.Body.Close()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		assert.EqualValues(t, 1, b.cache.Stats().Kept)
		resp, err = b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, []exchange.Span{{From: 0, To: 3 * mib}}, b.last().Resume.Have)
	})
	resumes(t, "no room for the rest", func(t *testing.T, b *bench, s *rangedSource) { // F22
		d := &mem.Store{Limit: 16 * mib}
		c, err := cache.New(cache.Options{Store: d, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer c.Close(t.Context())
		b.src = c.Wrap(b.origin)
		s.cut = 3 * mib
		b.broken(t, request("/a"))
		s.cut = 0
		full, err := d.Draft(t.Context(), 15*mib)
		require.NoError(t, err)
		defer full.Close()
		got, resp := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.False(t, resp.Outcome.Stored)
		assert.Nil(t, b.last().Resume)
	})
}

// While a transfer goes on, what it has brought is noted now and then, so that it
// is not lost with the process.
func TestTransferIsNoted(t *testing.T) { // F25
	for _, parts := range []bool{false, true} {
		resumes(t, map[bool]string{false: "in order", true: "in parts"}[parts], func(t *testing.T, b *bench, s *rangedSource) {
			s.parts = parts
			noted := func() (n int64) {
				synctest.Wait()
				k := b.store.(*keepingStore)
				k.mu.Lock()
				defer k.mu.Unlock()
				for _, h := range k.noted {
					n += h.To - h.From
				}
				return n
			}
			s.pause = time.Second / 4 // after each MiB
			resp, err := b.src.Get(t.Context(), request("/a"))
			require.NoError(t, err)
			defer resp.Body.Close()
			time.Sleep(time.Second / 8)
			assert.Zero(t, noted(), "at once it is not worth it")
			time.Sleep(5 * time.Second / 4)
			assert.Positive(t, noted())
			assert.LessOrEqual(t, noted(), int64(6*mib))
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			synctest.Wait()
			_, _, _, err = b.store.(store.Resumer).Resume(t.Context(), request("/a").Key)
			assert.ErrorIs(t, err, fs.ErrNotExist, "there is nothing to go on with")
		})
	}
}

// A cache that is closed leaves what its transfers have brought to the next one.
func TestResumeAfterClose(t *testing.T) { // F34
	synctest.Test(t, func(t *testing.T) {
		d := new(mem.Store)
		b := start(t, d)
		s := &rangedSource{content: eight(), etag: `"v1"`, mirror: "http://m", cut: 5 * mib, block: make(chan struct{})}
		b.set(s.reply)
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, 4*mib))
		require.NoError(t, err)
		stop, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, b.cache.Close(stop))
		_, err = io.ReadAll(resp.Body)
		require.Error(t, err)
		require.NoError(t, resp.Body.Close())

		b = start(t, d)
		defer b.cache.Close(t.Context())
		s.block, s.cut = nil, 0
		b.set(s.reply)
		got, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(s.content, got))
		assert.EqualValues(t, 8*mib, s.read)
		assert.Equal(t, []exchange.Span{{From: 0, To: 5 * mib}}, b.last().Resume.Have)
	})
}

// shared is a body that several mirrors have brought.
type shared struct {
	io.Reader
	mirrors []string
}

func (s *shared) Close() error { return nil }

func (s *shared) Shares() (shares []exchange.Share) {
	for _, m := range s.mirrors {
		shares = append(shares, exchange.Share{Mirror: m, Bytes: 1})
	}
	return shares
}

// Of several mirrors that had a part in wrong content each is doubted, until one
// of them has sent it alone.
func TestBlame(t *testing.T) { // F13
	content := random(200_000)
	wrong := bytes.Clone(content)
	wrong[100_000] ^= 1
	scene(t, "until the liar is found", func(t *testing.T, b *bench) {
		b.set(func(_ context.Context, r *exchange.Request) (*exchange.Response, error) {
			body, mirrors := wrong, []string{"http://a", "http://b", "http://c"}
			switch {
			case slices.Contains(r.Avoid, "http://b"):
				body, mirrors = content, []string{"http://a"}
			case len(r.Doubt) > 0:
				mirrors = []string{"http://b"}
			}
			return answer(200, int64(len(content)), &shared{bytes.NewReader(body), mirrors}), nil
		})
		req := request("/a")
		req.Digest = digestOf(content)
		b.broken(t, req)
		synctest.Wait()
		got, resp := b.get(t, req)
		assert.True(t, bytes.Equal(content, got))
		assert.True(t, resp.Outcome.Hit)
		require.Equal(t, 3, b.hits())
		assert.Empty(t, b.asked[0].Doubt)
		assert.Equal(t, []string{"http://a", "http://b", "http://c"}, b.asked[1].Doubt)
		assert.Empty(t, b.asked[1].Avoid)
		assert.Equal(t, []string{"http://a", "http://c"}, b.asked[2].Doubt)
		assert.Equal(t, []string{"http://b"}, b.asked[2].Avoid)
		assert.EqualValues(t, 2, b.cache.Stats().Wrong)

		other := request("/b")
		other.Digest = digestOf(content)
		resp, err := b.src.Get(t.Context(), other)
		require.NoError(t, err)
		resp.Body.Close()
		synctest.Wait()
		assert.Empty(t, b.asked[3].Doubt, "of another key nobody is doubted")
		assert.Empty(t, b.asked[3].Avoid)
	})
}
