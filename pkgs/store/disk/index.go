package disk

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"time"
)

// index remembers of every entry when it was used last and how much room it
// takes: some 40 bytes each with all overhead, no path among them. Access times are in order at
// once here and reach the file system at most hourly.
type index struct {
	epoch  int64 // Unix time in milliseconds that access times count from
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu      sync.Mutex
	records map[uint64]record // guarded by mu; by hash of the place
	_       [40]byte          // a cache line each
}

// A record is an access time, in milliseconds since the index's epoch, above
// kibits bits of allocated KiB (64 GiB, above any object).
type record uint64

const kibits = 26

func (r record) used() int64  { return int64(r >> kibits) }
func (r record) bytes() int64 { return int64(r&(1<<kibits-1)) << 10 }

// newIndex makes an index whose access times reach from four years before now
// to four after; what lies beyond counts as the first or last of them.
func newIndex(now time.Time) *index {
	x := &index{seed: maphash.MakeSeed(), epoch: now.AddDate(-4, 0, 0).UnixMilli()}
	for i := range x.shards {
		x.shards[i].records = map[uint64]record{}
	}
	return x
}

func (x *index) record(used time.Time, bytes int64) record {
	t := min(max(used.UnixMilli()-x.epoch, 0), 1<<(64-kibits)-1)
	return record(t)<<kibits | record(min((bytes+1023)>>10, 1<<kibits-1))
}

func (x *index) at(name string) (*shard, uint64) {
	h := maphash.String(x.seed, name)
	return &x.shards[h%uint64(len(x.shards))], h
}

func (x *index) shard(h uint64) *shard { return &x.shards[h%uint64(len(x.shards))] }

// put records an entry and returns how many bytes it takes more than what was
// known under its name.
func (x *index) put(name string, used time.Time, bytes int64) (more int64) {
	s, h := x.at(name)
	r := x.record(used, bytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.records[h]
	s.records[h] = r
	return r.bytes() - old.bytes()
}

// touch moves the entry's access time on, or records an entry met for the first time.
func (x *index) touch(name string, used time.Time, bytes int64) (more int64) {
	s, h := x.at(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.records[h]; ok {
		s.records[h] = max(r, x.record(used, r.bytes()))
		return 0
	}
	r := x.record(used, bytes)
	s.records[h] = r
	return r.bytes()
}

// drop forgets an entry and returns how many bytes it took.
func (x *index) drop(name string) int64 {
	s, h := x.at(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[h]
	delete(s.records, h)
	return r.bytes()
}

// has reports whether an entry is known.
func (x *index) has(name string) bool {
	s, h := x.at(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.records[h]
	return ok
}

// older reports whether the entry was used last at limit or before.
func (x *index) older(name string, limit int64) bool {
	s, h := x.at(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[h]
	return ok && r.used() <= limit
}

func (x *index) len() (n int) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		n += len(s.records)
		s.mu.Unlock()
	}
	return n
}

// oldest picks the least recently used entries that take bytes together, none of
// those in spared: their hashes, and the access time that the youngest of them has.
func (x *index) oldest(bytes int64, spared map[uint64]struct{}) (victims map[uint64]struct{}, limit int64) {
	type candidate struct {
		record
		hash uint64
	}
	var all []candidate
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		all = slices.Grow(all, len(s.records))
		for h, r := range s.records {
			if _, ok := spared[h]; !ok {
				all = append(all, candidate{r, h})
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Compare(a.record, b.record) })
	victims = map[uint64]struct{}{}
	limit = math.MinInt64
	for _, c := range all {
		if bytes <= 0 {
			break
		}
		victims[c.hash] = struct{}{}
		limit = c.used()
		bytes -= c.bytes()
	}
	return victims, limit
}

// forget drops a hash whose entry was not found, unless it was used meanwhile.
func (x *index) forget(h uint64, limit int64) int64 {
	s := x.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[h]
	if !ok || r.used() > limit {
		return 0
	}
	delete(s.records, h)
	return r.bytes()
}

// hash is what the index knows name by.
func (x *index) hash(name string) uint64 { return maphash.String(x.seed, name) }
