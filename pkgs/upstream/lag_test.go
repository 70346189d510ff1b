package upstream

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

func TestDates(t *testing.T) {
	a, b, c := &mirror{base: "a"}, &mirror{base: "b"}, &mirror{base: "c"}
	begin := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(hours int) time.Time { return begin.Add(time.Duration(hours) * time.Hour) }
	type look struct {
		path      string
		m         *mirror
		date, now int // hours
		read      bool
	}
	const none = time.Duration(-1)
	tests := []struct {
		name    string
		looks   []look
		a, b, c time.Duration
	}{
		{"nobody", nil, none, none, none},
		{"one alone", []look{{"/r", a, 0, 1, true}}, none, none, none},
		{"in step", []look{{"/r", a, 0, 1, true}, {"/r", b, 0, 1, true}}, 0, 0, none},
		{"behind", []look{{"/r", a, 6, 7, true}, {"/r", b, 0, 8, true}}, 0, 6 * time.Hour, none},
		{"behind, seen before", []look{{"/r", b, 0, 7, true}, {"/r", a, 6, 8, true}}, 0, 6 * time.Hour, none},
		{"published after it was seen", []look{{"/r", b, 0, 5, true}, {"/r", a, 6, 8, true}}, 0, 0, none},
		{"catches up", []look{{"/r", a, 6, 7, true}, {"/r", b, 0, 8, true}, {"/r", b, 6, 9, true}}, 0, 0, none},
		{"the worst index counts", []look{{"/r", a, 6, 7, true}, {"/r", b, 0, 8, true}, {"/s", a, 6, 7, true}, {"/s", b, 6, 8, true}}, 0, 6 * time.Hour, none},
		{"the median of content", []look{
			{"/1", a, 9, 10, false}, {"/1", b, 0, 10, false}, // one page that was made anew
			{"/2", a, 9, 10, false}, {"/2", b, 9, 10, false},
			{"/3", a, 9, 10, false}, {"/3", b, 9, 10, false},
		}, 0, 0, none},
		{"indexes, not content", []look{{"/r", a, 6, 7, true}, {"/r", b, 5, 8, true}, {"/x", a, 6, 7, false}, {"/x", b, 0, 8, false}}, 0, time.Hour, none},
		{"what an index says, not its header", []look{{"/r", b, 0, 7, false}, {"/r", a, 6, 7, true}, {"/r", b, 0, 8, false}, {"/r", b, 6, 8, true}}, 0, 0, none},
		{"a date to come is none", []look{{"/r", a, 20, 7, true}, {"/r", b, 0, 8, true}, {"/r", c, 2, 8, true}}, none, 2 * time.Hour, 0},
		{"three", []look{{"/r", a, 6, 7, true}, {"/r", b, 4, 7, true}, {"/r", c, 1, 7, true}}, 0, 2 * time.Hour, 5 * time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var d dates
			for _, l := range test.looks {
				d.see(l.path, l.m, at(l.date), at(l.now), l.read)
			}
			for m, want := range map[*mirror]time.Duration{a: test.a, b: test.b, c: test.c} {
				if lag := d.lag(m); want == none {
					assert.Nil(t, lag, m.base)
				} else if assert.NotNil(t, lag, m.base) {
					assert.Equal(t, want, lag.Behind, m.base)
				}
			}
		})
	}
}

func TestDatesAreBounded(t *testing.T) {
	var d dates
	m := &mirror{}
	now := time.Now()
	for i := range maxDated + 50 {
		d.see("/kept", m, now, now, true)
		d.see(fmt.Sprint("/", i), m, now, now, false)
	}
	assert.Len(t, d.paths, maxDated)
	assert.Contains(t, d.paths, "/kept", "it was used again and again")
	assert.NotContains(t, d.paths, "/0")
}

func TestLagOfAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		date := func(ago time.Duration) string { return now.Add(-ago).UTC().Format(http.TimeFormat) }
		g := bubble(t, Options{},
			says(200, "new", "Last-Modified", date(time.Hour)),
			says(200, "old", "Last-Modified", date(25*time.Hour)),
			says(200, "dynamic", "Last-Modified", date(0)),
			says(404, "", "Last-Modified", date(0)))
		req := request("/index")
		for range 20 {
			get(t, g, req)
			time.Sleep(3 * time.Second) // so that the others are explored
		}
		s := g.Stats()
		require.NotNil(t, s.Mirrors[0].Lag)
		require.NotNil(t, s.Mirrors[1].Lag)
		assert.Zero(t, s.Mirrors[0].Lag.Behind)
		assert.Equal(t, 24*time.Hour, s.Mirrors[1].Lag.Behind)
		assert.Nil(t, s.Mirrors[2].Lag, "a date that is as new as the answer says nothing")
		assert.Nil(t, s.Mirrors[3].Lag, "of what is not there neither")

		g.Saw("/Release", "http://m0", now.Add(-2*time.Hour))
		g.Saw("/Release", "http://m1", now.Add(-time.Hour))
		g.Saw("/Release", "http://nobody", now)
		s = g.Stats()
		assert.Equal(t, time.Hour, s.Mirrors[0].Lag.Behind, "indexes that were read count alone")
		assert.Zero(t, s.Mirrors[1].Lag.Behind)
	})
}

// An immutable file's date says nothing of its mirror, and a 304 says as much as its entry.
func TestLagByClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		old := says(200, "old", "Last-Modified", now.Add(-48*time.Hour).Format(http.TimeFormat))
		g := bubble(t, Options{}, says(304, "", "Etag", `"a"`), old)
		req := request("/file")
		req.Policy.Class = freshness.Immutable
		get(t, g, req)
		time.Sleep(time.Second)
		assert.Nil(t, g.Stats().Mirrors[1].Lag)

		req = request("/index")
		req.Validate = &exchange.Entry{Status: 200, Size: 3, Mirror: "http://m0", Header: http.Header{
			"Etag": {`"a"`}, "Last-Modified": {now.Add(-24 * time.Hour).Format(http.TimeFormat)}, "Date": {now.Add(-time.Hour).Format(http.TimeFormat)},
		}}
		_, err := g.Get(t.Context(), req)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		s := g.Stats()
		require.NotNil(t, s.Mirrors[1].Lag)
		assert.Equal(t, 24*time.Hour, s.Mirrors[1].Lag.Behind)
		require.NotNil(t, s.Mirrors[0].Lag)
		assert.Zero(t, s.Mirrors[0].Lag.Behind)
	})
}
