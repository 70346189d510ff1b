package cacheproxy

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// Lines reach the place that the log goes to together: not later than logDelay, or
// as soon as there are logPiece bytes of them. A system call for each would cost
// more than most of the answers that they are about.
const (
	logDelay = 100 * time.Millisecond
	logPiece = 64 << 10

	logRoom  = 1 << 20     // of lines that wait; who has more to say waits for room
	logStall = time.Second // of one write: lines without room are dropped from then on
)

// lines are on their way to a writer, which may be slow. Nobody waits for it but
// for room, and not once it has stalled: then lines are dropped, and counted, and
// the next line that is written says how many. It is safe for concurrent use.
type lines struct {
	notice func(dropped int64) []byte // the line that says so

	mu      sync.Mutex
	moved   sync.Cond // on mu: what is written, writing or stalled has changed
	out     io.Writer // guarded by mu
	waiting []byte    // guarded by mu
	spare   []byte    // what waiting is next; guarded by mu
	due     *time.Timer

	writing bool  // somebody writes, outside mu; guarded by mu
	stalled bool  // and has for long; guarded by mu
	added   int64 // bytes so far; guarded by mu
	written int64 // of those; guarded by mu
	dropped int64 // lines; guarded by mu
	noticed int64 // of those, the ones that were spoken of; guarded by mu
}

func newLines(out io.Writer, notice func(dropped int64) []byte) *lines {
	l := &lines{out: out, notice: notice}
	l.moved.L = &l.mu
	l.due = time.AfterFunc(logDelay, l.start)
	l.due.Stop()
	return l
}

// Write adds a whole line. It is no error that it is dropped.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 && len(l.waiting)+len(p) > logRoom {
		if l.stalled {
			l.dropped++
			return len(p), nil
		}
		l.begin()
		l.moved.Wait()
	}
	if len(l.waiting) == 0 && !l.writing {
		l.due.Reset(logDelay)
	}
	l.waiting = append(l.waiting, p...)
	if l.added += int64(len(p)); len(l.waiting) >= logPiece {
		l.begin()
	}
	return len(p), nil
}

func (l *lines) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
}

// begin has what waits written. Callers hold mu.
func (l *lines) begin() {
	if !l.writing && len(l.waiting) > 0 {
		l.writing = true
		l.due.Stop()
		go l.write()
	}
}

// write writes what waits, and what has come meanwhile if that is much. One
// goroutine does at a time; it ends with the write.
func (l *lines) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for more := true; more; more = len(l.waiting) >= logPiece {
		batch, out, lost := l.waiting, l.out, l.dropped-l.noticed
		l.waiting, l.spare, l.noticed = l.spare[:0], nil, l.dropped
		watch := l.watch()
		l.mu.Unlock()
		n, err := out.Write(batch)
		if lost > 0 && err == nil {
			_, err = out.Write(l.notice(lost))
		}
		watch.Stop()
		l.mu.Lock()
		if err != nil { // there is no other place to say so
			l.dropped += int64(bytes.Count(batch[n:], []byte{'\n'}))
			l.noticed -= lost
		}
		l.stalled = false
		l.written, l.spare = l.written+int64(len(batch)), batch
		l.moved.Broadcast()
	}
	l.writing = false
	if len(l.waiting) > 0 {
		l.due.Reset(logDelay)
	}
	l.moved.Broadcast()
}

// watch notes that the write which begins now stalls, unless it is stopped before.
// Callers hold mu.
func (l *lines) watch() *time.Timer {
	mark := l.written
	return time.AfterFunc(logStall, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.writing && l.written == mark {
			l.stalled = true
			l.moved.Broadcast()
		}
	})
}

// flush returns when the lines so far are written, or the writer has stalled.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle()
}

// settle is flush for who holds mu, which is let go of meanwhile.
func (l *lines) settle() {
	for mark := l.added; l.written < mark && !l.stalled; {
		l.begin()
		l.moved.Wait()
	}
}

// to sends lines to out from now on, and those before to where they went.
func (l *lines) to(out io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle()
	for l.writing && !l.stalled { // lines that came while it was waited
		l.moved.Wait()
	}
	l.out = out
}

// lost is how many lines were dropped.
func (l *lines) lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}
