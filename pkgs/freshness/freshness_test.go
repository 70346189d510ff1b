package freshness_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestJudge(t *testing.T) {
	hour := freshness.Policy{TTL: time.Hour}
	tests := []struct {
		name   string
		policy freshness.Policy
		age    time.Duration
		want   freshness.Verdict
		left   time.Duration
	}{
		{"just received", hour, 0, freshness.Fresh, time.Hour},
		{"the last moment", hour, time.Hour - 1, freshness.Fresh, 1},
		{"the first stale moment", hour, time.Hour, freshness.Dead, 0},
		{"no TTL is always stale", freshness.Policy{}, 0, freshness.Dead, 0},
		{"immutable", freshness.Policy{Class: freshness.Immutable}, 1e6 * time.Hour, freshness.Fresh, freshness.Forever},
		{"never", freshness.Policy{TTL: freshness.Forever}, 1e6 * time.Hour, freshness.Fresh, freshness.Forever},
		{"passthrough", freshness.Policy{Class: freshness.Passthrough, TTL: time.Hour}, 0, freshness.Dead, time.Hour},
		{"usable on error", freshness.Policy{TTL: time.Hour, StaleIfError: time.Hour}, 119 * time.Minute, freshness.StaleError, -59 * time.Minute},
		{"no longer usable on error", freshness.Policy{TTL: time.Hour, StaleIfError: time.Hour}, 2 * time.Hour, freshness.Dead, -time.Hour},
		{"usable on error for ever", freshness.Policy{TTL: time.Hour, StaleIfError: freshness.Forever}, 1e6 * time.Hour, freshness.StaleError, -(1e6 - 1) * time.Hour},
		{"usable while validated", freshness.Policy{TTL: time.Hour, StaleWhileRevalidate: time.Hour, StaleIfError: freshness.Forever}, 90 * time.Minute, freshness.StaleUsable, -30 * time.Minute},
		{"then only on error", freshness.Policy{TTL: time.Hour, StaleWhileRevalidate: time.Hour, StaleIfError: freshness.Forever}, 3 * time.Hour, freshness.StaleError, -2 * time.Hour},
		{"a little in the future", hour, -4 * time.Minute, freshness.Fresh, time.Hour},
		{"far in the future", hour, -6 * time.Minute, freshness.Dead, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verdict, left := tt.policy.Judge(noon.Add(-tt.age), noon)
			assert.Equal(t, tt.want, verdict)
			assert.Equal(t, tt.left, left)
		})
	}
}

func TestAge(t *testing.T) {
	tests := []struct {
		name  string
		field string
		took  time.Duration
		since time.Duration
		want  time.Duration
	}{
		{"of its stay here", "", time.Second, 90 * time.Second, 90 * time.Second},
		{"and of its stay elsewhere", "100", 0, 90 * time.Second, 190 * time.Second},
		{"and of its way", "100", 2 * time.Second, 90 * time.Second, 192 * time.Second},
		{"whole seconds", "", 0, 1999 * time.Millisecond, time.Second},
		{"the first of several", "7, 100", 0, 0, 7 * time.Second},
		{"no number", "-1", 0, 5 * time.Second, 5 * time.Second},
		{"never negative", "", 0, -time.Minute, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.field != "" {
				h.Set("Age", tt.field)
			}
			received := noon.Add(-tt.since)
			assert.Equal(t, tt.want, freshness.Age(h, received.Add(-tt.took), received, noon))
		})
	}
}
