package cache

import "sync/atomic"

// Stats are a cache's counters since it was made.
type Stats struct {
	Kept         int64 `json:"kept"`          // transfers that ended early, and left a part to go on with
	Resumed      int64 `json:"resumed"`       // transfers that went on from such a part, of an earlier run too
	ResumedBytes int64 `json:"resumed-bytes"` // that those did not fetch again
	Dropped      int64 `json:"dropped"`       // parts that were of no use: the content has changed, or nothing vouches for it
	Wrong        int64 `json:"wrong"`         // transfers whose content was not what its digest promised
}

// counts are the counters as they change.
type counts struct {
	kept, resumed, resumedBytes, dropped, wrong atomic.Int64
}

// Stats returns the counters as they are now. Each is exact; together they are
// not of one moment.
func (c *Cache) Stats() Stats {
	return Stats{
		Kept:         c.counts.kept.Load(),
		Resumed:      c.counts.resumed.Load(),
		ResumedBytes: c.counts.resumedBytes.Load(),
		Dropped:      c.counts.dropped.Load(),
		Wrong:        c.counts.wrong.Load(),
	}
}
