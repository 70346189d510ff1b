package admin

import (
	"fmt"
	"math"
	"time"
)

// A chart is the share of hits over a day, or since the process began.
type chart struct {
	Since  time.Time
	Span   time.Duration
	Bars   []bar
	Most   int64         // answers of the highest bar
	Each   time.Duration // what a bar stands for
	Spoken string
	Rows   []row
}

// A bar is the answers of a part of the time.
type bar struct{ X, Y, Width, Height, HitY, HitHeight float64 }

// A row says in words what some hours came to.
type row struct {
	From time.Time
	Totals
}

const (
	chartWidth, chartHeight = 720, 120
	chartBars               = 72 // at most: none is shorter than a minute
)

// newChart is nil if nothing has happened.
func newChart(points []Point, started, now time.Time) *chart {
	if len(points) == 0 {
		return nil
	}
	span := min(max(now.Sub(started), 12*time.Minute), historyTime).Truncate(time.Minute) + time.Minute
	c := &chart{Since: now.Add(-span), Span: span}
	buckets := make([]Totals, min(chartBars, int(span/time.Minute)))
	var most int64
	var all Totals
	for _, p := range points {
		i := int(float64(p.Minute.Sub(c.Since)) / float64(span) * float64(len(buckets)))
		i = min(max(i, 0), len(buckets)-1)
		buckets[i] = buckets[i].plus(p.Totals)
		most = max(most, buckets[i].Requests)
		all = all.plus(p.Totals)
	}
	c.Most, c.Each = most, span/time.Duration(len(buckets))
	wide := float64(chartWidth) / float64(len(buckets))
	for i, b := range buckets {
		if b.Requests == 0 {
			continue
		}
		h := math.Max(float64(b.Requests)/float64(most)*chartHeight, 2)
		hit := h * float64(b.Hits) / float64(b.Requests)
		c.Bars = append(c.Bars, bar{
			X: tenths(float64(i) * wide), Width: tenths(wide - 2), Y: tenths(chartHeight - h), Height: tenths(h - hit),
			HitY: tenths(chartHeight - hit), HitHeight: tenths(hit),
		})
	}
	part := span / 6
	for i := range 6 {
		one := row{From: c.Since.Add(time.Duration(i) * part)}
		for _, b := range buckets[i*len(buckets)/6 : (i+1)*len(buckets)/6] {
			one.Totals = one.Totals.plus(b)
		}
		c.Rows = append(c.Rows, one)
	}
	c.Spoken = fmt.Sprintf("In the last %s, %s of %s answers needed no download.", spanText(span), percentText(all.Hits, all.Requests), countText(all.Requests))
	return c
}

// tenths is a length that a picture needs no more digits of.
func tenths(v float64) float64 { return math.Round(v*10) / 10 }
