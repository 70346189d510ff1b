package hub

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

func TestPolicies(t *testing.T) {
	p := &Policies{
		Rules: []Rule{
			{regexp.MustCompile(`\.deb$`), freshness.Forever},
			{regexp.MustCompile(`^/live/`), 0},
			{regexp.MustCompile(`/live/|/security/`), time.Minute},
		},
		Default: freshness.Policy{TTL: time.Hour, Negative: time.Second},
	}
	tests := []struct {
		name  string
		path  string
		class freshness.Class
		ttl   time.Duration
		want  freshness.Policy
	}{
		{"default ttl", "/x", freshness.Mutable, 0, freshness.Policy{TTL: time.Hour}},
		{"hub's ttl", "/x", freshness.Mutable, time.Second, freshness.Policy{TTL: time.Second}},
		{"hub's class", "/x", freshness.Immutable, 0, freshness.Policy{Class: freshness.Immutable, TTL: time.Hour}},
		{"pass-through", "/x", freshness.Passthrough, 0, freshness.Policy{Class: freshness.Passthrough, TTL: time.Hour}},
		{"never", "/x.deb", freshness.Mutable, time.Second, freshness.Policy{Class: freshness.Immutable, TTL: freshness.Forever}},
		{"first rule wins", "/live/x", freshness.Mutable, time.Second, freshness.Policy{}},
		{"rule over class", "/a/security/x", freshness.Immutable, 0, freshness.Policy{TTL: time.Minute}},
		{"rule over pass-through", "/a/live/x", freshness.Passthrough, 0, freshness.Policy{TTL: time.Minute}},
		{"longer than is remembered", "/security/" + strings.Repeat("x", 600), freshness.Mutable, 0, freshness.Policy{TTL: time.Minute}},
	}
	for range 2 { // the second time from memory
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				test.want.Negative = time.Second
				assert.Equal(t, test.want, p.For(test.path, test.class, test.ttl))
			})
		}
	}
	assert.Equal(t, freshness.Policy{Class: freshness.Immutable, TTL: time.Second}, (*Policies)(nil).For("/x", freshness.Immutable, time.Second))
}

// More paths than there are slots: each gets its own answer.
func TestPoliciesCollide(t *testing.T) {
	p := &Policies{Rules: []Rule{{regexp.MustCompile(`[05]$`), time.Minute}}}
	for range 2 {
		for i := range 5000 {
			want := time.Duration(0)
			if i%5 == 0 {
				want = time.Minute
			}
			assert.Equal(t, want, p.For("/"+strconv.Itoa(i), freshness.Mutable, 0).TTL, i)
		}
	}
}
