package disk

import (
	"os"
	"sync"
	"time"
)

// A Size is a number of bytes, or a share of the file system if Percent is set.
// The zero Size is no limit.
type Size struct {
	Bytes   int64
	Percent float64
}

// of resolves the size for a file system of total bytes.
func (z Size) of(total int64) int64 {
	if z.Percent > 0 {
		return int64(float64(total) * z.Percent / 100)
	}
	return z.Bytes
}

// space counts what the store takes: the blocks allocated to committed files
// and their sidecars, and what drafts have reserved.
type space struct {
	root         *os.File
	max, minFree Size

	mu       sync.Mutex
	used     int64     // guarded by mu
	maxBytes int64     // guarded by mu; 0 is no limit
	minBytes int64     // guarded by mu
	free     int64     // guarded by mu; of the file system, less what was taken since
	asked    time.Time // guarded by mu; when free was asked
}

// pages rounds up to what a file system allocates.
func pages(n int64) int64 { return (n + 4095) &^ 4095 }

// refresh asks the file system, at most once a second.
func (p *space) refresh() error {
	p.mu.Lock()
	recent := time.Since(p.asked) < time.Second
	if !recent {
		p.asked = time.Now()
	}
	p.mu.Unlock()
	if recent {
		return nil
	}
	total, free, err := statFileSystem(p.root)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.free, p.maxBytes, p.minBytes = free, p.max.of(total), p.minFree.of(total)
	p.mu.Unlock()
	return nil
}

// take reserves n bytes if both limits let it.
func (p *space) take(n int64) bool {
	if p.refresh() != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lacks(n, 0) > 0 {
		return false
	}
	p.used += n
	p.free -= n
	return true
}

// give returns n bytes; a negative n takes them whether there is room or not.
func (p *space) give(n int64) {
	p.mu.Lock()
	p.used -= n
	p.free += n
	p.mu.Unlock()
}

// lacks is how many bytes must go before n more fit, with spare bytes left over
// in a hundred of the limit.
func (p *space) lacks(n, spare int64) int64 {
	var lack int64
	if p.maxBytes > 0 {
		lack = p.used + n - (p.maxBytes - p.maxBytes/100*spare)
	}
	if p.minBytes > 0 {
		lack = max(lack, p.minBytes+p.minBytes/100*spare+n-p.free)
	}
	return lack
}

// short is lacks for the evictor: what to free once n bytes are wanted.
func (p *space) short(n, spare int64) int64 {
	if p.refresh() != nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lacks(n, spare)
}

// hopeless reports whether n bytes would not fit into an empty store.
func (p *space) hopeless(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.maxBytes > 0 && n > p.maxBytes
}
