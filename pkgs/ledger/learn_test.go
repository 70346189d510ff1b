package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

var (
	received = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	request  = &exchange.Request{Key: key("/dists/stable/Packages")}
	sum      = digest("sha256", 32, "a")
)

// inFlight is the entry of an index on its way, landed the one that is stored.
func inFlight() *exchange.Entry {
	return &exchange.Entry{
		Key: request.Key, Status: 200, Size: -1, Received: received, Stored: received,
		Header: http.Header{"Etag": {`"1"`}},
	}
}

func landed(d exchange.Digest) *exchange.Entry {
	e := inFlight()
	e.Digest = d
	return e
}

// An index is a Source of a text of "path size" lines.
type index struct {
	gets  atomic.Int32
	entry *exchange.Entry
	body  func() io.Reader
	err   error
}

func (x *index) Get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	x.gets.Add(1)
	if x.err != nil {
		return nil, x.err
	}
	return &exchange.Response{Entry: x.entry, Body: io.NopCloser(x.body())}, nil
}

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

func lines(r io.Reader, teach func(string, exchange.Fact)) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		var path string
		var size int64
		if _, err := fmt.Sscan(s.Text(), &path, &size); err != nil {
			return err
		}
		teach(path, exchange.Fact{Size: size, Digest: sum})
	}
	return s.Err()
}

// size is what is known of a path without waiting for more than the runs; 0 is nothing.
func size(t *testing.T, l *ledger.Ledger, path string) int64 {
	f, _ := l.Lookup(t.Context(), key(path))
	return f.Size
}

func TestLearning(t *testing.T) {
	for _, c := range []struct {
		name  string
		key   exchange.Key
		after time.Duration // the index is read then
		teach bool
		want  time.Duration
		known bool
	}{
		{"taught", key("/pool/a"), time.Second, true, time.Second, true},
		{"not taught", key("/pool/a"), time.Second, false, time.Second, false},
		{"slow", key("/pool/a"), time.Minute, true, 2 * time.Second, false},
		{"another prefix", key("/dists/a"), time.Second, true, 0, false},
		{"another hub", exchange.Key{Hub: "npm", Path: "/pool/a"}, time.Second, true, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := open(t, ledger.Options{})
				done := l.Learning("apt", "/pool/")
				go func() {
					time.Sleep(c.after)
					if c.teach {
						l.Teach(c.key, exchange.Fact{Size: 1})
					}
					done()
					done()
				}()
				start := time.Now()
				_, ok := l.Lookup(t.Context(), c.key)
				assert.Equal(t, c.want, time.Since(start))
				assert.Equal(t, c.known, ok)
				time.Sleep(time.Hour)
				_, ok = l.Lookup(t.Context(), c.key)
				assert.Equal(t, c.teach, ok)
				assert.Equal(t, time.Hour, time.Since(start)-c.want, "what is read is not waited for")
			})
		})
	}
}

// Two indexes may teach a key: both are waited for, within one limit.
func TestLearningTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		go func(one, two func()) {
			time.Sleep(time.Second)
			one()
			time.Sleep(500 * time.Millisecond)
			l.Teach(key("/pool/a"), exchange.Fact{Size: 1})
			two()
		}(l.Learning("apt", "/pool/"), l.Learning("apt", "/"))
		start := time.Now()
		_, ok := l.Lookup(t.Context(), key("/pool/a"))
		assert.True(t, ok)
		assert.Equal(t, 1500*time.Millisecond, time.Since(start))
	})
}

func TestLookupCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		defer l.Learning("apt", "/")()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, ok := l.Lookup(ctx, key("/pool/a"))
		assert.False(t, ok)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestKnownDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		l.Teach(key("/pool/a"), exchange.Fact{Size: 1})
		defer l.Learning("apt", "/")()
		start := time.Now()
		assert.EqualValues(t, 1, size(t, l, "/pool/a"))
		assert.Zero(t, time.Since(start))
	})
}

