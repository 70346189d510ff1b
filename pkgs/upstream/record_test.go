package upstream

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestBreaker(t *testing.T) {
	var r Record
	now := epoch
	for range tripAt - 1 {
		r = r.failed(now, true)
		assert.Equal(t, closed, r.breaker(now))
	}
	for want := firstTrip; want < 2*lastTrip; want *= 2 { // longer each time, but not for ever
		r = r.failed(now, true)
		d := min(want, lastTrip)
		assert.Equal(t, open, r.breaker(now.Add(d-1)))
		assert.Equal(t, halfOpen, r.breaker(now.Add(d)))
		now = now.Add(d)
		r = r.asked(now)
		assert.Equal(t, open, r.breaker(now), "one probe at a time")
		now = now.Add(time.Millisecond)
	}
	assert.Equal(t, closed, r.answered(now).breaker(now))
	assert.Equal(t, closed, r.answered(now).failed(now, true).breaker(now), "it counts anew")

	t.Run("an outage of everything", func(t *testing.T) {
		var r Record
		for range 100 {
			r = r.failed(epoch, false)
		}
		assert.Equal(t, halfOpen, r.breaker(epoch.Add(firstTrip)))
	})
	t.Run("no name", func(t *testing.T) { // F41
		var r Record
		for range 100 {
			r = r.nameless(epoch, true)
			assert.Equal(t, open, r.breaker(epoch))
		}
		assert.Equal(t, halfOpen, r.breaker(epoch.Add(dnsTrip)))
	})
	t.Run("its own word", func(t *testing.T) {
		r := Record{}.told(epoch, time.Minute).failed(epoch, true)
		assert.Equal(t, paused, r.breaker(epoch.Add(time.Minute-1)))
		assert.Equal(t, closed, r.breaker(epoch.Add(time.Minute)))
	})
}

func TestRecordLearns(t *testing.T) {
	r, now := Record{}, epoch
	step := func(n int, d time.Duration) {
		for range n {
			now = now.Add(time.Second)
			r = r.headed(now, d)
		}
	}
	step(3, 20*time.Millisecond)
	require.True(t, r.known(now))
	assert.Equal(t, 20*time.Millisecond, r.First)
	assert.InDelta(t, 40, r.late().Milliseconds(), 25)

	step(1, 15*time.Second)
	assert.Less(t, r.First, 50*time.Millisecond, "one that is far out is no rule")
	step(40, 200*time.Millisecond)
	assert.InDelta(t, 200, r.First.Milliseconds(), 20, "it follows")

	before := r
	r = r.outrun(now, 100*time.Millisecond)
	assert.Equal(t, before.First, r.First, "that was to be expected")
	for range 5 {
		r = r.outrun(now, time.Second)
	}
	assert.Greater(t, r.First, 250*time.Millisecond)

	assert.False(t, r.known(now.Add(2*halfLife)), "it fades")
	assert.Less(t, Record{}.failed(epoch, true).aged(epoch.Add(4*halfLife)).Errors, 0.01)

	var rated Record
	for range 10 {
		rated = rated.moved(now, 1<<20)
	}
	assert.InDelta(t, 1<<20, rated.Rate, 1)
	assert.Greater(t, rated.cost(10<<20, 0), 9*time.Second)
}

func TestRecordsFromElsewhere(t *testing.T) {
	r := Record{Mirror: "http://m0"}.headed(epoch, time.Second).failed(epoch, true).told(epoch, time.Minute)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	var back Record
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, r, back)

	wild := Record{At: epoch.Add(time.Hour), Weight: math.NaN(), Rated: math.Inf(1), Errors: -1, Rate: math.Inf(1), First: -1,
		Failures: -7, Until: epoch.Add(time.Hour), Pause: epoch.AddDate(1, 0, 0)}.believed(epoch)
	assert.Equal(t, Record{At: epoch, Rated: maxWeight, Rate: math.MaxInt64, Until: epoch.Add(lastTrip), Pause: epoch.Add(longestPause)}, wild)

	g := join(t, Options{Mirrors: mirrors(t, "http://m0", "http://m1"), Records: []Record{r, {Mirror: "http://gone"}}})
	assert.Equal(t, []Record{r, {Mirror: "http://m1"}}, g.Records())
}

