// Package upstream asks mirrors: a [Group] of base URLs with the same content
// is an [exchange.Source].
//
// For every request the candidates, the mirrors whose path mapping matches, are
// raced, and each that is asked is asked on a leg of its own. The first good
// answer wins; what is good, an operator's checkers say. A mirror that answers
// fast but badly never beats one that is still pending, and when nobody wins
// the verdict weighs what all of them said.
//
// Whom to ask, the mirrors' records say (record.go): how long their heads take,
// how fast bodies come, what failed. While nobody is known a few are asked at
// once; then the best one, another one when it is late by its own record, and
// now and then one more beside it to see whether others have become better
// (plan.go). A mirror that fails again and again has its breaker open: it is
// asked as a last resort only, until a probe shows that it is back. A winner's
// body may go on from another mirror (resume.go), a large one may come from
// several at once (stripe.go), and one may begin where its client does (middle.go).
// league.go has the numbers.
//
// The defaults were chosen with sim_test.go: 100 000 objects and 8 mirrors with
// drifting latency and bandwidth, outages, throttling and bodies that die. How
// long all objects take as a multiple of an oracle's time, the multiple for the
// median object and for the worst in a hundred, and mirrors asked a request:
//
//	policy                              sum   median      p99    asked
//	all, first head                    6.06     1.00    39.89     8.00
//	all, first 50 MiB                  1.40     1.13     2.88     8.00
//	ordered                           13.03     4.69   140.34     1.07
//	adaptive 1, 250ms                  1.58     1.00     6.93     1.05
//	adaptive 3, 250ms                  1.57     1.00     6.74     1.05
//	adaptive 3, 100ms, switch          1.43     1.00     6.53     1.06
//	adaptive 3, 250ms, switch          1.44     1.00     6.53     1.06
//	adaptive 3, 500ms, switch          1.44     1.00     6.54     1.06
//	adaptive 3, 250ms, switch, sizes   1.29     1.00     5.20     1.06
//
// (The last line: with sizes known beforehand, as indexes tell them. Width and
// stagger matter only until the best mirror is known.)
//
// Everything a mirror sends is foreign: redirects are followed by hand, under
// a limit, to public addresses only; header fields that concern one connection,
// one client or a front server are dropped on receipt; bodies are watched for
// idleness and a minimum rate, never for their total time.
//
// It does not store, share or revalidate anything, sends nothing of the client
// but what [exchange.Request.Header] says, and joins bytes of two mirrors only as
// [Race.Switch] says.
package upstream

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"time"
)

// Options describe a group. A group without Mirrors has nothing.
type Options struct {
	Mirrors []Mirror // in the operator's order, which is their index in logs
	Race    Race
	Limits  Limits
	Allowed Allowed

	// Absent are statuses that mean, besides 404 and 410, that a mirror has no such
	// file: 403 of object stores that may not be listed.
	Absent []int

	// Bucket limits the bytes of all bodies, those of other groups that it is
	// given to included; nil: no limit. What is cached is never limited.
	Bucket *Bucket

	// Spool makes a temporary file that is already unlinked, for what
	// candidates of a race by bandwidth deliver beyond 64 KiB. Nil, or an
	// error: such a race is decided at 64 KiB.
	Spool func() (*os.File, error)

	Via       string // this proxy in the Via field (RFC 9110 §7.6.3): "1.1 " comes before it; "" sends none
	UserAgent string // sent unless a request has its own; "" sends none
	Hub       string // for logs

	// Records are what an earlier group knew of its mirrors, from [Group.Records].
	Records []Record

	// Before is a group that this one takes the place of, in the same process: what
	// it knew and counted of its mirrors goes on, and so do the connections to those
	// that are reached alike. It may be in use still, and is to be closed all the same.
	// Nil: there is none; else Records count for nothing.
	Before *Group

	// Raced hears of races that more than one mirror was in and one has won, once
	// all of them have ended. It must not take long. Nil: nobody does.
	Raced func(Contest)

	Log *slog.Logger     // nil: none
	Now func() time.Time // nil: time.Now. Only for the times in entries
}

