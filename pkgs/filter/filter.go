// Package filter is what an operator puts between clients and a hub: who may
// ask, for what, how often, and what is written down of it.
//
// A [Filter] handles an [Exchange], which is one request on its way: it lets it
// pass, changes it, refuses it or answers it, and says which in a word, its
// result. A [Flow] runs filters one after another, and the cache among them; by
// their results it goes on, jumps forward, or ends. Filters before the cache see
// requests, those after it see responses; one that wants to see how a request
// ended, wherever that was, says so with [Exchange.After].
//
// Each file but this one and flow.go is one kind. A kind written elsewhere is a
// package of its own (package template is one to copy) and a line in the table of
// the program.
//
// Nothing here stores content, asks a mirror or knows a protocol: what a filter
// needs of those is in [Hub].
package filter

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Filter handles requests. It is safe for concurrent use.
type Filter interface {
	// Handle looks at x, and may change, refuse or answer it. The result is "" to
	// go on, or one of the kind's Results. ctx is the request's.
	Handle(ctx context.Context, x *Exchange) (result string)

	// Status is what operators see of it beside how often it has said what: a value
	// for encoding/json without secrets, nil if there is nothing.
	Status() any
}

// An Heir is a Filter that takes over what another counted, which had the same kind
// and name under the configuration before. Requests may still be with the other.
type Heir interface{ Inherit(old Filter) }

// A Closer is a Filter with something to let go of. No request is with it any more.
type Closer interface{ Close() error }

// A Passive is a Filter whose word on a request depends on what is asked for
// alone, and is final once that has passed: it need not see a request again that
// is answered from memory.
type Passive interface{ Passive() bool }

// A Preflighter is a Filter that answers requests which ask what may be asked
// (OPTIONS), before there is any exchange. It reports whether it did.
type Preflighter interface {
	Preflight(w http.ResponseWriter, r *http.Request) bool
}

// A Dated are options of a Filter that works only in hubs which know when versions
// were published.
type Dated interface{ NeedsDates() bool }

// Private are options that name files which clients must not read.
type Private interface {
	// Files calls file for each of them: the path of its option below the options, its
	// name ("-" is none, nor is ""), and whether it is a secret; one that is not tells of
	// clients.
	Files(file func(path, name string, secret bool))
}

// A Kind is a sort of filter.
type Kind struct {
	About   string   // what it is for, in a few words
	Results []Result // all that Handle may say, but ""
	Options func() any
	New     func(options any, env Env) (Filter, error)
}

// A Result is a word that a filter may say of a request.
type Result struct {
	Name string
	Goes bool // the flow goes on after it, unless it says otherwise; false: it ends
}

// result reports whether the kind may say a word, and whether the flow then goes on.
func (k *Kind) result(name string) (r Result, ok bool) {
	for _, r := range k.Results {
		if r.Name == name {
			return r, true
		}
	}
	return Result{}, false
}

// Env is what filters are made in.
type Env struct {
	Name string           // the filter's own
	Log  *slog.Logger     // not nil
	Now  func() time.Time // not nil
}

// A Checker are options that can be wrong though each of them is well spelled.
type Checker interface {
	// Check calls reject for what is wrong at a path below the options, "" for all of them.
	Check(reject func(path, format string, args ...any))
}

// Define makes a kind whose options are an O, decoded over these defaults by the
// tags `yaml` of its fields: strings, bools, ints, times, slices, maps, structs of
// them, [time.Duration], [*regexp.Regexp], [netip.Prefix], [*url.URL], [Secret] and
// what implements [encoding.TextUnmarshaler].
func Define[O any](about string, results []Result, defaults O, make func(O, Env) (Filter, error)) Kind {
	return Kind{
		About: about, Results: results,
		Options: func() any { o := defaults; return &o },
		New:     func(options any, env Env) (Filter, error) { return make(*options.(*O), env) },
	}
}

// A Secret is an option that nobody is shown. Its text is the value.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "******"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return `Secret("` + s.String() + `")` }

