package hub

import (
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// An Asked is what a client asks a hub for, by its URL: most of a Parse begins with
// one, finds out of which [Kind] the path is, and ends with the Request of that.
type Asked struct {
	Path   string // canonical, as [Path] has it; that of a second host's file begins with /_f/ALIAS
	Target string // on the upstream that is asked, in the client's spelling; without the query
	Query  string // raw; "" if there is none
	Origin string // the second host that is asked, by its alias; "": the mirrors

	hub *Options
}

// Asked reads the URL of a client's request. Errors are those of [Path], and [NoPath]
// of what is below /_f/ but of no second host.
func (o *Options) Asked(r *http.Request) (Asked, error) {
	canonical, target, err := Path(r.URL)
	if err != nil {
		return Asked{}, err
	}
	a := Asked{Path: canonical, Target: target, Query: r.URL.RawQuery, hub: o}
	if strings.HasPrefix(canonical, FilePrefix) {
		var ok bool
		if a.Origin, a.Target, ok = o.second(canonical, target); !ok {
			return Asked{}, NoPath(canonical)
		}
	}
	return a, nil
}

// NoPath is the error of Parse for a path that the protocol does not have.
func NoPath(path string) error {
	return fmt.Errorf("%s is no path of this hub: %w", path, fs.ErrNotExist)
}

// A Kind is how a hub treats all paths of one kind. Of the zero Kind is what changes
// at any time, and has no query that counts.
type Kind struct {
	Class  freshness.Class
	TTL    time.Duration // of what is mutable; 0: the protocol does not say
	Query  bool          // the query counts: it is part of the key, and goes upstream
	Accept string        // what upstream is asked for; "": it is not told
}

// Request is the exchange of what is asked, being of kind k. The configuration's
// policies win over the kind's class, save that what passes through is for one
// client, whatever a policy says.
func (a *Asked) Request(k Kind) *exchange.Request {
	req := &exchange.Request{
		Key:    exchange.Key{Hub: a.hub.Name, Path: a.Path},
		Target: a.Target,
		Origin: a.Origin,
		Policy: a.hub.Policies.For(a.Path, k.Class, k.TTL),
	}
	if k.Class == freshness.Passthrough {
		req.Policy.Class = k.Class
	}
	if k.Query && a.Query != "" {
		query := "?" + Query(a.Query)
		req.Key.Path, req.Target = a.Path+query, a.Target+query
	}
	if k.Accept != "" {
		req.Header = http.Header{"Accept": {k.Accept}}
	}
	return req
}
