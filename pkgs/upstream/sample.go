package upstream

import (
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Sample is something that mirrors were found to have, to measure them by.
type Sample struct {
	Path string `json:"path"` // as they were asked for it; without a query
	Size int64  `json:"size"` // bytes
}

const (
	maxSamples   = 6
	usefulSample = 256 << 10 // a smaller one says little of how fast bodies come
)

// samples are the last few that are worth keeping, large ones first. The zero value is ready.
type samples []Sample

// add takes one in. It is quick where there is nothing to do.
func (s samples) add(n Sample) samples {
	if i := slices.IndexFunc(s, func(o Sample) bool { return o.Path == n.Path }); i >= 0 {
		return s
	}
	if len(s) == maxSamples { // what is useful goes last, what is older first
		i := slices.IndexFunc(s, func(o Sample) bool { return o.Size < usefulSample })
		if i < 0 && n.Size < usefulSample {
			return s
		}
		i = max(i, 0)
		s = slices.Delete(s, i, i+1)
	}
	return append(s, n)
}

// sampled notes what a winner has.
func (g *league) sampled(req *exchange.Request, size int64) {
	const longest = 1 << 10
	if size <= 0 || len(req.Target) > longest || strings.Contains(req.Target, "?") { // a query may be a secret
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.samples = g.samples.add(Sample{req.Target, size})
}

// sorted are those to measure by first, first.
func (s samples) sorted() []Sample {
	all := slices.Clone([]Sample(s))
	slices.SortStableFunc(all, func(a, b Sample) int {
		if a, b := a.Size >= usefulSample, b.Size >= usefulSample; a != b {
			if a {
				return -1
			}
			return 1
		}
		return 0
	})
	return all
}
