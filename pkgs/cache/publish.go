package cache

import (
	"sync"
	"time"
)

// A publisher moves a flight's frontier: at once for the first bytes, then at
// most every publishBytes or publishTime, since each move wakes every reader.
// It is used by the goroutine that runs the flight.
type publisher struct {
	flight *flight
	shown  int64
	at     time.Time

	mu    sync.Mutex
	newer int64 // behind the frontier, to be shown by timer
	timer *time.Timer
	armed bool
}

const (
	publishBytes = 256 << 10
	publishTime  = 10 * time.Millisecond
)

// advance makes content below off readable, soon.
func (p *publisher) advance(off int64) {
	off -= p.flight.hold
	if off <= p.shown {
		return
	}
	now := time.Now()
	if p.shown == 0 || off-p.shown >= publishBytes || now.Sub(p.at) >= publishTime {
		p.shown, p.at = off, now
		p.flight.show(off)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newer = off
	if p.armed {
		return
	}
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(publishTime, p.late)
	} else {
		p.timer.Reset(publishTime)
	}
}

// late shows what was held for company when none came.
func (p *publisher) late() {
	p.mu.Lock()
	p.armed = false
	off := p.newer
	p.mu.Unlock()
	p.flight.show(off)
}

func (p *publisher) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}

// show moves the frontier up to off.
func (f *flight) show(off int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off > f.frontier && f.end == nil {
		f.frontier = off
		f.wake()
	}
}

// A buffer is what a flight reads into: small at first, so that many small
// flights stay cheap, and of full size once the transfer fills it and the
// cache has one left.
type buffer struct {
	cache *Cache
	b     []byte
	whole *[]byte // what b is of, for the pool
	full  int     // reads in a row that filled it
	large bool
}

var smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallChunk); return &b }}

func newBuffer(c *Cache) *buffer {
	small := smallBuffers.Get().(*[]byte)
	return &buffer{cache: c, b: *small, whole: small}
}

// adapt takes note of a read of n bytes.
func (b *buffer) adapt(n int) {
	if b.large || n < len(b.b) {
		return
	}
	if b.full++; b.full < 4 || b.cache.chunk <= smallChunk {
		return
	}
	select {
	case b.cache.large <- struct{}{}:
		b.free()
		b.whole = b.cache.chunks.Get().(*[]byte)
		b.b, b.large = *b.whole, true
	default:
		b.full = 0
	}
}

func (b *buffer) free() {
	if b.large {
		b.cache.chunks.Put(b.whole)
		<-b.cache.large
		return
	}
	smallBuffers.Put(b.whole)
}
