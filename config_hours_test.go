package cacheproxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestHours(t *testing.T) {
	l := Limits{UpstreamRate: 1, UpstreamHours: []HourRate{{From: 8 * 60, To: 18 * 60, Rate: 2}, {From: 22 * 60, To: 60, Rate: 3}}}
	for clock, want := range map[string]Size{"07:59": 1, "08:00": 2, "17:59": 2, "18:00": 1, "22:00": 3, "23:59": 3, "00:59": 3, "01:00": 1} {
		now, err := time.Parse("15:04", clock)
		assert.NoError(t, err)
		assert.Equal(t, want, l.rateAt(now), clock)
	}
}
