package hub

import (
	"regexp"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Policies are what the configuration says of freshness. A nil *Policies has
// no rule and a zero default: everything is validated at each use. It is safe
// for concurrent use and not copied; its fields do not change after the first.
type Policies struct {
	Rules   []Rule           // the first that matches wins, also over the hub's own class
	Default freshness.Policy // its TTL is for keys that neither a rule nor the hub gives one; the rest is for all

	// seen remembers which rule matched, one path a slot: seven rules of a usual
	// configuration take 6 µs, a quarter of a small hit, and a path that is hot
	// is asked again.
	seen [1 << 10]atomic.Pointer[match]
}

// A Rule says how long paths that match stay fresh.
type Rule struct {
	Match        *regexp.Regexp
	RefreshAfter time.Duration // [freshness.Forever]: they are immutable
}

// A match is the rule of a path: an index of Rules, -1 if none is.
type match struct {
	path string
	rule int
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
	if i := p.rule(path); i >= 0 {
		policy.Class, policy.TTL = freshness.Mutable, p.Rules[i].RefreshAfter
		if policy.TTL == freshness.Forever {
			policy.Class = freshness.Immutable
		}
	}
	return policy
}

// rule is the index of the first rule that matches path, or -1.
func (p *Policies) rule(path string) int {
	if len(p.Rules) == 0 {
		return -1
	}
	hash := uint32(2166136261) // FNV-1a
	for i := range len(path) {
		hash = (hash ^ uint32(path[i])) * 16777619
	}
	slot := &p.seen[(hash^hash>>16)%uint32(len(p.seen))]
	if m := slot.Load(); m != nil && m.path == path {
		return m.rule
	}
	rule := -1
	for i := range p.Rules {
		if p.Rules[i].Match.MatchString(path) {
			rule = i
			break
		}
	}
	if len(path) <= 512 { // what is remembered stays under a MiB
		slot.Store(&match{path, rule})
	}
	return rule
}
