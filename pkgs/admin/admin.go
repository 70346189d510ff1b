// Package admin is HTTP toward operators, on a listener of its own: numbers,
// what runs and how mirrors fare, what is stored and what is on its way, and
// whatever else may be asked or done.
//
// guard.go decides who may come in: by the Host, so that a name that was rebound
// leads nowhere; by a token, if there is one; and to change anything, by where a
// browser says that a request comes from. Behind it is a table of routes: a file
// of this package has some of them, made from what [Options] give it, and what
// Options do not give has no route. So a new one is a field, a file and a line in
// [Options.routes]. The description of all of them (openapi.go) is made from that
// table, so that it says what is so.
//
// It opens no listener, starts nothing, and knows none of the parts that it shows:
// they come as functions, and the store as what every store is.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// Options are what New makes a handler of. What is nil is not there. Functions
// may be called at any time, concurrently; what they return becomes JSON.
type Options struct {
	Token   string   // that every request has to show, as "Authorization: Bearer TOKEN"; "" is none
	Hosts   []string // names that a Host may have, besides localhost and every address
	Version string   // of the program, in the description

	Metrics http.Handler // GET /metrics
	Debug   http.Handler // everything below /debug/pprof/

	Status   func(context.Context) any // what runs, in what state
	Hubs     func(context.Context) any // the hubs, and what they have counted
	Mirrors  func(context.Context) any // the league of each hub's mirrors
	Filters  func(context.Context) any // the filters, and what they have counted
	Statuses func(context.Context) any // of everything that has a kind and a name
	Errors   func(context.Context) any // what the log has had of warnings and errors of late
	Flights  func() []Flight           // transfers under way

	Store store.Store // whose objects are listed and shown
	Purge func(context.Context, exchange.Key) error

	Level   *Level
	Offline *Offline
	Reload  func(context.Context) (any, error) // reads the configuration again
	Drain   func()                             // ends the process as SIGTERM does; it returns at once

	Config *Config // parts of the configuration that are made here

	Board *Board // the page for people, at /

	// Refused hears why a request was let in no further: admin-host, admin-origin
	// or admin-token. Nil: nobody does.
	Refused func(reason string)

	Log *slog.Logger // nil: nothing is logged
}

// A Route is something that can be asked or done.
type Route struct {
	Pattern string // method and path, as [http.ServeMux] knows them; without a method, all of them
	About   string // one line
	Handler http.Handler

	Query  []Param // what the query may say
	Body   any     // a value of the type that the request brings as JSON; nil: nothing
	Answer any     // a value of the type that is answered as JSON; nil: something else, or what has no fixed form
}

// A Param is a parameter of a query.
type Param struct {
	Name, About string
	Required    bool
}

// routes are all there are.
func (o *Options) routes() []Route {
	return slices.Concat(o.numbers(), o.states(), o.objects(), o.pins(), o.acts(), o.parts())
}

// numbers are for programs that collect them.
func (o *Options) numbers() (all []Route) {
	if o.Metrics != nil {
		all = append(all, Route{Pattern: "GET /metrics", About: "numbers, in the exposition format of Prometheus", Handler: o.Metrics})
	}
	if o.Debug != nil {
		all = append(all, Route{Pattern: "/debug/pprof/", About: "profiles of the process, for go tool pprof", Handler: o.Debug})
	}
	return all
}

// states are what is so now.
func (o *Options) states() (all []Route) {
	for _, s := range []struct {
		path, about string
		f           func(context.Context) any
	}{
		{"status", "what runs, and in what state", o.Status},
		{"statuses", "kind, name and status of every hub, filter, listener and store", o.Statuses},
		{"hubs", "the hubs, and what they have counted", o.Hubs},
		{"mirrors", "how each hub's mirrors fare", o.Mirrors},
		{"filters", "the filters, and what they have counted", o.Filters},
		{"errors", "warnings and errors of late, the newest first", o.Errors},
	} {
		if s.f != nil {
			all = append(all, Route{Pattern: "GET /api/v1/" + s.path, About: s.about, Handler: value(s.f)})
		}
	}
	if o.Flights != nil {
		all = append(all, Route{
			Pattern: "GET /api/v1/flights", About: "transfers from mirrors that are under way", Answer: []Flight{},
			Handler: value(func(context.Context) any { return orEmpty(o.Flights()) }),
		})
	}
	return all
}

// New makes the handler of a listener.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	all := o.routes()
	all = append(all, Route{Pattern: "GET " + describedAt, About: "this, as OpenAPI 3.1", Handler: describe(o.Version, all)})
	mux := http.NewServeMux()
	for _, r := range all {
		mux.Handle(r.Pattern, r.Handler)
	}
	g := newGuard(&o, stated{mux})
	if o.Board == nil {
		mux.Handle("GET /{$}", contents(all))
		return g
	}
	mux.Handle("GET /api/v1/{$}", contents(all))
	if o.Token != "" {
		g.sessions = newSessions(o.Token, o.Board.Now)
	}
	g.pages = newPages(&o, g.sessions)
	g.pages.mount(mux)
	return g
}

// contents lists the routes.
func contents(all []Route) http.Handler {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintf(&b, "%-34s %s\n", r.Pattern, r.About)
	}
	text := []byte(b.String())
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text)
	})
}