// A client asks for a package as soon as it has the index, and its digest is known.
func TestLearnBehindClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		r, w := io.Pipe()
		x := &index{entry: inFlight(), body: func() io.Reader { return r }}
		for range 3 { // who follows the flight shares the run
			l.Learn(x, request, inFlight(), "/pool/", lines)
		}
		go func() {
			io.WriteString(w, "/pool/a 1\n")
			time.Sleep(time.Second)
			io.WriteString(w, "/pool/b 2\n")
			w.Close()
		}()
		start := time.Now()
		assert.EqualValues(t, 2, size(t, l, "/pool/b"))
		assert.Equal(t, time.Second, time.Since(start))
		assert.EqualValues(t, 1, size(t, l, "/pool/a"))
		synctest.Wait()
		l.Learn(x, request, landed(digest("sha256", 32, "b")), "/pool/", lines)
		synctest.Wait()
		assert.EqualValues(t, 1, x.gets.Load(), "the index that landed is the one that was learned in flight")

		validated := landed(digest("sha256", 32, "b"))
		validated.Stored, validated.Received = time.Time{}, received.Add(time.Hour)
		l.Learn(x, request, validated, "/pool/", lines)
		synctest.Wait()
		assert.EqualValues(t, 1, x.gets.Load(), "its digest is remembered since")
	})
}

func TestLearnOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	x := &index{entry: landed(digest("sha256", 32, "1")), body: text("/pool/a 1\n")}
	learn := func(want int32) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			l := open(t, ledger.Options{Path: path})
			for range 3 {
				l.Learn(x, request, x.entry, "/pool/", lines)
				synctest.Wait()
			}
			assert.EqualValues(t, 1, size(t, l, "/pool/a"))
			assert.Equal(t, want, x.gets.Load())
			require.NoError(t, l.Close())
		})
	}
	learn(1)
	learn(1) // after a restart
	x.entry = landed(digest("sha256", 32, "2"))
	x.entry.Stored = received.Add(time.Hour)
	learn(2) // another content
}

// A mark stands no longer than the facts before it.
func TestLearnAgainWhenForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const entries = 8 << 10
		l := open(t, ledger.Options{Entries: entries})
		x := &index{entry: landed(sum), body: text("/pool/a 1\n")}
		taught := 0
		for range 20 {
			l.Learn(x, request, x.entry, "/pool/", lines)
			synctest.Wait()
			require.EqualValues(t, 1, size(t, l, "/pool/a"), "a hit of the index is enough to remember, after %d", taught)
			for range 1000 {
				l.Teach(nth(taught))
				taught++
			}
		}
		assert.EqualValues(t, 5, x.gets.Load(), "once for each half of the ring")
	})
}

