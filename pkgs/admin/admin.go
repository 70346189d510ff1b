// Package admin is HTTP toward operators, on a listener of its own: numbers,
// what runs and how mirrors fare, and whatever else may be asked or done.
//
// guard.go decides who may come in: by the Host, so that a name that was rebound
// leads nowhere; by a token, if there is one; and to change anything, by where a
// browser says that a request comes from. Behind it is a table of routes: a file
// of this package has some of them, made from what [Options] give it, and what
// Options do not give has no route. So a new one is a field, a file and a line in
// [Options.routes].
//
// It opens no listener, starts nothing, and knows none of the parts that it shows:
// they come as functions.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Options are what New makes a handler of. What is nil is not there. Functions
// may be called at any time, concurrently; what they return becomes JSON.
type Options struct {
	Token string   // that every request has to show, as "Authorization: Bearer TOKEN"; "" is none
	Hosts []string // names that a Host may have, besides localhost and every address

	Metrics http.Handler // GET /metrics
	Debug   http.Handler // everything below /debug/pprof/

	Status  func(context.Context) any // GET /api/v1/status: what runs, in what state
	Mirrors func(context.Context) any // GET /api/v1/mirrors: the league of each hub's mirrors

	// Refused hears why a request was let in no further: admin-host, admin-origin
	// or admin-token. Nil: nobody does.
	Refused func(reason string)

	Log *slog.Logger // nil: nothing is logged
}

// A Route is something that can be asked or done.
type Route struct {
	Pattern string // method and path, as [http.ServeMux] knows them; GET, or for what changes something POST or DELETE
	About   string // one line
	Handler http.Handler
}

// routes are all there are.
func (o *Options) routes() []Route {
	return slices.Concat(o.numbers(), o.states())
}

// numbers are for programs that collect them.
func (o *Options) numbers() (all []Route) {
	if o.Metrics != nil {
		all = append(all, Route{"GET /metrics", "numbers, in the exposition format of Prometheus", o.Metrics})
	}
	if o.Debug != nil {
		all = append(all, Route{"/debug/pprof/", "profiles of the process, for go tool pprof", o.Debug})
	}
	return all
}

// states are what is so now.
func (o *Options) states() (all []Route) {
	if o.Status != nil {
		all = append(all, Route{"GET /api/v1/status", "what runs, and in what state", value(o.Status)})
	}
	if o.Mirrors != nil {
		all = append(all, Route{"GET /api/v1/mirrors", "how each hub's mirrors fare", value(o.Mirrors)})
	}
	return all
}

// New makes the handler of a listener.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	all := o.routes()
	for _, r := range all {
		mux.Handle(r.Pattern, r.Handler)
	}
	mux.Handle("GET /{$}", contents(all))
	return newGuard(&o, mux)
}

// contents lists the routes.
func contents(all []Route) http.Handler {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintf(&b, "%-24s %s\n", r.Pattern, r.About)
	}
	text := []byte(b.String())
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text)
	})
}

// value is a handler that answers with what f returns.
func value(f func(context.Context) any) http.Handler {
	return answer(func(r *http.Request) (any, error) { return f(r.Context()), nil })
}

// answer is a handler that answers with JSON: what f returns, or {"error": …} with
// the status that the error has. An [*exchange.Error] has its own, [fs.ErrNotExist]
// is 404, all else 500.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		v, err := f(r)
		if err != nil {
			var stated *exchange.Error
			switch {
			case errors.As(err, &stated) && stated.Status >= 400 && stated.Status <= 599:
				status = stated.Status
			case errors.Is(err, fs.ErrNotExist):
				status = http.StatusNotFound
			default:
				status = http.StatusInternalServerError
			}
			v = map[string]string{"error": err.Error()}
		}
		writeJSON(w, status, v)
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, text = http.StatusInternalServerError, fmt.Appendf(nil, `{"error": %q}`, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // nobody is left to hear of an error
}
