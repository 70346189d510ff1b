package hub

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// An Index is how a hub answers with an index whose links lead to the hub, and learns
// what it says: one function copies it, for a client and for the ledger.
type Index struct {
	Rules string // the version of Copy, and all else by which what it writes may differ
	Base  string // what links begin with: mostly the client's; it counts as a rule too
	Links *Links // that the hub knows

	// Prefix begins all paths that Copy may teach; "": it teaches nothing.
	Prefix string

	// Copy is an [Edit] that leads the links of an index and teaches what it says, both
	// by c. It may run several times, also at once.
	Copy func(dst io.Writer, src io.Reader, c *Copy) error

	// Sift makes of the copy what the request's Sieve shows; nil: that shows all.
	Sift Sift
}

// A Sift is an [Edit] that may ask for more; what it makes may be for others too, so that
// ctx does not end with the client's request.
type Sift = func(ctx context.Context, dst io.Writer, src io.Reader) error

// A Copy is what a Copy of an [Index] has to do with one: it is for one goroutine.
type Copy struct {
	Base string   // what links begin with; "" if nobody gets the copy
	From *url.URL // where the index was, from which its relative links count

	// Entry is the index as it came; nil in a Copy of [NewCopy].
	Entry *exchange.Entry

	// Teach hears what the index says; nil: nobody listens. See [Copy.Tell].
	Teach Teach

	links  *Links
	lesson *ledger.Lesson // that Teach is of; nil: none
}

// NewCopy is a Copy of an index that was at from: for a client whose links begin with
// base, and for teach; either may be empty.
func NewCopy(links *Links, base string, from *url.URL, teach Teach) *Copy {
	return &Copy{Base: base, From: from, Teach: teach, links: links}
}

// Map is where a link leads below the hub; false if it leads elsewhere, and stays.
func (c *Copy) Map(link string) (path string, ok bool) { return c.links.Map(link, c.From) }

// Append is Map that appends the path to dst.
func (c *Copy) Append(dst, link []byte) (path []byte, ok bool) {
	return c.links.Append(dst, link, c.From)
}

// Tell teaches what the index says of a path, if anybody listens.
func (c *Copy) Tell(path string, f exchange.Fact) {
	if c.Teach != nil {
		c.Teach(path, f)
	}
}

// TellBytes is [Copy.Tell] of the path that suffix is behind path, and of the digest that
// an algorithm and its sum in hexadecimal spell: none without an algorithm. It keeps
// nothing that it gets, and what is no digest teaches nothing.
func (c *Copy) TellBytes(path []byte, suffix string, size int64, algorithm string, sum []byte) {
	switch {
	case c.lesson != nil:
		c.lesson.TeachBytes(path, suffix, size, algorithm, sum)
	case c.Teach != nil:
		f := exchange.Fact{Size: size}
		if algorithm != "" {
			f.Digest = exchange.Digest(algorithm + ":" + string(sum))
		}
		c.Teach(string(path)+suffix, f)
	}
}

// Lead is where a link leads for who gets the copy; false if it leads elsewhere, and
// stays. As a rule of [CopyJSON] it is JSONChange(c.Lead).
func (c *Copy) Lead(link string) (to string, ok bool) {
	path, ok := c.Map(link)
	return c.Base + path, ok
}

// Copied answers req with next's index as ix copies it ([Options.Edited]), and has
// the ledger learn from it: in the same pass where the index is copied for this
// client, behind it where a copy was kept. If req has a Sieve, the client gets what
// that shows.
func (o *Options) Copied(ctx context.Context, next exchange.Source, req *exchange.Request, ix Index) (*exchange.Response, error) {
	c := &copying{Index: ix, ledger: o.Ledger, next: next, req: req}
	rules, edit := ix.Rules+" "+ix.Base, c.edit
	if req.Sieve != nil && ix.Sift != nil {
		rules += "\n" + req.Sieve.Rules
		lasting := context.WithoutCancel(ctx)
		edit = func(dst io.Writer, src io.Reader) error {
			return Piped(dst, src, c.edit, func(dst io.Writer, src io.Reader) error { return ix.Sift(lasting, dst, src) })
		}
	}
	resp, err := o.Edited(ctx, exchange.SourceFunc(c.get), req, rules, edit)
	if err == nil {
		c.learn()
	}
	return resp, err
}

// A copying is an index that is being answered with.
type copying struct {
	Index
	ledger *ledger.Ledger
	next   exchange.Source
	req    *exchange.Request

	answer atomic.Pointer[answer] // the last one, set before it is copied; maybe by the cache, on a goroutine of its own
}

// An answer is the index as it came.
type answer struct {
	entry   *exchange.Entry
	from    *url.URL
	teaches bool
}

// get asks for the index.
func (c *copying) get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	resp, err := c.next.Get(ctx, req)
	if err == nil && resp.Entry.Status == http.StatusOK {
		a := &answer{entry: resp.Entry, teaches: c.Prefix != "" && !resp.NoStore}
		a.from, _ = url.Parse(resp.Entry.Mirror + req.Target)
		c.answer.Store(a)
	}
	return resp, err
}

// edit is the Edit for a client, which teaches by the way.
func (c *copying) edit(dst io.Writer, src io.Reader) error {
	a := c.answer.Load()
	out := c.of(a, c.Base, nil)
	if a.teaches {
		out.lesson = c.ledger.Lesson(c.next, c.req, a.entry, c.Prefix, c.parse(a))
	}
	if out.lesson != nil {
		out.Teach = out.lesson.Teach
	}
	err := c.Copy(dst, src, out)
	out.lesson.End(err)
	return err
}

// learn has the ledger read the index, unless that was or is being done.
func (c *copying) learn() {
	if a := c.answer.Load(); a != nil && a.teaches {
		c.ledger.Learn(c.next, c.req, a.entry, c.Prefix, c.parse(a))
	}
}

func (c *copying) parse(a *answer) ledger.Parse {
	return unpacking(func(r io.Reader, teach Teach) error {
		return c.Copy(io.Discard, r, c.of(a, "", teach))
	})
}

// of is a Copy of an answer.
func (c *copying) of(a *answer, base string, teach Teach) *Copy {
	out := NewCopy(c.Links, base, a.from, teach)
	out.Entry = a.entry
	return out
}
