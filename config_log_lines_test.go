package cacheproxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A sink is a writer that can be slow.
type sink struct {
	mu     sync.Mutex
	writes []string      // guarded by mu
	gate   chan struct{} // nil: it is open
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.writes = append(s.writes, string(p))
	return len(p), nil
}

func (s *sink) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

func (s *sink) all() string { return strings.Join(s.list(), "") }

func saysDropped(n int64) []byte { return fmt.Appendf(nil, "dropped %d\n", n) }

func TestLinesGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := newLines(s, saysDropped)
		for i := range 3 {
			fmt.Fprintln(l, i)
		}
		time.Sleep(logDelay - time.Nanosecond)
		synctest.Wait()
		assert.Empty(t, s.list())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, []string{"0\n1\n2\n"}, s.list())

		fmt.Fprintln(l, "late")
		l.flush()
		assert.Equal(t, []string{"0\n1\n2\n", "late\n"}, s.list(), "who flushes does not wait for time")
		l.flush()

		fmt.Fprintln(l, strings.Repeat("x", logPiece))
		synctest.Wait()
		assert.Len(t, s.list(), 3, "nor does much")
		time.Sleep(time.Hour)
		assert.Len(t, s.list(), 3)
	})
}

// What was said before the writer changed goes to the old one, all of it and in order.
func TestLinesChangeTheirWriter(t *testing.T) {
	sinks := make([]*sink, 20)
	for i := range sinks {
		sinks[i] = &sink{}
	}
	l := newLines(sinks[0], saysDropped)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				fmt.Fprintln(l, i)
			}
		})
	}
	for _, s := range sinks[1:] {
		l.to(s)
	}
	wg.Wait()
	l.flush()
	var text strings.Builder
	for _, s := range sinks {
		text.WriteString(s.all())
	}
	assert.Equal(t, 4*20_000, strings.Count(text.String(), "\n"))
	assert.Zero(t, l.lost())
}

// A writer that is slow holds up who has more to say than there is room for; one
// that takes nothing for long holds up nobody, and memory is bounded.
func TestLinesDoNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		l := newLines(s, saysDropped)
		line := strings.Repeat("x", logPiece-1) + "\n"
		start := time.Now()
		for range 3 * logRoom / logPiece {
			fmt.Fprint(l, line)
		}
		assert.Equal(t, logStall, time.Since(start), "once, not for each")
		fmt.Fprint(l, "short\n")
		l.flush()
		assert.Equal(t, logStall, time.Since(start))
		synctest.Wait()
		assert.LessOrEqual(t, len(l.waiting), logRoom)
		dropped := l.lost()
		assert.Positive(t, dropped)

		close(s.gate)
		synctest.Wait()
		l.flush()
		assert.Equal(t, dropped, l.lost())
		all := s.all()
		assert.Contains(t, all, fmt.Sprintf("dropped %d\n", dropped))
		assert.EqualValues(t, 3*logRoom/logPiece+1-dropped, strings.Count(all, "\n")-1, "the others are there")

		fmt.Fprint(l, "again\n")
		l.flush()
		assert.True(t, strings.HasSuffix(s.all(), "again\n"))
		assert.Equal(t, 1, strings.Count(s.all(), "dropped"))
	})
}

func TestLinesThatCannotBeWritten(t *testing.T) {
	s := &sink{err: errors.New("no space left")}
	l := newLines(s, saysDropped)
	fmt.Fprint(l, "a\nb\n")
	l.flush()
	assert.EqualValues(t, 2, l.lost())
	s.mu.Lock()
	s.err = nil
	s.mu.Unlock()
	fmt.Fprint(l, "c\n")
	l.flush()
	assert.Equal(t, "c\ndropped 2\n", s.all())
}

func BenchmarkLines(b *testing.B) {
	l := newLines(new(discard), saysDropped)
	line := []byte(strings.Repeat("x", 330) + "\n")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = l.Write(line)
		}
	})
}

type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }
