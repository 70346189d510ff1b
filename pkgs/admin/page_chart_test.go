package admin

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestHistory(t *testing.T) {
	var h History
	assert.Empty(t, h.Points(noon))
	h.Note(noon, Totals{Requests: 2, Hits: 1, Sent: 20, Saved: 10})
	h.Note(noon.Add(30*time.Second), Totals{Requests: 3, Hits: 2, Sent: 30, Saved: 20})
	h.Note(noon.Add(40*time.Second), Totals{Requests: 3, Hits: 2, Sent: 30, Saved: 20})
	h.Note(noon.Add(3*time.Minute), Totals{Requests: 4, Hits: 2, Sent: 40, Saved: 20})
	assert.Equal(t, []Point{
		{noon, Totals{3, 2, 30, 20}},
		{noon.Add(3 * time.Minute), Totals{1, 0, 10, 0}},
	}, h.Points(noon.Add(4*time.Minute)), "what has changed, by minutes")
	h.Note(noon.Add(time.Minute), Totals{Requests: 5, Hits: 2, Sent: 50, Saved: 20})
	assert.Len(t, h.Points(noon.Add(4*time.Minute)), 2, "a clock that goes back makes no minute before the last")

	assert.Len(t, h.Points(noon.Add(24*time.Hour)), 1, "the first is a day old")
	h.Note(noon.Add(24*time.Hour), Totals{Requests: 6})
	assert.Len(t, h.points, 2, "and is not kept")
	for i := range 5000 {
		h.Note(noon.Add(time.Duration(i)*time.Minute), Totals{Requests: int64(10 + i)})
	}
	assert.LessOrEqual(t, len(h.points), 24*60, "minutes of a day")
}

func TestChart(t *testing.T) {
	assert.Nil(t, newChart(nil, noon, noon))

	started := noon.Add(-5 * time.Minute)
	c := newChart([]Point{{noon.Add(-2 * time.Minute), Totals{Requests: 10, Hits: 5}}, {noon.Add(-time.Minute), Totals{Requests: 5, Hits: 5}}}, started, noon)
	require.Len(t, c.Bars, 2)
	assert.Equal(t, 13*time.Minute, c.Span, "the least there is, though it runs for less")
	assert.Equal(t, time.Minute, c.Each)
	assert.EqualValues(t, 10, c.Most)
	high, low := c.Bars[0], c.Bars[1]
	assert.InDelta(t, chartHeight/2, high.HitHeight, 0.1, "half were hits")
	assert.InDelta(t, chartHeight/2, high.Height, 0.1)
	assert.InDelta(t, chartHeight/2, low.HitHeight, 0.1, "half as many, all of them hits")
	assert.Zero(t, low.Height)
	assert.Less(t, high.X, low.X)
	assert.Contains(t, c.Spoken, "66.7\u00a0% of 15 answers needed no download")
	var sum Totals
	for _, r := range c.Rows {
		sum = sum.plus(r.Totals)
	}
	assert.EqualValues(t, 15, sum.Requests, "rows have all of it")

	// A day, with minutes before and after it: bars stay within.
	var points []Point
	for i := range 26 * 60 {
		points = append(points, Point{noon.Add(time.Duration(i-25*60) * time.Minute), Totals{Requests: 1}})
	}
	c = newChart(points, noon.Add(-100*time.Hour), noon)
	assert.Len(t, c.Bars, chartBars)
	for _, b := range c.Bars {
		assert.True(t, b.X >= 0 && b.X+b.Width <= chartWidth && b.Width > 0, "%+v", b)
		assert.True(t, b.Y >= 0 && math.Abs(b.HitY+b.HitHeight-chartHeight) < 0.2, "%+v", b)
	}
}
