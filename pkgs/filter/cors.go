package filter

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type corsOptions struct {
	Origins     []string      `yaml:"origins,single,required"` // https://app.example.org, https://*.example.org, or *
	Methods     []string      `yaml:"methods,single"`
	Headers     []string      `yaml:"headers,single"` // of requests, beside those that are always allowed
	Expose      []string      `yaml:"expose,single"`  // of responses
	MaxAge      time.Duration `yaml:"max-age"`        // how long a browser may remember the answer
	Credentials bool          `yaml:"credentials"`    // not with the origin *
}

// Check implements [Checker].
func (o *corsOptions) Check(reject func(path, format string, args ...any)) {
	for i, origin := range o.Origins {
		at := fmt.Sprintf("origins[%d]", i)
		scheme, host, ok := strings.Cut(origin, "://")
		host = strings.TrimPrefix(host, "*.") // https://*.example.org, not https://*example.org, which decoys can have
		switch {
		case origin == "*" && o.Credentials:
			reject(at, "* may not be together with credentials: every page could use them")
		case origin == "*":
		case !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?# *") || strings.Contains(scheme, "*"):
			reject(at, "%q is no origin such as https://app.example.org or https://*.example.org", origin)
		}
	}
	checkNames(o.Methods, "methods", reject)
	checkNames(o.Headers, "headers", reject)
	checkNames(o.Expose, "expose", reject)
	if o.MaxAge < 0 || o.MaxAge > 365*24*time.Hour {
		reject("max-age", "must be from 0 to 365d")
	}
}

// CORS is the kind that lets pages of other origins read what is served here
// (Fetch, §3.3). Its result is rejected, of requests from an origin that may not;
// it is the browser that keeps the answer from the page then.
func CORS() Kind {
	return Define("lets pages of other origins read answers", []Result{{Name: "rejected", Goes: true}},
		corsOptions{Methods: []string{http.MethodGet, http.MethodHead}}, func(o corsOptions, _ Env) (Filter, error) {
			return &cors{
				corsOptions: o, methods: strings.Join(o.Methods, ", "), headers: strings.Join(o.Headers, ", "), expose: strings.Join(o.Expose, ", "),
			}, nil
		})
}

type cors struct {
	corsOptions
	methods, headers, expose string
}

var _ Preflighter = (*cors)(nil)

func (c *cors) Handle(_ context.Context, x *Exchange) string {
	origin := x.Request.Client.Header.Get("Origin")
	allowed := origin != "" && c.allows(origin)
	x.After(func() {
		x.EditHeader(func(h http.Header) {
			if !slices.Contains(c.Origins, "*") {
				h.Add("Vary", "Origin")
			}
			if allowed {
				c.allow(h, origin)
				if c.expose != "" {
					h.Set("Access-Control-Expose-Headers", c.expose)
				}
			}
		})
	})
	if origin != "" && !allowed {
		return "rejected"
	}
	return ""
}

// Preflight answers what a browser asks before a page's request (Fetch, §3.3.2).
func (c *cors) Preflight(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if r.Method != http.MethodOptions || origin == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if !c.allows(origin) {
		http.Error(w, "this origin is not allowed", http.StatusForbidden)
		return true
	}
	c.allow(h, origin)
	h.Set("Access-Control-Allow-Methods", c.methods)
	if c.headers != "" {
		h.Set("Access-Control-Allow-Headers", c.headers)
	}
	if c.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.FormatInt(int64(c.MaxAge/time.Second), 10))
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

func (c *cors) allow(h http.Header, origin string) {
	if slices.Contains(c.Origins, "*") {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

func (c *cors) allows(origin string) bool {
	for _, o := range c.Origins {
		before, after, pattern := strings.Cut(o, "*")
		switch {
		case o == "*" || o == origin:
			return true
		case pattern && len(origin) > len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after):
			if label := origin[len(before) : len(origin)-len(after)]; !strings.ContainsAny(label, "/:@") {
				return true
			}
		}
	}
	return false
}

func (c *cors) Status() any { return nil }
