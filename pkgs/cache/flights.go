package cache

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Flight is a transfer under way, as it was when it was looked at.
type Flight struct {
	Key     exchange.Key
	Mirror  string    // "" until the head is there
	Begun   time.Time // by the clock of Options
	Bytes   int64     // of the content, that are here
	Resumed int64     // of those, the ones that an earlier transfer has brought
	Total   int64     // -1 while it is not known
	Readers int
}

// Flights are the transfers under way, the oldest first.
func (c *Cache) Flights() []Flight {
	c.mu.Lock()
	flying := make([]*flight, 0, len(c.flights))
	for _, f := range c.flights {
		flying = append(flying, f)
	}
	c.mu.Unlock()
	all := make([]Flight, len(flying))
	for i, f := range flying {
		all[i] = f.look()
	}
	slices.SortFunc(all, func(a, b Flight) int {
		return cmp.Or(a.Begun.Compare(b.Begun), strings.Compare(a.Key.String(), b.Key.String()))
	})
	return all
}

// look is the flight as it is now.
func (f *flight) look() Flight {
	l := Flight{Key: f.key, Begun: f.begun, Total: -1}
	select {
	case <-f.head:
		l.Mirror = f.mirror()
		if f.kind == streaming {
			l.Total = f.entry.Size
		}
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l.Bytes, l.Resumed, l.Readers = f.frontier, f.resumed, len(f.readers)
	for _, x := range f.arrived {
		l.Bytes += max(x.to-max(x.from, f.frontier), 0)
	}
	return l
}
