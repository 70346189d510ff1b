package upstream

import (
	"sync/atomic"
	"time"
)

// A pace measures how fast a body comes, window by window. A window counts only
// if most of it was spent waiting for the body, not for whoever reads it.
type pace struct {
	line  *atomic.Int64 // bytes of all bodies
	since time.Time     // the window's begin; zero: there is none
	asked time.Time     // the Read in progress
	was   int64         // of line, then
	spent time.Duration // in Read
	bytes int64
}

// begin comes before a Read.
func (p *pace) begin(line *atomic.Int64) {
	p.asked = time.Now()
	if p.since.IsZero() {
		p.line, p.since, p.was = line, p.asked, line.Load()
	}
}

// end comes after a Read that brought n bytes, and was idle for a while by our
// own will. When a window is complete, it returns the body's rate and that of
// all bodies in it, in bytes a second.
func (p *pace) end(n int, idle, window time.Duration) (rate, line float64, ok bool) {
	now := time.Now()
	p.bytes += int64(n)
	p.spent += now.Sub(p.asked) - idle
	if p.spent < window && now.Sub(p.since) < 4*window {
		return 0, 0, false
	}
	return p.cut(now)
}

// cut ends the window.
func (p *pace) cut(now time.Time) (rate, line float64, ok bool) {
	wall := now.Sub(p.since)
	if ok = wall > 0 && p.spent >= wall/2; ok {
		rate = float64(p.bytes) / wall.Seconds()
		line = float64(p.line.Load()-p.was) / wall.Seconds()
	}
	*p = pace{}
	return rate, line, ok
}
