package disk

import (
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"time"
)

// index remembers of every entry when it was used last and how much room it
// takes: some 40 bytes each, no path among them. Access times are in order at
// once here and reach the file system at most hourly.
type index struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu      sync.Mutex
	records map[uint64]record // guarded by mu; by hash of the place
	_       [40]byte          // a cache line each
}

type record struct {
	used   int64  // unix time in nanoseconds
	blocks uint32 // of 512 bytes
}

func newIndex() *index {
	x := &index{seed: maphash.MakeSeed()}
	for i := range x.shards {
		x.shards[i].records = map[uint64]record{}
	}
	return x
}

func (x *index) at(name string) (*shard, uint64) {
	h := maphash.String(x.seed, name)
	return &x.shards[h%uint64(len(x.shards))], h
}

func (x *index) shard(h uint64) *shard { return &x.shards[h%uint64(len(x.shards))] }

func newRecord(used time.Time, bytes int64) record {
	return record{used.UnixNano(), uint32(min(bytes/512, math.MaxUint32))}
}

func (r record) bytes() int64 { return int64(r.blocks) * 512 }

// put records an entry and returns how many bytes it takes more than what was
// known under its name.
func (x *index) put(name string, used time.Time, bytes int64) (more int64) {
	s, h := x.at(name)
	r := newRecord(used, bytes)
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
		r.used = max(r.used, used.UnixNano())
		s.records[h] = r
		return 0
	}
	r := newRecord(used, bytes)
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
	return ok && r.used <= limit
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

// oldest picks the least recently used entries that take bytes together: their
// hashes, and the access time that the youngest of them has.
func (x *index) oldest(bytes int64) (victims map[uint64]struct{}, limit int64) {
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
			all = append(all, candidate{r, h})
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b candidate) int {
		switch {
		case a.used < b.used:
			return -1
		case a.used > b.used:
			return 1
		}
		return 0
	})
	victims = map[uint64]struct{}{}
	limit = math.MinInt64
	for _, c := range all {
		if bytes <= 0 {
			break
		}
		victims[c.hash] = struct{}{}
		limit = c.used
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
	if !ok || r.used > limit {
		return 0
	}
	delete(s.records, h)
	return r.bytes()
}

// hash is what the index knows name by.
func (x *index) hash(name string) uint64 { return maphash.String(x.seed, name) }
