package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A Member is a part of a hub's upstreams that has other content than the rest.
type Member struct {
	Name    string
	Source  exchange.Source // its mirrors: a [Group]
	Mirrors []string        // their base URLs, as in [exchange.Entry.Mirror]
	Seconds []string        // those of the second hosts that are this member's
}

// Rules say whom the names that requests are about belong to. Members are known by
// their index.
type Rules interface {
	// Owners are the members that what req asks for is private to; none: it is free.
	Owners(req *exchange.Request) []int

	// Keeps says whether a package that member i has is nobody else's.
	Keeps(i int, req *exchange.Request) bool

	// Second says whether a second host is member i's.
	Second(i int, origin string) bool
}

// MembersOptions describe [Members].
type MembersOptions struct {
	Members []Member // in the order in which they are asked
	Rules   Rules
	Seconds exchange.Source // of requests with an Origin

	// Index is the request for the index of the package that a request is about, with
	// the same Key if it is that itself; nil if it is about none. Nil: nobody knows.
	Index func(*exchange.Request) *exchange.Request

	// Merge writes one index made of several, which are not packed any more than they
	// came. Nil: the first member that has one answers.
	Merge func(dst io.Writer, req *exchange.Request, parts []*exchange.Response) error

	// Cached is the cache before this Source. It is asked for indexes, never for what
	// is being asked for here.
	Cached exchange.Source

	Log *slog.Logger // nil: none
}

// Members are upstreams of one hub with different content. They are asked in order,
// and the first that has what is asked for answers; indexes are merged where that
// can be done. A request about a name that is private to a member goes nowhere else,
// and neither does one about a package that a member keeps, whether its name is on a
// list or not: if that member cannot be asked whether it has the package, nobody is.
// It is safe for concurrent use.
//
// A failure never becomes a 404: if some member had nothing to say, and the others
// do not have it, that failure is the answer.
type Members struct {
	MembersOptions
	all []int
}

var _ exchange.Source = (*Members)(nil)

// NewMembers makes the source. It asks nobody yet.
func NewMembers(o MembersOptions) *Members {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Members{MembersOptions: o}
	for i := range o.Members {
		m.all = append(m.all, i)
	}
	return m
}

// Get asks members. Errors are those of [Group.Get].
func (m *Members) Get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	asked := m.Rules.Owners(req)
	free := len(asked) == 0
	if free {
		asked = m.all
	}
	var index *exchange.Request
	if m.Index != nil {
		index = m.Index(req)
	}
	direct := req.Origin == "" && req.Only == "" && req.Member == ""
	if direct && m.Merge != nil && index != nil && index.Key == req.Key {
		resp, err := m.merged(ctx, req, asked, free)
		if err == nil && req.Head {
			resp.Body.Close()
			resp.Body = http.NoBody
		}
		return resp, err
	}
	if free && index != nil {
		var err error
		if asked, err = m.holders(ctx, req, index); err != nil {
			return nil, err
		}
	}
	if req.Origin != "" {
		if (!free || len(asked) < len(m.all)) && !slices.ContainsFunc(asked, func(i int) bool { return m.Rules.Second(i, req.Origin) }) {
			return nil, private(req)
		}
		return m.Seconds.Get(ctx, req)
	}
	asked = m.named(req, asked)
	if len(asked) == 0 {
		return nil, private(req)
	}
	return m.inOrder(ctx, req, asked)
}

// Strange says whether e, which is stored, is of a name that is private now, and came
// from where nobody would ask about it any more. What req itself names by digest is
// the same wherever it came from.
func (m *Members) Strange(req *exchange.Request, e *exchange.Entry) bool {
	if req.Digest != "" {
		return false
	}
	owners := m.Rules.Owners(req)
	return len(owners) > 0 && e.Mirror != "" && !slices.ContainsFunc(owners, func(i int) bool {
		o := &m.Members[i]
		return slices.Contains(o.Mirrors, e.Mirror) || slices.Contains(o.Seconds, e.Mirror)
	})
}

// private is what who asks hears where nobody may be asked. It is a 404, on which
// clients go on to the next place that they know.
func private(req *exchange.Request) error {
	return &exchange.Error{
		Status:  http.StatusNotFound,
		Message: "not found: the name is private, and only the member that it belongs to is asked about it",
		Err:     fmt.Errorf("%v is private: %w", req.Key, fs.ErrNotExist),
	}
}

// named are those of asked that req's Only and Member let be asked.
func (m *Members) named(req *exchange.Request, asked []int) []int {
	if req.Only == "" && req.Member == "" {
		return asked
	}
	var some []int
	for _, i := range asked {
		if o := &m.Members[i]; (req.Member == "" || o.Name == req.Member) && (req.Only == "" || slices.Contains(o.Mirrors, req.Only)) {
			some = append(some, i)
		}
	}
	return some
}

// of is the member that has a mirror; -1: none.
func (m *Members) of(mirror string) int {
	return slices.IndexFunc(m.Members, func(o Member) bool { return slices.Contains(o.Mirrors, mirror) })
}

