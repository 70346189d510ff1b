package upstream

import (
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBuckets(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	content := strings.Repeat("x", size)
	tests := []struct {
		name            string
		all, first, two int64
		want            time.Duration // two bodies at once, of a mirror each
	}{
		{"none", 0, 0, 0, 0},
		{"in all", 400 << 10, 0, 0, 20480 * time.Millisecond},
		{"of mirrors", 0, 400 << 10, 800 << 10, 10240 * time.Millisecond},
		{"both", 400 << 10, 400 << 10, 400 << 10, 20480 * time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := NewBucket(test.all)
				var both sync.WaitGroup
				start := time.Now()
				for _, n := range []int64{test.first, test.two} {
					o := Options{Bucket: all, Mirrors: []Mirror{{Bucket: NewBucket(n)}}, Limits: Limits{Idle: time.Second}}
					g := bubble(t, o, says(200, content, "Content-Length", "4194304"))
					both.Go(func() {
						res, err := g.Get(t.Context(), request("/a"))
						if assert.NoError(t, err) {
							n, err := io.Copy(io.Discard, res.Body)
							assert.NoError(t, err)
							assert.EqualValues(t, size, n)
						}
					})
				}
				both.Wait()
				assert.InDelta(t, test.want.Seconds(), time.Since(start).Seconds(), 0.3)
			})
		})
	}
}

func TestBucketChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(1 << 20)
		start := time.Now()
		b.wait(t.Context(), 1<<20)
		assert.InDelta(t, 1, time.Since(start).Seconds(), 0.2)
		b.Set(0)
		start = time.Now()
		b.wait(t.Context(), 1<<30)
		assert.Zero(t, time.Since(start))
		b.Set(100) // far less than a read brings
		b.wait(t.Context(), 16<<10)
		start = time.Now()
		b.wait(t.Context(), 32<<10)
		assert.InDelta(t, 327, time.Since(start).Seconds(), 170)
	})
}

// Who waits for a bucket neither stalls nor crawls.
func TestBucketIsNotTheMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := object(1<<20, 1)
		f := &faulty{content: content, header: tagged(`"a"`)}
		o := Options{Race: Race{Switch: true}, Bucket: NewBucket(0)}
		g := bubble(t, o, f.ServeHTTP, f.ServeHTTP)
		for range 5 {
			get(t, g, request("/a"))
		}
		for _, m := range g.mirrors {
			m.standing.note(func(r Record) Record { return r.moved(time.Now(), 1e9) })
		}
		o.Bucket.Set(20 << 10)
		start := time.Now()
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer res.Body.Close()
		buf := make([]byte, 256<<10)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{res.Body}, buf)
		require.NoError(t, err)
		assert.EqualValues(t, len(content), n)
		assert.InDelta(t, 50, time.Since(start).Seconds(), 10)
		assert.Zero(t, g.Stats().Switches)
	})
}
