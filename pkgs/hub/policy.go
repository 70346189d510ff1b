package hub

import (
	"regexp"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Policies are what the configuration says of freshness. A nil *Policies has
// no rule and a zero default: everything is validated at each use.
type Policies struct {
	Rules   []Rule           // the first that matches wins, also over the hub's own class
	Default freshness.Policy // its TTL is for keys that neither a rule nor the hub gives one; the rest is for all
}

// A Rule says how long paths that match stay fresh.
type Rule struct {
	Match        *regexp.Regexp
	RefreshAfter time.Duration // [freshness.Forever]: they are immutable
}

// For is the policy of a canonical path, without its query, whose class and ttl
// are what the hub's protocol says; ttl 0 is the default one.
func (p *Policies) For(path string, class freshness.Class, ttl time.Duration) freshness.Policy {
	if p == nil {
		return freshness.Policy{Class: class, TTL: ttl}
	}
	policy := p.Default
	policy.Class = class
	if ttl != 0 {
		policy.TTL = ttl
	}
	for i := range p.Rules {
		if rule := &p.Rules[i]; rule.Match.MatchString(path) {
			policy.Class, policy.TTL = freshness.Mutable, rule.RefreshAfter
			if rule.RefreshAfter == freshness.Forever {
				policy.Class = freshness.Immutable
			}
			break
		}
	}
	return policy
}