// holders are the members to ask about the package of req, whose name is free:
// those alone that have it and keep it, if any does, else all, the ones first that
// are known to have it.
func (m *Members) holders(ctx context.Context, req, index *exchange.Request) ([]int, error) {
	var keepers []int
	for _, i := range m.all {
		if m.Rules.Keeps(i, req) {
			keepers = append(keepers, i)
		}
	}
	if len(keepers) == 0 {
		return m.all, nil
	}
	if index.Key != req.Key {
		if have, ok := m.known(ctx, index); ok {
			keeping := intersection(keepers, have)
			if len(keeping) > 0 {
				return keeping, nil
			}
			first := slices.Clone(have)
			for _, i := range m.all {
				if !slices.Contains(have, i) {
					first = append(first, i)
				}
			}
			return first, nil
		}
	}
	var have []int
	for _, i := range keepers {
		resp, err := m.Members[i].Source.Get(ctx, plain(index))
		switch a := weigh(resp, err); {
		case a == had:
			have = append(have, i)
		case a == missed:
		case err == nil:
			resp.Body.Close()
			return nil, unsure(req, m.Members[i].Name, fmt.Errorf("status %d", resp.Entry.Status))
		default:
			return nil, unsure(req, m.Members[i].Name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	if len(have) > 0 {
		return have, nil
	}
	return m.all, nil
}

// known are the members that have the package whose index is in the cache, or
// comes into it; ok is false where that does not tell.
func (m *Members) known(ctx context.Context, index *exchange.Request) (have []int, ok bool) {
	resp, err := m.Cached.Get(ctx, index)
	switch weigh(resp, err) {
	case missed:
		if err == nil {
			resp.Body.Close()
		}
		return nil, true
	case failing:
		if err == nil {
			resp.Body.Close()
		}
		return nil, false
	}
	defer resp.Body.Close()
	if parts := parseTag(resp.Entry); parts != nil {
		for _, p := range parts {
			i := slices.IndexFunc(m.Members, func(o Member) bool { return o.Name == p.Member })
			if i < 0 {
				return nil, false
			}
			have = append(have, i)
		}
		return have, true
	}
	i := m.of(resp.Entry.Mirror)
	return []int{i}, i >= 0
}

// unsure is the error where a member that keeps what it has cannot be asked whether
// it has a package: then it is nobody's who could be asked instead.
func unsure(req *exchange.Request, member string, err error) error {
	e := &exchange.Error{Status: http.StatusBadGateway, Message: "a private member cannot be asked whether it has the package"}
	var stated *exchange.Error
	if errors.As(err, &stated) && stated.Status >= http.StatusInternalServerError {
		e.Status, e.RetryAfter = stated.Status, stated.RetryAfter
	}
	e.Err = fmt.Errorf("ask member %s about %v: %w", member, req.Key, err)
	return e
}

func intersection(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(i int) bool { return !slices.Contains(b, i) })
}

// What came of a question.
type answer int

const (
	had     answer = iota // a response, or a 304
	missed                // there is no such thing
	failing               // that is not known
)

// weigh says what a response, or the error in its place, means.
func weigh(resp *exchange.Response, err error) answer {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missed
	case err != nil:
		return failing
	case resp.Entry.Status < http.StatusBadRequest:
		return had
	case resp.Entry.Status == http.StatusNotFound, resp.Entry.Status == http.StatusGone:
		return missed
	}
	return failing
}

// plain is req for the whole, unconditionally, of whoever is asked.
func plain(req *exchange.Request) *exchange.Request {
	ask := *req
	ask.Head, ask.Validate, ask.Resume, ask.From = false, nil, nil, 0
	return &ask
}

// inOrder is the answer of the first member that has what req asks for.
func (m *Members) inOrder(ctx context.Context, req *exchange.Request, asked []int) (*exchange.Response, error) {
	// A search, or the body of a POST, is about nothing that somebody keeps.
	named := req.Post == nil && req.Policy.Class != freshness.Passthrough
	keeps := func(i int) bool { return named && m.Rules.Keeps(i, req) }
	var worst *question // the first failure; else the last that has nothing
	for _, i := range asked {
		q := m.question(ctx, i, m.to(i, req))
		if q.answer == had || q.answer == failing && (keeps(i) || ctx.Err() != nil) {
			worst.close()
			return q.resp, q.err
		}
		if worst == nil || worst.answer == missed {
			worst.close()
			worst = q
		} else {
			q.close()
		}
	}
	return worst.resp, worst.err
}

// A question is what one member was asked, and what it said.
type question struct {
	member int
	answer answer
	resp   *exchange.Response
	err    error
}

// question asks a member. An answer that is no content is read at once, so that nothing
// of the member is held while others are asked.
func (m *Members) question(ctx context.Context, i int, req *exchange.Request) *question {
	q := &question{member: i}
	q.resp, q.err = m.Members[i].Source.Get(ctx, req)
	q.answer = weigh(q.resp, q.err)
	if q.err != nil || q.answer == had {
		return q
	}
	text, _ := io.ReadAll(io.LimitReader(q.resp.Body, maxRefusal)) // a part of it will do
	q.resp.Body.Close()
	e, own := *q.resp.Entry, *q.resp
	e.Size = int64(len(text))
	own.Entry, own.Body, own.Ranges = &e, io.NopCloser(bytes.NewReader(text)), nil
	q.resp = &own
	return q
}

// maxRefusal is how much of a refusal's text is kept, in bytes.
const maxRefusal = 4 << 10

func (q *question) close() {
	if q != nil && q.resp != nil {
		q.resp.Body.Close()
	}
}

// to is req as member i is asked: what is stored of another one says nothing here.
func (m *Members) to(i int, req *exchange.Request) *exchange.Request {
	mirrors := m.Members[i].Mirrors
	strange := func(e *exchange.Entry) bool { return e != nil && !slices.Contains(mirrors, e.Mirror) }
	foreign := req.Resume != nil && strange(req.Resume.Entry)
	if !strange(req.Validate) && !foreign {
		return req
	}
	ask := *req
	if strange(req.Validate) {
		ask.Validate = nil
	}
	if foreign {
		ask.Resume = nil
	}
	return &ask
}
