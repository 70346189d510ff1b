package upstream

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = mega + 1000 // no multiple of what is written at once
		content := large(4*size, 1)
		fast, whole := newPaced(content, `"a"`, 4*mega), newPaced(content, `"a"`, mega)
		whole.noRanges = true
		var conns atomic.Int32
		g := bubble(t, Options{},
			late(20*time.Millisecond, fast.ServeHTTP), whole.ServeHTTP, says(404, ""), abort,
			func(w http.ResponseWriter, r *http.Request) {
				conns.Add(1)
				assert.Equal(t, "bytes=0-"+strconv.Itoa(size-1), r.Header.Get("Range"))
				fast.ServeHTTP(w, r)
			})
		g.mirrors[4].Path.Match, g.mirrors[4].Path.Replace = regexp.MustCompile("^/b$"), "/b"
		before := g.Records()
		var read int
		var all []Measurement
		err := g.Measure(t.Context(), []string{"/a", "/b"}, size, func(n int) { read += n }, func(m Measurement) { all = append(all, m) })
		require.NoError(t, err)
		require.Len(t, all, 9, "the last has only one of the paths")
		for i, m := range all {
			assert.Equal(t, "http://m"+strconv.Itoa(i/2), m.Mirror)
			switch i / 2 {
			case 0, 4:
				assert.Empty(t, m.Error)
				assert.InEpsilon(t, 4*mega, m.Rate, 0.1)
				assert.Equal(t, 206, m.Status)
			case 1:
				assert.Empty(t, m.Error)
				assert.InEpsilon(t, mega, m.Rate, 0.1)
				assert.Equal(t, 200, m.Status)
			case 2:
				assert.Equal(t, "status 404", m.Error)
			case 3:
				assert.Contains(t, m.Error, "EOF")
			}
		}
		assert.GreaterOrEqual(t, all[0].First, 20*time.Millisecond)
		assert.LessOrEqual(t, all[0].First, 40*time.Millisecond)
		assert.EqualValues(t, 1, conns.Load())
		assert.Equal(t, before, g.Records(), "the mirrors' records are not touched")
		assert.Equal(t, 5*size, read, "so much was asked for, and no more is read")
		time.Sleep(time.Second)
	})
}

func TestMeasureEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, silent, silent)
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		begin := time.Now()
		err := g.Measure(ctx, []string{"/a"}, 1, func(int) {}, func(Measurement) { t.Error("nothing was measured") })
		assert.ErrorIs(t, err, why)
		assert.Equal(t, time.Second, time.Since(begin))
	})
}

func TestMeasureGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{Limits: Limits{Header: time.Hour}}, silent)
		var m Measurement
		require.NoError(t, g.Measure(t.Context(), []string{"/a"}, 1, func(int) {}, func(got Measurement) { m = got }))
		assert.NotEmpty(t, m.Error)
	})
}

func TestSamples(t *testing.T) {
	var s samples
	for i := range 20 {
		s = s.add(Sample{"/small" + strconv.Itoa(i), 10})
	}
	assert.Len(t, s, maxSamples)
	s = s.add(Sample{"/large", mega})
	s = s.add(Sample{"/large", mega})
	assert.Len(t, s, maxSamples)
	assert.Equal(t, Sample{"/large", mega}, s.sorted()[0])
	for i := range 20 {
		s = s.add(Sample{"/large" + strconv.Itoa(i), mega})
		s = s.add(Sample{"/tiny" + strconv.Itoa(i), 1})
	}
	for _, o := range s {
		assert.EqualValues(t, mega, o.Size, "what says more stays")
	}
	assert.Equal(t, "/large19", s[maxSamples-1].Path, "and the newest of it")
}

func TestSamplesAreOfWinners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, says(200, "content"))
		get(t, g, request("/a"))
		get(t, g, request("/b?token=secret"))
		assert.Equal(t, []Sample{{"/a", 7}}, g.Stats().Samples)
	})
}