func TestChoose(t *testing.T) {
	known := func(first time.Duration) Record {
		return Record{At: epoch, First: first, Weight: maxWeight, Asked: epoch}
	}
	rate := func(r Record, rate float64) Record {
		r.Rate, r.Rated = rate, 1
		return r
	}
	shut := func(r Record, until time.Duration) Record {
		r.Failures, r.Until = tripAt, epoch.Add(until)
		return r
	}
	fast, slow := known(20*time.Millisecond), known(200*time.Millisecond)
	failing := fast
	for range 8 { // of ten, say
		failing = failing.lacks(epoch)
	}
	tests := []struct {
		name    string
		records []Record
		size    float64
		want    choice
	}{
		{"nobody is known", make([]Record, 5), 0, choice{[]int{0, 1, 2, 3, 4}, nil, 3, -1}},
		{"the best one", []Record{slow, fast}, 0, choice{[]int{1, 0}, nil, 1, -1}},
		{"an unknown one stands between", []Record{slow, {}, fast}, 0, choice{[]int{2, 1, 0}, nil, 1, 1}},
		{"a lucky one is doubted", []Record{fast, {At: epoch, First: 18 * time.Millisecond, Weight: 1, Asked: epoch}}, 0, choice{[]int{0, 1}, nil, 1, -1}},
		{"large, and the line counts", []Record{rate(fast, 1e6), rate(slow, 1e7)}, 1e8, choice{[]int{1, 0}, nil, 1, -1}},
		{"large, and nobody knows", []Record{slow, rate(fast, 1e6)}, 1e8, choice{[]int{1, 0}, nil, 1, -1}},
		{"one that fails", []Record{failing, slow}, 0, choice{[]int{1, 0}, nil, 1, -1}},
		{"open", []Record{shut(fast, time.Second), slow}, 0, choice{[]int{1}, []int{0}, 1, -1}},
		{"half-open", []Record{shut(fast, -4*time.Second), slow}, 0, choice{[]int{1, 0}, nil, 1, -1}},
		{"all open", []Record{shut(fast, time.Second), shut(slow, time.Second)}, 0, choice{nil, []int{0, 1}, 0, -1}},
		{"all half-open", []Record{shut(fast, 0), shut(slow, 0)}, 0, choice{[]int{0, 1}, nil, 2, -1}},
		{"paused", []Record{fast.told(epoch, time.Second), slow}, 0, choice{[]int{1}, nil, 1, -1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := budget{1, 1}
			assert.Equal(t, test.want, choose(test.records, epoch, 3, test.size, &b))
		})
	}
	t.Run("explore", func(t *testing.T) {
		b := budget{}
		var times, tried int
		records := []Record{fast, slow, slow}
		for i := range 1000 {
			now := epoch.Add(time.Duration(i) * time.Second)
			records[0].At = now
			b.earn()
			c := choose(records, now, 3, 0, &b)
			require.Equal(t, 0, c.order[0])
			if c.explore >= 0 {
				times++
				tried |= 1 << c.explore
				records[c.explore].Asked = now
			}
		}
		assert.InDelta(t, 1000*exploreShare, times, 2)
		assert.Equal(t, 6, tried, "all of them")
	})
}

func FuzzRecord(f *testing.F) { // of a file that anybody may have written
	f.Add([]byte(`{"first":20000000,"weight":3,"rate":1e308,"rated":1e-9,"failures":9223372036854775807,"until":"2026-01-02T03:04:05Z"}`), 3e6)
	f.Fuzz(func(t *testing.T, text []byte, size float64) {
		var r Record
		if json.Unmarshal(text, &r) != nil {
			return
		}
		r = r.believed(epoch)
		now := epoch.Add(time.Second)
		for _, r := range []Record{r, r.headed(now, time.Millisecond), r.outrun(now, time.Second), r.failed(now, true), r.nameless(now, true), r.moved(now, 1e6).asked(now)} {
			require.False(t, math.IsNaN(r.Weight+r.Rate+r.Rated+r.Errors))
			require.GreaterOrEqual(t, r.late(), r.First)
			require.False(t, r.Until.After(now.Add(lastTrip)))
			b := budget{1, 1}
			c := choose([]Record{r, {}, r}, now, 3, math.Abs(size), &b)
			require.LessOrEqual(t, c.width, len(c.order))
		}
	})
}
