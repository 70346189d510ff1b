// Package exchange is the vocabulary of the proxy: a client's request becomes a
// [Request], a chain of [Source]s answers it with a [Response], the edge writes
// that out.
//
// The words are those of RFC 9110, 9111 and 9211. A Source answers requests; a
// Filter makes a Source from another; a Key names what may be shared; an Entry
// is a stored response without its content. Values pass between the stages and
// are not modified on the way: who wants another one makes a copy.
//
// It does no I/O and knows no protocol, no store and no configuration.
package exchange

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A Source answers requests: a group of upstreams, a peer, the cache before them.
// It is safe for concurrent use.
type Source interface {
	// Get returns as soon as the head is known; content may still be on its
	// way. The caller closes Body. An origin's 404 is a response; err means
	// there is none, and is an [*Error] or matches [fs.ErrNotExist].
	Get(ctx context.Context, req *Request) (*Response, error)
}

// SourceFunc is a function that is a [Source].
type SourceFunc func(ctx context.Context, req *Request) (*Response, error)

// Get calls f.
func (f SourceFunc) Get(ctx context.Context, req *Request) (*Response, error) { return f(ctx, req) }

// A Filter makes a Source from another: it may refuse, change or answer a
// request, or change the response.
type Filter func(next Source) Source

// Key is the cache key (RFC 9111 §2). Requests with equal keys are sent
// upstream alike, so they may share a response.
type Key struct {
	Hub     string // the mount: "npm"; "default" for the original's one
	Path    string // canonical, begins with "/", below the mount; "?query" included where the hub says that it counts
	Variant string // secondary key (§4.1), normalised by the hub; "" if there is one representation
}

// String is the key as people read it in logs: hub:path, and [variant] if there is one.
func (k Key) String() string {
	s := k.Hub + ":" + k.Path
	if k.Variant != "" {
		s += "[" + k.Variant + "]"
	}
	return s
}

// A Request asks for one representation. It is not modified once made.
type Request struct {
	Key    Key
	Head   bool        // only the head is wanted (RFC 9110 §9.3.2)
	Post   []byte      // the body of a POST, which is never stored and asked of one mirror; nil: a GET
	Target string      // path and query, as the client spelled them, on every mirror of the group
	Header http.Header // all fields sent upstream, none of them the client's by default
	Policy freshness.Policy
	Digest Digest // of the content, where the protocol or an index says it beforehand
	Size   int64  // of the content, likewise; 0 if unknown

	// Origin is which of the hub's upstreams is asked: "" its mirrors, else the
	// name of a second host that the configuration has given it (options.files).
	Origin string

	// Avoid are mirrors, by base URL, that have sent wrong content under this key.
	Avoid []string

	// Doubt are mirrors, by base URL, that had a part in wrong content under this
	// key, one of them or more the wrong one. They are asked one by one, after all
	// others, and while there are any the content comes from a single mirror.
	Doubt []string

	// Resume is what is at hand of the content; nil: nothing. Upstream may answer
	// with the rest (Response.Resumed), or as if it had not been told.
	Resume *Part

	// From is where the client that asks begins to read, if that is far from the
	// beginning; else 0. Upstream may answer with content that comes from there on
	// (Response.From), or as if it had not been told.
	From int64

	// Only is the one mirror, by base URL, that is asked: what belongs to
	// something fetched there comes from there. "" is all of them.
	Only string

	// Member is the one of the hub's members that is asked, where it has some with
	// different content. "" is all of them, in order.
	Member string

	// Validate is the stored entry that a conditional request asks about, nil
	// for a plain one. Upstream derives the precondition fields from it, and
	// believes a 304 only as far as it speaks of this entry.
	Validate *Entry

	// Wire is what else the client has sent, for a request that goes to the origin
	// as it came ([freshness.Transparent]); nil for all others.
	Wire *Wire

	// Sieve says which versions an index may show; nil: all. A hub that can reads it
	// where it rewrites, and nothing behind that does.
	Sieve *Sieve

	Package, Version string // what it is about, for filters and logs
	Client           Client // who asks; nothing in it goes upstream
}

// A Wire is the part of a request that is passed through. It is for one upstream
// at a time, and for one that fails no other once it was begun.
type Wire struct {
	Method string    // in the client's spelling; GET and HEAD too
	Body   io.Reader // nil if there is none; read once at most
	Length int64     // of the body; -1 if unknown

	// Interim hears of responses 1xx that come before the final one (RFC 9110 §15.2).
	// It may be called from another goroutine, and after the request is over.
	Interim func(status int, header http.Header)

	// Locate is the key of what a URI reference in the response of mirror names; false
	// if that is not of the same origin.
	Locate func(mirror, reference string) (Key, bool)
}

// A Sieve says which versions of a package a client is shown. Immutable.
type Sieve struct {
	Rules string // differs whenever Shows would say something else of the same
	Dates bool   // Shows wants to know when versions were published

	// Shows reports whether a version is shown; published is zero if that is not known.
	Shows func(version string, published time.Time) bool
}

// Clone returns a copy that may be changed before it is sent on. The header is copied too.
func (r *Request) Clone() *Request {
	c := *r
	c.Header = r.Header.Clone()
	return &c
}