// LogValue hides the secret from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Hub is where a flow runs.
type Hub struct {
	Name, Type string

	// Parse is the hub's: what a request means. Its path is relative to the mount.
	Parse func(*http.Request) (*exchange.Request, error)

	// Stored says whether content is at hand. Nil: nobody knows.
	Stored func(context.Context, exchange.Key) bool

	// Published is when the version that a request names was published; the zero
	// time if that is not said. Nil: the protocol does not tell.
	Published func(context.Context, *exchange.Request) (time.Time, error)
}

// An Exchange is one request on its way through a flow. It is used by one goroutine.
type Exchange struct {
	Hub     *Hub
	Request *exchange.Request // not modified: who wants another one puts a Clone in its place
	User    string            // who asks, as far as a filter has found out; "" is unknown

	resp  *exchange.Response
	err   error
	after []func()
	edits []func(http.Header) // of Request's fields, so far

	// What of resp was copied, so that nobody else has it: others share what comes
	// from the cache.
	ownResp  *exchange.Response
	ownEntry *exchange.Entry
}

// Answered is the answer so far: response or error, neither if there is none yet.
func (x *Exchange) Answered() (*exchange.Response, error) { return x.resp, x.err }

// Answer makes resp the answer, in the place of what was answered before.
func (x *Exchange) Answer(resp *exchange.Response) { x.replace(resp, nil) }

// Refuse makes err the answer, in the place of what was answered before.
func (x *Exchange) Refuse(err *exchange.Error) { x.replace(nil, err) }

func (x *Exchange) replace(resp *exchange.Response, err error) {
	if x.resp != nil && x.resp != resp {
		x.resp.Body.Close()
	}
	x.resp, x.err = resp, err
}

// After has f called once the flow is over, with the last one first. f may look at
// the answer, and answer otherwise.
func (x *Exchange) After(f func()) { x.after = append(x.after, f) }

// EditRequest changes the fields that mirrors are sent.
func (x *Exchange) EditRequest(edit func(http.Header)) {
	x.edits = append(x.edits, edit)
	x.editRequest(edit)
}

func (x *Exchange) editRequest(edit func(http.Header)) {
	r := x.Request.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	edit(r.Header)
	x.Request = r
}

// EditHeader changes the fields of the answer, that of an error included.
func (x *Exchange) EditHeader(edit func(http.Header)) {
	switch {
	case x.resp != nil:
		resp := x.own()
		if resp.Entry != x.ownEntry {
			entry := *resp.Entry
			if entry.Header = entry.Header.Clone(); entry.Header == nil {
				entry.Header = http.Header{}
			}
			resp.Entry, x.ownEntry = &entry, &entry
		}
		edit(resp.Entry.Header)
	case x.err != nil:
		e := asError(x.err)
		if e.Header = e.Header.Clone(); e.Header == nil {
			e.Header = http.Header{}
		}
		edit(e.Header)
		x.err = e
	}
}

// own is the response, that nobody else has; its entry is shared.
func (x *Exchange) own() *exchange.Response {
	if x.resp != x.ownResp {
		resp := *x.resp
		x.resp, x.ownResp = &resp, &resp
	}
	return x.resp
}

// Status is that of the answer, as a client gets to see it before conditions and
// ranges; 0 if there is none yet.
func (x *Exchange) Status() int {
	switch {
	case x.resp != nil:
		return x.resp.Entry.Status
	case x.err != nil:
		return asError(x.err).Status
	}
	return 0
}

// asError is a copy of err as what a client is told of it.
func asError(err error) *exchange.Error {
	if stated := (*exchange.Error)(nil); errors.As(err, &stated) {
		c := *stated
		return &c
	}
	status := http.StatusBadGateway
	var network net.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		status = http.StatusNotFound
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		status = http.StatusGatewayTimeout
	}
	return &exchange.Error{Status: status, Err: err}
}

// stated says whether err says itself what a client is told.
func stated(err error) bool {
	e := (*exchange.Error)(nil)
	return errors.As(err, &e)
}
