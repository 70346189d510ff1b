package upstream

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, late(20*time.Millisecond, says(200, "four")), says(500, ""), abort, says(429, "", "Retry-After", "60"))
		for range 10 {
			get(t, g, request("/a"))
		}
		s := g.Stats()
		assert.EqualValues(t, 10, s.Requests)
		var asked int64
		for _, m := range s.Mirrors {
			asked += m.Requests
		}
		assert.Equal(t, asked, s.Asked)
		assert.EqualValues(t, 10, s.Mirrors[0].Wins)
		assert.EqualValues(t, 40, s.Mirrors[0].Bytes)
		assert.Empty(t, s.Mirrors[0].Error)
		assert.Equal(t, "status 500", s.Mirrors[1].Error)
		assert.Contains(t, s.Mirrors[2].Error, "EOF")
		assert.Equal(t, "paused", s.Mirrors[3].Breaker)
		assert.EqualValues(t, 10, s.Mirrors[0].Answers["good"])
		assert.Equal(t, s.Mirrors[1].Requests, s.Mirrors[1].Answers["failed"])
		assert.Equal(t, s.Mirrors[3].Requests, s.Mirrors[3].Answers["busy"])
		for i, m := range s.Mirrors {
			var sum int64
			for _, n := range m.Answers {
				sum += n
			}
			assert.Equal(t, m.Requests, sum, "each question has one end: %d", i)
		}
		for i, m := range s.Mirrors[1:] {
			assert.Zero(t, m.Wins)
			assert.NotZero(t, m.Failed, i)
			assert.Equal(t, m.Requests, m.Failed)
			assert.NotZero(t, m.ErrorAt)
		}

		text, err := json.Marshal(s)
		require.NoError(t, err)
		var back map[string]any
		require.NoError(t, json.Unmarshal(text, &back))
		first := back["mirrors"].([]any)[0].(map[string]any)
		assert.Equal(t, "http://m0", first["mirror"])
		assert.Equal(t, "closed", first["breaker"])
		assert.EqualValues(t, 20*time.Millisecond, first["first"])
	})
}

func TestEndings(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"good", says(200, "x"), "good"},
		{"absent", says(404, ""), "absent"},
		{"gone", says(410, ""), "absent"},
		{"forbidden", says(403, ""), "forbidden"},
		{"refused", says(401, ""), "refused"},
		{"busy", says(503, ""), "busy"},
		{"server error", says(500, ""), "failed"},
		{"cut", abort, "failed"},
		{"silent", silent, "timed-out"},
		{"elsewhere", says(302, "", "Location", "ftp://m0/x"), "misled"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bubble(t, Options{}, test.handler)
				if res, err := g.Get(t.Context(), request("/a")); err == nil {
					res.Body.Close()
				}
				for word, n := range g.Stats().Mirrors[0].Answers {
					assert.Equal(t, word == test.want, n == 1, "%s: %d", word, n)
				}
			})
		})
	}
	t.Run("outrun", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := bubble(t, Options{}, says(200, "x"), silent)
			get(t, g, request("/a"))
			time.Sleep(time.Minute)
			assert.EqualValues(t, 1, g.Stats().Mirrors[1].Answers["outrun"])
		})
	})
}