// A Client is who asked.
type Client struct {
	Addr   netip.Addr  // of the peer, or what a trusted proxy says of it; zero if unknown (a unix socket)
	Base   string      // public URL of the hub's mount as this client spells it, without a trailing slash
	Method string      // of its request
	Header http.Header // of its request; to be read alone
}

// An Entry is a stored response without its content (RFC 9111 §3). Immutable.
type Entry struct {
	Key       Key         `json:"key"`
	Status    int         `json:"status"`
	Header    http.Header `json:"header,omitempty"` // end-to-end fields as the origin sent them
	Size      int64       `json:"size"`             // of the content; -1 until known
	Digest    Digest      `json:"digest,omitempty"` // of the content; "" until complete
	Mirror    string      `json:"mirror,omitempty"` // base URL of the upstream it came from, without credentials
	URL       string      `json:"url,omitempty"`    // where redirects ended, without the query; "" if there were none
	Requested time.Time   `json:"requested,omitzero"`
	Received  time.Time   `json:"received"`         // §4.2.3; moved on by a validation
	Stored    time.Time   `json:"stored,omitzero"`  // when the content came; not moved
	Proved    Digest      `json:"proved,omitempty"` // by which the content was found right, where that is not Digest
}

// Matches says whether the entry's content is what f says, as far as both know.
func (e *Entry) Matches(f Fact) bool {
	if f.Size > 0 && e.Size >= 0 && f.Size != e.Size {
		return false
	}
	for _, own := range [...]Digest{e.Digest, e.Proved} {
		if own != "" && own.Algorithm() == f.Digest.Algorithm() {
			return own == f.Digest
		}
	}
	return true
}

// A Fact is what an index has said of content to come.
type Fact struct {
	Size   int64  // in bytes; 0 if it did not say
	Digest Digest // "" if it did not say
}

// Freshened is the entry after a successful validation (RFC 9111 §4.3.4): the
// fields of the 304 replace those stored, except the ones that describe the
// stored content (§3.2), and its times start anew.
func (e *Entry) Freshened(notModified *Entry) *Entry {
	f := *e
	f.Header = maps.Clone(e.Header)
	if f.Header == nil {
		f.Header = http.Header{}
	}
	for name, values := range notModified.Header {
		switch name {
		case "Content-Length", "Content-Encoding", "Content-Range", "Content-Type":
		default:
			f.Header[name] = values
		}
	}
	f.Requested, f.Received = notModified.Requested, notModified.Received
	return &f
}

// A Response is an entry and its content on the way.
type Response struct {
	Entry *Entry

	// Body is the whole content. Ranges are served iff it is an io.Seeker and
	// Entry.Size is known; an *os.File under it (a syscall.Conn) reaches sendfile.
	// For a request with Head it is empty.
	Body io.ReadCloser

	// Unproven: the content ends where the connection does (RFC 9112 §6.3, rule 8),
	// so its end proves nothing.
	Unproven bool

	// Ranges asks upstream for parts of the same content; nil if it cannot be asked.
	Ranges Ranges

	// Resumed: Entry is that of the request's Resume, as upstream has confirmed,
	// and the rest of its content is at hand: Ranges.Rewind to the first offset that
	// is missing lets Body be read from there, Ranges.CopyParts brings nothing but
	// what is missing. A Body that is read without either is the whole content.
	Resumed bool

	// From, if it is not 0, is the request's: the content is on its way from there on
	// to its end. Ranges.Rewind to From lets Body be read from there, Ranges.CopyParts
	// brings the whole, that first. A Body that is read without either is the whole
	// content, from its beginning.
	From int64

	// NoStore: the origin said private or no-store, or set a cookie. The response
	// is for the one who asked, and is never stored.
	NoStore bool

	// Verbatim: it answers the client's own request, preconditions and ranges
	// included, and is sent as it is.
	Verbatim bool

	// Sent hears, before Body is closed, how many bytes of content the client was
	// sent, and what ended it early; nil: nobody does. It is called once at most, by
	// who writes to the client.
	Sent func(bytes int64, err error)

	Outcome Outcome
}

// Ranges are parts of content that is on its way as a Body too. Whoever answers
// vouches that all bytes are of the same content: one strong validator, or one
// digest that proves the whole (DESIGN decision 3). It is safe for concurrent use
// until the Body is closed.
type Ranges interface {
	// Section is the n bytes at off. It may be asked for while the Body is read.
	Section(ctx context.Context, off, n int64) (io.ReadCloser, error)

	// Striped says that CopyParts is worth while: the content is large, and
	// more than one mirror has it.
	Striped() bool

	// CopyParts writes the whole content, or what a resumed request has not, to w instead of the Body being read: in
	// parts, out of order, from several mirrors at once. arrived hears of each
	// piece written, from several goroutines. wanted, asked before a part begins,
	// is an offset that a reader waits for, or -1. After an error of w's, the Body
	// may be read from the offset given to Rewind.
	CopyParts(ctx context.Context, w io.WriterAt, arrived func(off, n int64), wanted func() int64) error
	Rewind(off int64)
}
