package ledger_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// What is taught by who reads the index is not read again, not after a restart either.
func TestLesson(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{Path: path})
		x := &index{err: errors.New("asked")}
		s := l.Lesson(x, request, inFlight(), "/pool/", lines)
		require.NotNil(t, s)
		assert.Nil(t, l.Lesson(x, request, inFlight(), "/pool/", lines), "somebody reads it already")
		l.Learn(x, request, inFlight(), "/pool/", lines)
		go func() {
			for i := range 1000 {
				s.Teach(fmt.Sprint("/pool/", i), exchange.Fact{Size: int64(i) + 1, Digest: sum})
			}
			time.Sleep(time.Second / 2)
			s.Teach("/pool/last", exchange.Fact{Size: 7})
			s.End(nil)
		}()
		start := time.Now()
		assert.EqualValues(t, 7, size(t, l, "/pool/last"))
		assert.Equal(t, time.Second/2, time.Since(start), "a client that has the index waits for what it says")
		for i := range 1000 {
			require.EqualValues(t, i+1, size(t, l, fmt.Sprint("/pool/", i)))
		}
		synctest.Wait()
		assert.Nil(t, l.Lesson(x, request, inFlight(), "/pool/", lines), "it was learned")
		assert.Zero(t, x.gets.Load())
		require.NoError(t, l.Close())
	})
	l := open(t, ledger.Options{Path: path})
	assert.Nil(t, l.Lesson(nil, request, inFlight(), "/pool/", lines))
	assert.EqualValues(t, 7, size(t, l, "/pool/last"))
	require.NoError(t, l.Close())
	assert.Nil(t, l.Lesson(nil, request, landed(sum), "/pool/", lines), "closed")
}

// An index whose reader does not come to the end is learned behind it.
func TestLessonUnfinished(t *testing.T) {
	for _, c := range []struct {
		name   string
		reader func(s *ledger.Lesson)
		after  time.Duration // it is learned then
	}{
		{"fails", func(s *ledger.Lesson) { s.End(io.ErrClosedPipe) }, 0},
		{"fails later", func(s *ledger.Lesson) {
			s.Teach("/pool/b", exchange.Fact{Size: 9})
			time.Sleep(time.Second / 2)
			s.End(io.ErrUnexpectedEOF)
		}, time.Second / 2},
		{"hangs", func(*ledger.Lesson) {}, time.Second},
		{"is slow", func(s *ledger.Lesson) {
			for range 1000 {
				time.Sleep(10 * time.Millisecond)
				s.Teach("/pool/late", exchange.Fact{Size: 1}) // does not wait for ever
			}
			s.End(nil)
			s.End(nil)
		}, time.Second},
		{"fails late", func(s *ledger.Lesson) { time.Sleep(time.Minute); s.End(io.ErrClosedPipe) }, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := open(t, ledger.Options{})
				x := &index{entry: inFlight(), body: text("/pool/a 1\n")}
				s := l.Lesson(x, request, inFlight(), "/pool/", lines)
				go c.reader(s)
				start := time.Now()
				assert.EqualValues(t, 1, size(t, l, "/pool/a"))
				assert.Equal(t, c.after, time.Since(start))
				time.Sleep(time.Hour) // the reader is at its end
				assert.EqualValues(t, 1, x.gets.Load())
			})
		})
	}
}

// Facts that there is no room to keep until the end are all written, too.
func TestLessonLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // however slow the machine is, no time passes
		l := open(t, ledger.Options{})
		long := "/pool/" + strings.Repeat("x", 4000)
		const n = 20_000 // 80 MB
		s := l.Lesson(nil, request, inFlight(), "/pool/", lines)
		for i := range n {
			s.Teach(fmt.Sprint(long, i), exchange.Fact{Size: int64(i) + 1})
		}
		s.Teach(long+long, exchange.Fact{Size: 1}) // too long to be remembered
		s.End(nil)
		for i := range n {
			require.EqualValues(t, i+1, size(t, l, fmt.Sprint(long, i)))
		}
	})
}

// Where a digest is to be proved at the end, nothing is taught before.
func TestLessonUnproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		req := request.Clone()
		req.Digest = sum
		x := &index{entry: inFlight(), body: text("/pool/a 1\n")}
		s := l.Lesson(x, req, inFlight(), "/pool/", lines)
		assert.Nil(t, s)
		s.Teach("/pool/b", exchange.Fact{Size: 1})
		s.End(nil)
		synctest.Wait()
		assert.EqualValues(t, 1, size(t, l, "/pool/a"))
		stored := landed(sum)
		stored.Stored = received.Add(time.Hour)
		s = l.Lesson(x, req, stored, "/pool/", lines)
		require.NotNil(t, s, "what is stored was proved")
		s.End(nil)
	})
}

func TestCloseEndsLessons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, ledger.Options{})
		s := l.Lesson(nil, request, inFlight(), "/pool/", lines)
		require.NoError(t, l.Close())
		for range 10_000 {
			s.Teach("/pool/a", exchange.Fact{Size: 1})
		}
		s.End(nil)
	})
}
