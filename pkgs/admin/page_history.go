package admin

import (
	"sync"
	"time"
)

// A Point is what a minute came to.
type Point struct {
	Minute time.Time // its beginning
	Totals
}

// A History keeps a day of minutes, in memory. The zero value is ready; it is safe
// for concurrent use.
type History struct {
	mu     sync.Mutex
	last   Totals  // guarded by mu, like all below
	points []Point // in order; minutes without a request are not there
}

const historyTime = 24 * time.Hour

// Note takes totals as they are at a time. What has changed since the last Note
// goes to the minute of now.
func (h *History) Note(now time.Time, t Totals) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := Totals{t.Requests - h.last.Requests, t.Hits - h.last.Hits, t.Sent - h.last.Sent, t.Saved - h.last.Saved}
	h.last = t
	if d == (Totals{}) {
		return
	}
	minute := now.Truncate(time.Minute)
	if n := len(h.points); n > 0 && !h.points[n-1].Minute.Before(minute) {
		p := &h.points[n-1]
		p.Totals = p.plus(d)
		return
	}
	old := 0
	for old < len(h.points) && now.Sub(h.points[old].Minute) >= historyTime {
		old++
	}
	h.points = append(h.points[:0], h.points[old:]...)
	h.points = append(h.points, Point{minute, d})
}

// Points are those of the day before now.
func (h *History) Points(now time.Time) []Point {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Point
	for _, p := range h.points {
		if now.Sub(p.Minute) < historyTime {
			all = append(all, p)
		}
	}
	return all
}

func (t Totals) plus(o Totals) Totals {
	return Totals{t.Requests + o.Requests, t.Hits + o.Hits, t.Sent + o.Sent, t.Saved + o.Saved}
}
