package upstream

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// ranged serves content with ranges as net/http does, and counts who asked for one.
type ranged struct {
	content []byte
	header  http.Header
	asked   atomic.Int64
}

func (s *ranged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") != "" {
		s.asked.Add(1)
	}
	for name, values := range s.header {
		w.Header()[name] = values
	}
	modified, _ := http.ParseTime(s.header.Get("Last-Modified"))
	http.ServeContent(w, r, "", modified, bytes.NewReader(s.content))
}

func TestSection(t *testing.T) { // F10
	const size = 1 << 20
	content, foreign := object(size, 1), object(size, 2)
	digest := exchange.Digest("sha256:" + string(bytes.Repeat([]byte("0"), 64)))
	dated := http.Header{"Last-Modified": {"Mon, 02 Jan 1995 15:04:05 GMT"}}
	gone := &ranged{content: content, header: tagged(`"z"`)}
	tests := []struct {
		name          string
		digest        exchange.Digest
		first, second http.Header
		down          bool // the first mirror, after its head
		foreign       bool // what the second one has
		ok            bool
	}{
		{"equal tags", "", tagged(`"a"`), tagged(`"a"`), false, false, true},
		{"equal tags, the first is down", "", tagged(`"a"`), tagged(`"a"`), true, false, true},
		{"another tag", "", tagged(`"a"`), tagged(`"b"`), true, true, false},
		{"another tag, and a digest that does not prove it", digest, tagged(`"a"`), tagged(`"b"`), true, true, false},
		{"a digest alone", digest, nil, nil, false, true, true},
		{"a digest alone, the first is down", digest, nil, nil, true, false, false},
		{"a date", "", dated, dated, false, true, true},
		{"a date, the first is down", "", dated, dated, true, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				second := &ranged{content: content, header: test.second}
				if test.foreign {
					second.content = foreign
				}
				first := &ranged{content: content, header: test.first}
				var down atomic.Bool
				g := bubble(t, Options{Race: Race{Switch: true, Width: 1}}, func(w http.ResponseWriter, r *http.Request) {
					if down.Load() {
						panic(http.ErrAbortHandler)
					}
					first.ServeHTTP(w, r)
				}, second.ServeHTTP)
				req := request("/a")
				req.Digest = test.digest
				res, err := g.Get(t.Context(), req)
				require.NoError(t, err)
				defer res.Body.Close()
				require.NotNil(t, res.Ranges)
				down.Store(test.down)
				part, err := res.Ranges.Section(t.Context(), 1000, 5000)
				if !test.ok {
					assert.Error(t, err)
					return
				}
				require.NoError(t, err)
				got, err := io.ReadAll(part)
				require.NoError(t, err)
				assert.Equal(t, content[1000:6000], got)
				require.NoError(t, part.Close())
			})
		})
	}
	t.Run("where there are none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for name, h := range map[string]http.HandlerFunc{
				"no validator": func(w http.ResponseWriter, r *http.Request) { (&ranged{content: content}).ServeHTTP(w, r) },
				"a weak one":   (&ranged{content: content, header: tagged(`W/"a"`)}).ServeHTTP,
				"denied":       says(200, "text", "Etag", `"a"`, "Accept-Ranges", "none"),
			} {
				g := bubble(t, Options{Race: Race{Switch: true}}, h)
				res, err := g.Get(t.Context(), request("/a"))
				require.NoError(t, err)
				assert.Nil(t, res.Ranges, name)
				res.Body.Close()
			}
		})
	})
	t.Run("beyond the end, and after the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{Race: Race{Switch: true}}, gone.ServeHTTP)
			res, err := g.Get(t.Context(), request("/a"))
			require.NoError(t, err)
			for _, bad := range [][2]int64{{-1, 5}, {0, 0}, {0, size + 1}, {size, 1}, {1, -1}} {
				_, err = res.Ranges.Section(t.Context(), bad[0], bad[1])
				assert.Error(t, err)
			}
			assert.Zero(t, gone.asked.Load())
			res.Body.Close()
			_, err = res.Ranges.Section(t.Context(), 0, 1)
			assert.Error(t, err)
		})
	})
	t.Run("a mirror that sends all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{Race: Race{Switch: true}}, says(200, "content", "Etag", `"a"`))
			res, err := g.Get(t.Context(), request("/a"))
			require.NoError(t, err)
			defer res.Body.Close()
			for range 3 {
				_, err = res.Ranges.Section(t.Context(), 2, 3)
				assert.Error(t, err)
			}
			assert.EqualValues(t, 2, g.Stats().Asked, "it is not asked again")
		})
	})
}

func TestRewind(t *testing.T) {
	content := object(1<<20, 1)
	synctest.Test(t, func(t *testing.T) {
		s := &ranged{content: content, header: tagged(`"a"`)}
		g := bubble(t, Options{Race: Race{Switch: true}}, s.ServeHTTP, s.ServeHTTP)
		res, err := g.Get(t.Context(), request("/a"))
		require.NoError(t, err)
		defer res.Body.Close()
		for _, off := range []int64{5000, 0, int64(len(content)) - 1, int64(len(content))} {
			res.Ranges.Rewind(off)
			got, err := io.ReadAll(res.Body)
			require.NoError(t, err, off)
			assert.True(t, bytes.Equal(content[off:], got), off)
		}
		assert.Zero(t, g.Stats().Switches)
	})
}
