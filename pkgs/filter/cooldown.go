package filter

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

type cooldownOptions struct {
	MinAge     time.Duration `yaml:"min-age,required"`       // since a version was published, before it is served
	Packages   []Pattern     `yaml:"packages,single"`        // that it is about; none: all
	Exceptions []exception   `yaml:"exceptions"`             // from it
	Undated    bool          `yaml:"allow-undated,omitzero"` // versions of which nobody knows are served
}

// An exception is a version that cannot wait: the mend of a hole.
type exception struct {
	Package Pattern   `yaml:"package,required"`
	Reason  string    `yaml:"reason,required"` // for people
	Until   time.Time `yaml:"until,omitzero"`  // when it ends: 2026-12-31, or with a time; none: never
}

// Check implements [Checker].
func (o *cooldownOptions) Check(reject func(path, format string, args ...any)) {
	if o.MinAge < 0 || o.MinAge > 10*365*24*time.Hour {
		reject("min-age", "must be more than 0 and at most 3650d")
	}
}

// NeedsDates implements [Dated].
func (o *cooldownOptions) NeedsDates() bool { return true }

// Cooldown is the kind that serves a version once it has been published for a
// while, in which others find out what is wrong with it. Indexes do not show
// younger versions, so that clients choose an older one, and requests for their
// files are refused. It works in hubs whose indexes tell of dates; others it lets
// pass. Its results are tooYoung, and failed where the index cannot be had.
func Cooldown() Kind {
	return Define("serves versions that have been published for a while", []Result{{Name: "tooYoung"}, {Name: "failed"}},
		cooldownOptions{}, func(o cooldownOptions, env Env) (Filter, error) {
			c := &cooldown{cooldownOptions: o, now: env.Now, dates: map[string]time.Time{}}
			// What an index shows is made anew when the time moves on by this much.
			c.grain = max(min(o.MinAge/24, time.Hour), time.Second)
			return c, nil
		})
}

const maxDates = 65536

type cooldown struct {
	cooldownOptions
	grain time.Duration
	now   func() time.Time

	mu    sync.Mutex
	dates map[string]time.Time // guarded by mu; of versions, by hub and package URL
}

var _ Passive = (*cooldown)(nil)

// Passive: what is old enough stays so, but an exception ends.
func (c *cooldown) Passive() bool {
	for _, e := range c.Exceptions {
		if !e.Until.IsZero() {
			return false
		}
	}
	return true
}

func (c *cooldown) Handle(ctx context.Context, x *Exchange) string {
	r := x.Request
	if r.Package == "" || x.Hub.Published == nil || len(c.Packages) > 0 && named(c.Packages, x.Hub, r.Package) == nil {
		return ""
	}
	now := c.now()
	excepted, rules := c.excepted(x.Hub, r.Package, now)
	if r.Version == "" && r.Policy.Class != freshness.Immutable { // else it is a file whose name tells no version
		cutoff := now.Truncate(c.grain).Add(-c.MinAge)
		x.Sift(&exchange.Sieve{
			Rules: fmt.Sprint("cooldown ", cutoff.Unix(), c.Packages, c.Undated, rules), Dates: true,
			Shows: func(version string, published time.Time) bool {
				return c.admits(version, published, cutoff, excepted)
			},
		})
		return ""
	}
	if one(excepted, r.Version) {
		return ""
	}
	published, err := c.published(ctx, x)
	switch {
	case err != nil:
		e := asError(err)
		e.Message = "it cannot be told when this was published"
		x.Refuse(e)
		return "failed"
	case c.admits(r.Version, published, now.Add(-c.MinAge), excepted):
		return ""
	}
	message := r.Package + "@" + r.Version + " is of unknown age, and not served"
	if !published.IsZero() {
		message = fmt.Sprintf("%s@%s was published at %s, and is served from %s", r.Package, r.Version,
			published.UTC().Format(time.RFC3339), published.Add(c.MinAge).UTC().Format(time.RFC3339))
	}
	x.Refuse(&exchange.Error{Status: http.StatusForbidden, Message: message, Reason: "denied"})
	return "tooYoung"
}

// admits reports whether a version is served if those are that were published
// before cutoff.
func (c *cooldown) admits(version string, published, cutoff time.Time, excepted []*Pattern) bool {
	switch {
	case one(excepted, version):
		return true
	case published.IsZero():
		return c.Undated
	}
	return !published.After(cutoff)
}

// excepted are the exceptions from it for a package, and they in a text.
func (c *cooldown) excepted(hub *Hub, name string, now time.Time) (all []*Pattern, rules string) {
	for i := range c.Exceptions {
		e := &c.Exceptions[i]
		if e.Package.names(hub, name) && (e.Until.IsZero() || now.Before(e.Until)) {
			all = append(all, &e.Package)
			rules += " " + e.Package.String()
		}
	}
	return all, rules
}

// published is when what x asks for was.
func (c *cooldown) published(ctx context.Context, x *Exchange) (time.Time, error) {
	key := x.Hub.Name + x.Request.Key.Path
	c.mu.Lock()
	at, ok := c.dates[key]
	c.mu.Unlock()
	if ok {
		return at, nil
	}
	at, err := x.Hub.Published(ctx, x.Request)
	if err != nil || at.IsZero() || x.Request.Policy.Class != freshness.Immutable {
		return at, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.dates) >= maxDates {
		clear(c.dates)
	}
	c.dates[key] = at
	return at, nil
}

func (c *cooldown) Status() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return map[string]int{"dates": len(c.dates)}
}
