package upstream

import (
	"encoding/json"
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