func TestLearnFailure(t *testing.T) {
	cut := func() io.Reader {
		return io.MultiReader(strings.NewReader("/pool/a 1\n"), errReader{errors.New("cut")})
	}
	for _, c := range []struct {
		name  string
		index *index
		parse func(io.Reader, func(string, exchange.Fact)) error
	}{
		{"no answer", &index{err: fs.ErrNotExist}, lines},
		{"status", &index{entry: &exchange.Entry{Status: 404, Size: -1}, body: text("")}, lines},
		{"cut", &index{entry: inFlight(), body: cut}, lines},
		{"cut behind what is parsed", &index{entry: inFlight(), body: cut},
			func(io.Reader, func(string, exchange.Fact)) error { return nil }},
		{"no index", &index{entry: inFlight(), body: text("<html>")}, lines},
		{"panic", &index{entry: inFlight(), body: text("")},
			func(io.Reader, func(string, exchange.Fact)) error { panic("parser") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := open(t, ledger.Options{})
				for range 2 {
					l.Learn(c.index, request, inFlight(), "/pool/", c.parse)
					start := time.Now()
					assert.Zero(t, size(t, l, "/pool/none"))
					assert.Zero(t, time.Since(start))
					synctest.Wait()
				}
				assert.EqualValues(t, 1, c.index.gets.Load(), "not at once again")
				time.Sleep(time.Minute)
				good := &index{entry: inFlight(), body: text("/pool/b 2\n")}
				l.Learn(good, request, inFlight(), "/pool/", lines)
				synctest.Wait()
				assert.EqualValues(t, 1, good.gets.Load(), "but later")
				assert.EqualValues(t, 2, size(t, l, "/pool/b"))
			})
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// Where an index has a digest beforehand, nothing is learned before it is proved.
func TestLearnProved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		req := request.Clone()
		req.Digest = sum
		wrong := &index{entry: inFlight(), body: func() io.Reader {
			return io.MultiReader(strings.NewReader("/pool/a 1\n"), errReader{errors.New("digest")})
		}}
		l.Learn(wrong, req, inFlight(), "/pool/", lines)
		synctest.Wait()
		assert.Zero(t, size(t, l, "/pool/a"))
		assert.EqualValues(t, 1, wrong.gets.Load())

		time.Sleep(time.Hour)
		right := &index{entry: inFlight(), body: text("/pool/a 1\n")}
		l.Learn(right, req, inFlight(), "/pool/", lines)
		synctest.Wait()
		assert.EqualValues(t, 1, size(t, l, "/pool/a"))
		assert.EqualValues(t, 2, right.gets.Load())

		stored := &index{entry: landed(sum), body: text("/pool/c 3\n")}
		stored.entry.Stored = received.Add(time.Hour)
		l.Learn(stored, req, stored.entry, "/pool/", lines)
		synctest.Wait()
		assert.EqualValues(t, 3, size(t, l, "/pool/c"))
		assert.EqualValues(t, 1, stored.gets.Load(), "what is stored was proved")
	})
}

func TestLearnNot(t *testing.T) {
	l := open(t, ledger.Options{})
	e := inFlight()
	e.Status = 404
	l.Learn(nil, request, e, "/", lines) // next would panic
	require.NoError(t, l.Close())
	l.Learn(nil, request, inFlight(), "/", lines)
}

// Four indexes are read at once. One that asks for what lies below its own
// prefix, or another's, does not wait for itself.
func TestLearnBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		var now, most atomic.Int32
		parse := func(io.Reader, func(string, exchange.Fact)) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}
		source := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			_, ok := l.Lookup(ctx, req.Key) // as the cache does for immutable keys
			assert.False(t, ok)
			return &exchange.Response{Entry: inFlight(), Body: http.NoBody}, nil
		})
		start := time.Now()
		for i := range 12 {
			l.Learn(source, &exchange.Request{Key: key(fmt.Sprint("/index/", i))}, inFlight(), "/", parse)
		}
		assert.Zero(t, time.Since(start), "the client does not wait")
		_, ok := l.Lookup(t.Context(), key("/pool/a"))
		assert.False(t, ok)
		assert.Equal(t, 2*time.Second, time.Since(start))
		time.Sleep(time.Second + 1)
		synctest.Wait()
		start = time.Now()
		_, ok = l.Lookup(t.Context(), key("/pool/a"))
		assert.False(t, ok)
		assert.Zero(t, time.Since(start), "all are read")
		assert.EqualValues(t, 4, most.Load())
	})
}

// A client that asks for the index itself does not wait for its reading.
func TestIndexDoesNotWaitForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		r, w := io.Pipe()
		l.Learn(&index{entry: inFlight(), body: func() io.Reader { return r }}, request, inFlight(), "/", lines)
		start := time.Now()
		_, ok := l.Lookup(t.Context(), request.Key)
		assert.False(t, ok)
		assert.Zero(t, time.Since(start))
		w.Close()
	})
}

func TestCloseEndsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		var ended atomic.Int32
		for i := range 8 { // four read, four wait
			source := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
				<-ctx.Done()
				ended.Add(1)
				return nil, ctx.Err()
			})
			l.Learn(source, &exchange.Request{Key: key(fmt.Sprint("/index/", i))}, inFlight(), "/", lines)
		}
		synctest.Wait()
		require.NoError(t, l.Close())
		assert.EqualValues(t, 4, ended.Load(), "those that waited have asked nobody")
	})
}