// A Mirror is one of several upstreams with the same content.
type Mirror struct {
	Server *url.URL // http or https; with or without a base path and trailing slash; userinfo counts as Username and Password

	// Learned: no operator has named the server, so its address must be a public
	// one, as that of a redirect's target.
	Learned bool

	// Path maps a request's path to the mirror's. A path that Match does not
	// match is not asked here. Either part empty: every path, unchanged.
	Path struct {
		Match   *regexp.Regexp // unanchored
		Replace string         // template of [regexp.Regexp.Expand]
	}

	Checkers        []Checker      // all must hold for an answer to be good
	AllowedRedirect *regexp.Regexp // each hop's URL must match; nil: any public target
	Priorities      []Priority     // the first that matches the path counts, else 0

	Username, Password string // basic authentication
	Token              string // bearer token, if there is no Username
	Header             map[string]string

	Proxy       *url.URL         // http, https or socks5; nil: HTTP_PROXY, HTTPS_PROXY and NO_PROXY
	CA          []byte           // PEM; trusted instead of the system's roots. Hops elsewhere trust both
	Certificate *tls.Certificate // of this client; not shown to redirect targets

	MaxConnections int     // 0: 64
	Bucket         *Bucket // limits the bytes of bodies from here; nil: no limit

	// Wrap is asked once for the transport of requests to the mirror itself: it
	// may change them, send them again and ask other hosts, who get what a
	// redirect would get there: nothing of the mirror's, and only if they are
	// public. Requests come to it with the mirror's credentials. Nil: as it is.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// A Checker says what a good answer looks like.
type Checker struct {
	StatusCodes []int // if no checker has any: 200
	Headers     []HeaderCheck
}

// A HeaderCheck demands a header field.
type HeaderCheck struct {
	Name  string         // in any letter case
	Match *regexp.Regexp // of one of its values; nil: the field must exist
}

// A Priority ranks a mirror for some paths; higher is asked first.
type Priority struct {
	Match    *regexp.Regexp
	Priority int
}

// The modes of a race.
const (
	Adaptive = "adaptive" // the best of a group, by their records; the first good head wins. The default
	All      = "all"      // a group at once; the first to deliver FirstChunk bytes, or its whole body, wins
	Ordered  = "ordered"  // every mirror is a group of its own, in the operator's order
)

// Race says how candidates compete.
type Race struct {
	Mode string // "": Adaptive

	// Width mirrors are asked at once in mode Adaptive, while none of them is
	// known; then the best one. 0: 3
	Width int

	// Stagger is when, in mode Adaptive, the next mirror joins those that keep
	// their heads to themselves. Of a known mirror it is its record that says
	// when it is late. 0: 250 ms
	Stagger time.Duration

	// Switch lets a body go on at the same offset from another mirror when its
	// own one dies, stalls or crawls, and from the same one if there is no
	// other: as far as a digest of the request will prove the whole, or an equal
	// strong validator and length vouch for it. The entry stays the first mirror's.
	Switch bool

	// Stripe lets large bodies come from several mirrors of a tier at once; needs Switch.
	Stripe Stripe

	FirstChunk int64 // bytes, in mode All. 0: 50 MiB
	Chunk      int64 // read size in mode All, at most 64 KiB in effect. 0: 1 MiB
}

// A Stripe says when [exchange.Ranges] offers CopyParts, and how it goes.
type Stripe struct {
	MinSize int64 // of a body. 0: 64 MiB; negative: never
	Part    int64 // bytes asked of a mirror at once, at most. 0: 8 MiB
	Width   int   // mirrors at once. 0: 4
}

// Limits bound what a mirror may cost. Zero is the default; negative is none,
// where none is possible.
type Limits struct {
	Dial        time.Duration // to connect, name resolution included; 3 s
	TLS         time.Duration // handshake; 5 s
	Header      time.Duration // from request to head; 15 s
	Idle        time.Duration // between two bytes of a body; 30 s
	MinRate     int64         // bytes a second of a body, over 60 s; 1 KiB; may be negative
	HeaderBytes int64         // of a response; 64 KiB
	Redirects   int           // hops; 5; may be negative
}

// Allowed are targets that redirects may lead to though their addresses are not
// public. Configured servers and proxies need no mention. (Resolvers that answer
// with "fake" addresses, 198.18.0.0/15 as a rule, do need one.)
type Allowed struct {
	Prefixes []netip.Prefix
	Hosts    []string // suffixes at a label's border: example.org covers a.example.org
}

func (o *Options) setDefaults() {
	or(&o.Race.Mode, Adaptive)
	or(&o.Race.Width, 3)
	or(&o.Race.Stagger, 250*time.Millisecond)
	or(&o.Race.FirstChunk, 50<<20)
	or(&o.Race.Chunk, 1<<20)
	or(&o.Race.Stripe.MinSize, 64<<20)
	or(&o.Race.Stripe.Part, 8<<20)
	or(&o.Race.Stripe.Width, 4)
	or(&o.Limits.Dial, 3*time.Second)
	or(&o.Limits.TLS, 5*time.Second)
	or(&o.Limits.Header, 15*time.Second)
	or(&o.Limits.Idle, 30*time.Second)
	or(&o.Limits.MinRate, 1<<10)
	or(&o.Limits.HeaderBytes, 64<<10)
	or(&o.Limits.Redirects, 5)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// or sets *p to v if it is zero.
func or[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
