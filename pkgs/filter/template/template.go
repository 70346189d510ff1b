// Package template is a filter to copy for a kind of your own. It holds back what
// is asked for outside of working hours, which nobody needs, and has every part
// that most filters need: options with defaults and a check of them, results, a
// status, and what an heir takes over.
//
// # Adding a kind
//
// Say first what its results are: words for what a filter may find of a request.
// One that refuses or answers ends the flow, one that only remarks something has
// Goes set; an operator's jumpIf may say otherwise of both. All that Handle may
// return stands in the table, since the rest is a panic.
//
// Options are a struct whose fields have a tag `yaml` with their key and "required"
// where they are. They are decoded as strictly as all else, over the defaults given
// to [filter.Define]; [filter.Define] lists the types there are. What cannot be seen
// of one value alone is for Check, which is called when a configuration is loaded:
// a mistake found there has its file and line, one found in New only its filter.
//
// Handle is called by many requests at once, on hits too: no allocation that is not
// needed, no expression compiled, no lock held while something slow goes on. The
// request is not modified; who wants another one puts a Clone in its place. A
// refusal is an [exchange.Error], which the hub puts into its clients' words: its
// Message is for them and names nothing internal. What is to happen when the answer
// is known is for [filter.Exchange.After].
//
// A filter whose word depends on the path alone, and is final, says so by Passive:
// then hits may be answered from memory without it. Options that name a file with
// secrets, or one that tells of clients, say so by [filter.Private].
//
// Then make it known: a line in the table filters of server_filters.go, a section in
// docs/filters.md, where a test looks for every option and result. Tests: a table
// of requests and results, the options that Check refuses, and a script in
// testdata/scripts that a flow with it runs by.
package template

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/filter"
)

// Options of the kind.
type Options struct {
	From int           `yaml:"from"`          // hour of the day, in UTC, from which requests pass
	To   int           `yaml:"to,required"`   // hour of the day until which they do
	Wait time.Duration `yaml:"wait,omitzero"` // what clients are told to wait; 0: nothing
}

// Check implements [filter.Checker].
func (o *Options) Check(reject func(path, format string, args ...any)) {
	if o.From < 0 || o.To > 24 || o.From >= o.To {
		reject("to", "want 0 <= from < to <= 24")
	}
}

// Hours is the kind. Its result is closed.
func Hours() filter.Kind {
	return filter.Define("serves within hours of the day", []filter.Result{{Name: "closed"}},
		Options{From: 8}, func(o Options, env filter.Env) (filter.Filter, error) {
			return &hours{Options: o, now: env.Now, refused: &atomic.Int64{}}, nil
		})
}

type hours struct {
	Options
	now     func() time.Time
	refused *atomic.Int64 // shared with the filter that this one is the heir of
}

var _ filter.Heir = (*hours)(nil)

// Handle implements [filter.Filter].
func (h *hours) Handle(_ context.Context, x *filter.Exchange) string {
	if hour := h.now().UTC().Hour(); h.From <= hour && hour < h.To {
		return ""
	}
	h.refused.Add(1)
	x.Refuse(&exchange.Error{Status: http.StatusServiceUnavailable, Message: "closed at this hour", RetryAfter: h.Wait, Reason: "filter"})
	return "closed"
}

// Status implements [filter.Filter].
func (h *hours) Status() any { return map[string]int64{"refused": h.refused.Load()} }

// Inherit implements [filter.Heir].
func (h *hours) Inherit(old filter.Filter) { h.refused = old.(*hours).refused }
