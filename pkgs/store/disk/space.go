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

	mu        sync.Mutex
	committed int64     // guarded by mu
	reserved  int64     // guarded by mu; by drafts
	maxBytes  int64     // guarded by mu; 0 is no limit
	minBytes  int64     // guarded by mu
	free      int64     // guarded by mu; of the file system, less what was taken since
	asked     time.Time // guarded by mu; when free was asked
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

// take reserves n bytes for a draft if both limits let it.
func (p *space) take(n int64) bool {
	if p.refresh() != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.overMax(n, 0) > 0 || p.underMin(n, 0) > 0 {
		return false
	}
	p.hold(n)
	return true
}

// settle turns what a draft reserved into what its entry takes more than the one before.
func (p *space) settle(reserved, more int64) {
	p.mu.Lock()
	p.hold(-reserved)
	p.committed += more
	p.free -= more
	p.mu.Unlock()
}

// release gives back what a draft reserved.
func (p *space) release(reserved int64) { p.settle(reserved, 0) }

// add counts n more bytes of committed files, or less.
func (p *space) add(n int64) { p.settle(0, n) }

func (p *space) hold(n int64) {
	p.reserved += n
	p.free -= n
}

// overMax is how many bytes must go before n more fit under the maximum, with
// spare percent of it left over.
func (p *space) overMax(n, spare int64) int64 {
	if p.maxBytes <= 0 {
		return 0
	}
	return p.committed + p.reserved + n - (p.maxBytes - p.maxBytes/100*spare)
}

// underMin is the same for what is to be kept free.
func (p *space) underMin(n, spare int64) int64 {
	if p.minBytes <= 0 {
		return 0
	}
	return p.minBytes + p.minBytes/100*spare + n - p.free
}

// short is how much to evict for n more bytes and spare percent. Where the whole
// store would not be enough, since others fill the file system, none of it goes.
func (p *space) short(n, spare int64) int64 {
	if p.refresh() != nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	goal := max(0, p.overMax(n, spare))
	if lack := p.underMin(n, spare); lack <= p.committed {
		goal = max(goal, lack)
	}
	return goal
}

// hopeless reports whether n bytes would not fit if every entry went.
func (p *space) hopeless(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.overMax(n, 0), p.underMin(n, 0)) > p.committed
}
