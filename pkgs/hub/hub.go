// Package hub is the contract of an ecosystem: how a client's request becomes
// an exchange, and what changes on the way back. Package hubtest has the suite
// that every hub passes.
//
// A hub only translates. It talks to nobody but the Source it is given, stores
// nothing and races nobody; freshness, sharing and verification are the cache's.
//
// What several hubs need is here too, so that a type is little more than what is
// peculiar to its protocol. For Parse: from a URL to an exchange by the kind of its
// path (asked.go), canonical paths (path.go) and policies (policy.go). For Rewrite:
// answering with an index whose links lead to the hub, and which teaches (copy.go),
// learning from one that passes (learn.go), mapping links (links.go), changing JSON
// and HTML on the way (json.go, json_rules.go, html.go), changed fields of an answer and
// reading an index for the sake of something else (answer.go). For a Gate: looking
// into content before it is stored (judge.go), and whether it is older than what was
// seen (recent.go). Packed content is read within limits (unpack.go), a changed index
// is kept beside its original (rewrite.go). What a list says of a mutable file is what
// a client gets (pinned.go, list.go), and content is proved by a rule of the protocol's
// own (hash.go). Foreign formats are read by the packages in pkgs/format. Package
// hub/template shows them at work.
//
// There are also generations, for those whose indexes are only right together (generation.go is
// what clients see, gate.go and companion.go what the cache is given, memory.go
// what is remembered between them, recall.go what of it outlives the process).
//
// The upstreams of a hub may be members with different content: member.go is what
// a hub says of its packages so that members may be asked in order, their indexes
// made one, and private names kept from all others; member_order.go is for a hub that
// asks each in another way, member_lines.go for indexes that are lines, json_merge.go for
// those that are JSON.
package hub

import (
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub speaks one ecosystem's protocol. It talks to nobody but next.
type Hub interface {
	// Parse maps a client's request, its path relative to the mount, to the
	// exchange it asks for. A Key's own path parses to that Key again. An error
	// matching fs.ErrNotExist: the protocol has no such path; an
	// [*exchange.Error] is answered as it says.
	Parse(r *http.Request) (*exchange.Request, error)

	// Rewrite is a Filter between clients and cache: links in indexes lead back
	// to Client.Base, index paths become the content their generation names,
	// digests go to the ledger. Artifacts pass untouched.
	Rewrite(next exchange.Source) exchange.Source
}

// A Poster is a Hub with requests that carry a body. They pass through.
type Poster interface {
	// Post is Parse for a POST whose body was read. An error matching
	// fs.ErrNotExist: there is no such path to post to (405).
	Post(r *http.Request, body []byte) (*exchange.Request, error)
}

// A Carrier is a Hub whose requests go to the origin as they came: of any method,
// with a body.
type Carrier interface {
	// Carry is Parse for a request whose method, body and interim responses are w's.
	Carry(r *http.Request, w *exchange.Wire) (*exchange.Request, error)
}

// A Refuser is a Hub whose clients want errors in a form of their own.
type Refuser interface {
	// Refusal is the body of an error response: never empty, without internals.
	Refusal(status int, message string) (contentType string, body []byte)
}

// A Gatekeeper is a Hub that decides what may replace what is stored.
type Gatekeeper interface {
	// Gate is a Filter between the cache and upstream. cached is the cache
	// itself, as clients see it: content fetched through it is at hand after. A
	// response whose Body it replaces has no Ranges any more.
	Gate(next, cached exchange.Source) exchange.Source
}

// Options are what every hub is made from.
type Options struct {
	Name     string              // the mount: Key.Hub of every request
	Policies *Policies           // of the configuration; they win over the protocol's classes
	Mirrors  []*url.URL          // base URLs of the upstreams: links below them are the hub's own
	Files    map[string]*url.URL // second hosts by alias (options.files): /_f/ALIAS/PATH
	Cache    exchange.Filter     // the cache, for content that is made from other content; nil: nothing is kept

	// Saw hears when an index under a path, as a mirror has it, says that it was
	// published; the mirror is a base URL. Nil: nobody does.
	Saw func(path, mirror string, published time.Time)

	// Spool makes a temporary file without a name, where the store is; the caller
	// closes it. Nil: there are none.
	Spool func() (*os.File, error)

	// Members are the upstreams' groups of different content; nil: all are mirrors of
	// the same.
	Members *Members

	// Learned are second hosts that the hub's indexes may teach; nil: none.
	Learned *Learned

	// Memory is what the hub's generations remember; nil: what they do now, until
	// they are gone.
	Memory *Memory

	// Ledger learns what indexes say of content to come; nil: nothing is learned.
	Ledger *ledger.Ledger

	Log *slog.Logger     // nil: nothing is logged
	Now func() time.Time // nil: time.Now
}

// Request is the exchange of a path in the two spellings of [Path], whose class
// and ttl are what the protocol says (ttl 0: it does not). The policies of the
// configuration win.
func (o *Options) Request(canonical, target string, class freshness.Class, ttl time.Duration) *exchange.Request {
	return &exchange.Request{
		Key:    exchange.Key{Hub: o.Name, Path: canonical},
		Target: target,
		Policy: o.Policies.For(canonical, class, ttl),
	}
}

// Time is what time it is, as the options have it.
func (o *Options) Time() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}
