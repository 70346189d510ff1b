package filter

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

type allowDenyOptions struct {
	Allow   []Pattern `yaml:"allow,single"` // none: everything that is not denied
	Deny    []Pattern `yaml:"deny,single"`  // goes before allow
	Message string    `yaml:"message"`      // what a client reads; '': what was denied
	Status  int       `yaml:"status"`       // of a refusal, 400 to 499; with 404 clients look for a package elsewhere
}

// Check implements [Checker].
func (o *allowDenyOptions) Check(reject func(path, format string, args ...any)) {
	if len(o.Allow)+len(o.Deny) == 0 {
		reject("", "denies nothing: neither allow nor deny")
	}
	if o.Status < 400 || o.Status > 499 {
		reject("status", "%d is no status from 400 to 499", o.Status)
	}
}

// AllowDeny is the kind that says which packages, and which versions of them, are
// served. Its result is denied. In indexes of hubs that can, versions that are
// denied are not shown. What is no package's, as far as the hub knows, passes.
func AllowDeny() Kind {
	return Define("says which packages and versions are served", []Result{{Name: "denied"}},
		allowDenyOptions{Status: http.StatusForbidden}, func(o allowDenyOptions, _ Env) (Filter, error) {
			return &allowDeny{o, fmt.Sprint("allowdeny ", o.Allow, o.Deny)}, nil
		})
}

type allowDeny struct {
	allowDenyOptions
	rules string
}

var (
	_ Filter  = (*allowDeny)(nil)
	_ Passive = (*allowDeny)(nil)
)

// Passive: a path is about the same package and version each time.
func (a *allowDeny) Passive() bool { return true }

func (a *allowDeny) Handle(_ context.Context, x *Exchange) string {
	name, version := x.Request.Package, x.Request.Version
	if name == "" {
		return ""
	}
	// A file whose name tells no version may be of one that is denied.
	file := version != "" || x.Request.Policy.Class == freshness.Immutable
	deny, allow := named(a.Deny, x.Hub, name), named(a.Allow, x.Hub, name)
	switch {
	case len(a.Allow) > 0 && len(allow) == 0, one(deny, version), file && !a.admits(deny, allow, version), file && version == "" && len(deny) > 0:
		message := a.Message
		if message == "" {
			message = strings.TrimSuffix(name+"@"+version, "@") + " is not served here"
		}
		x.Refuse(&exchange.Error{Status: a.allowDenyOptions.Status, Message: message, Reason: "denied"})
		return "denied"
	case !file && (len(deny) > 0 || len(allow) > 0 && !one(allow, "")):
		x.Sift(&exchange.Sieve{Rules: a.rules, Shows: func(version string, _ time.Time) bool { return a.admits(deny, allow, version) }})
	}
	return ""
}

// admits reports whether a version is served, by the patterns that name its package.
func (a *allowDeny) admits(deny, allow []*Pattern, version string) bool {
	return !one(deny, version) && (len(a.Allow) == 0 || one(allow, version))
}

// named are the patterns that name a package.
func named(patterns []Pattern, hub *Hub, name string) (some []*Pattern) {
	for i := range patterns {
		if patterns[i].names(hub, name) {
			some = append(some, &patterns[i])
		}
	}
	return some
}

// one reports whether one of the patterns is about a version.
func one(patterns []*Pattern, version string) bool {
	for _, p := range patterns {
		if p.matches(version) {
			return true
		}
	}
	return false
}

func (a *allowDeny) Status() any { return nil }

// Sift has the hub show, in an index, only what s shows beside what was said before.
func (x *Exchange) Sift(s *exchange.Sieve) {
	r := *x.Request
	if before := r.Sieve; before != nil {
		first := s
		s = &exchange.Sieve{
			Rules: before.Rules + "\n" + first.Rules, Dates: before.Dates || first.Dates,
			Shows: func(version string, published time.Time) bool {
				return before.Shows(version, published) && first.Shows(version, published)
			},
		}
	}
	r.Sieve = s
	x.Request = &r
}
