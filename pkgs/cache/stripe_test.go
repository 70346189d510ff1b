package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/mem"
)

// striped is content in parts of 100 KiB, the last first unless a reader waits
// for another one. Each takes a second.
type striped struct {
	content  []byte
	sections atomic.Int32
	fail     error // of CopyParts, half way
	plain    bool  // not striped
	r        *bytes.Reader
}

const part = 100 << 10

func (s *striped) Section(_ context.Context, off, n int64) (io.ReadCloser, error) {
	s.sections.Add(1)
	return io.NopCloser(bytes.NewReader(s.content[off : off+n])), nil
}

func (s *striped) Striped() bool { return !s.plain }

func (s *striped) CopyParts(_ context.Context, w io.WriterAt, arrived func(off, n int64), wanted func() int64) error {
	left := map[int64]bool{}
	for off := int64(0); off < int64(len(s.content)); off += part {
		left[off] = true
	}
	half := len(left) / 2
	for len(left) > 0 {
		next := wanted() / part * part
		if !left[next] {
			next = -1
			for off := range left {
				next = max(next, off)
			}
		}
		delete(left, next)
		time.Sleep(time.Second)
		p := s.content[next:min(next+part, int64(len(s.content)))]
		if _, err := w.WriteAt(p, next); err != nil {
			return err
		}
		arrived(next, int64(len(p)))
		if s.fail != nil && len(left) == half {
			return s.fail
		}
	}
	return nil
}

func (s *striped) Rewind(off int64)           { s.r = bytes.NewReader(s.content[off:]) }
func (s *striped) Read(p []byte) (int, error) { return s.r.Read(p) }
func (s *striped) Close() error               { return nil }

func (s *striped) reply(_ context.Context, _ *exchange.Request) (*exchange.Response, error) {
	resp := answer(200, int64(len(s.content)), s)
	resp.Ranges = s
	return resp, nil
}

func TestStripe(t *testing.T) {
	content := random(1 << 20)
	scene(t, "parts out of order make one object", func(t *testing.T, b *bench) {
		b.set((&striped{content: content}).reply)
		got, _ := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(content, got))
		synctest.Wait()
		got, resp := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(content, got))
		sum := sha256.Sum256(content)
		assert.Equal(t, exchange.NewDigest("sha256", sum[:]), resp.Entry.Digest)
	})
	scene(t, "what a reader waits for comes first", func(t *testing.T, b *bench) {
		b.set((&striped{content: content}).reply)
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = resp.Body.(io.Seeker).Seek(5*part, io.SeekStart)
		require.NoError(t, err)
		begin := time.Now()
		p := make([]byte, 10)
		_, err = io.ReadFull(resp.Body, p)
		require.NoError(t, err)
		assert.Equal(t, content[5*part:5*part+10], p)
		assert.LessOrEqual(t, time.Since(begin), 2*time.Second)
	})
	scene(t, "the last block waits for its proof", func(t *testing.T, b *bench) {
		bad := bytes.Clone(content)
		bad[5] ^= 1
		b.set((&striped{content: bad}).reply)
		sum := sha256.Sum256(content)
		req := request("/a")
		req.Digest = exchange.NewDigest("sha256", sum[:])
		resp, err := b.src.Get(t.Context(), req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		assert.Error(t, err)
		assert.LessOrEqual(t, len(got), 1<<20-64<<10)
	})
	scene(t, "the last block waits for its proof, of who begins there too", func(t *testing.T, b *bench) {
		b.set((&striped{content: content}).reply)
		req := request("/a")
		req.Digest = digestOf(content)
		_, took := b.part(t, req, 1<<20-1000, 1000)
		assert.GreaterOrEqual(t, took, 11*time.Second)
	})
	scene(t, "a reader far ahead waits for its part", func(t *testing.T, b *bench) {
		s := &striped{content: random(4 << 20)}
		b.set(s.reply)
		got, took := b.part(t, request("/a"), 30*part, 1000)
		assert.Equal(t, s.content[30*part:30*part+1000], got)
		assert.LessOrEqual(t, took, 2*time.Second)
		assert.Zero(t, s.sections.Load())
	})
	scene(t, "an error of upstream fails the transfer", func(t *testing.T, b *bench) {
		b.set((&striped{content: content, fail: io.ErrUnexpectedEOF}).reply)
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		resp.Body.Close()
		synctest.Wait()
		assert.False(t, b.isStored(t, request("/a")))
	})
	t.Run("a failing disk turns it into one stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, &broken{Store: new(mem.Store), after: 1<<20 - 1})
			defer b.close()
			b.set((&striped{content: content}).reply)
			got, _ := b.get(t, request("/a"))
			assert.True(t, bytes.Equal(content, got))
			synctest.Wait()
			assert.False(t, b.isStored(t, request("/a")))
		})
	})
}

func TestFarAhead(t *testing.T) {
	content := random(4 << 20)
	scene(t, "a range far ahead of the transfer is asked for by itself", func(t *testing.T, b *bench) {
		s := &striped{content: content, plain: true}
		pr, pw := io.Pipe()
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			context.AfterFunc(ctx, func() { pr.CloseWithError(context.Cause(ctx)) })
			resp := answer(200, int64(len(content)), pr)
			resp.Ranges = s
			return resp, nil
		})
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		_, err = resp.Body.(io.Seeker).Seek(-1000, io.SeekEnd)
		require.NoError(t, err)
		var out bytes.Buffer
		n, err := resp.Body.(interface {
			CopyTo(io.Writer, int64) (int64, error)
		}).CopyTo(&out, 1000)
		require.NoError(t, err)
		assert.EqualValues(t, 1000, n)
		assert.True(t, bytes.Equal(content[len(content)-1000:], out.Bytes()))
		assert.EqualValues(t, 1, s.sections.Load())
		resp.Body.Close()
		pw.Write(content)
		pw.Close()
		synctest.Wait()
		got, resp := b.get(t, request("/a"))
		assert.True(t, bytes.Equal(content, got))
		assert.True(t, resp.Outcome.Hit, "the transfer went on behind")
	})
	scene(t, "one that is near waits", func(t *testing.T, b *bench) {
		s := &striped{content: content, plain: true}
		pw := piped(b.origin, int64(len(content)))
		inner := b.origin.reply
		b.set(func(ctx context.Context, r *exchange.Request) (*exchange.Response, error) {
			resp, err := inner(ctx, r)
			resp.Ranges = s
			return resp, err
		})
		resp, err := b.src.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		_, err = resp.Body.(io.Seeker).Seek(1000, io.SeekStart)
		require.NoError(t, err)
		go pw.Write(content[:2000])
		var out bytes.Buffer
		_, err = resp.Body.(interface {
			CopyTo(io.Writer, int64) (int64, error)
		}).CopyTo(&out, 1000)
		require.NoError(t, err)
		assert.Zero(t, s.sections.Load())
		pw.CloseWithError(errors.New("end of test"))
		resp.Body.Close()
	})
}
