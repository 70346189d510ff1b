package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A shelf is a member: content by path. An error, or a status, stands under
// "err" and "status".
type shelf struct {
	base  string
	has   map[string]string
	tags  map[string]string // entity tags by path
	err   error
	code  int
	asked []string // "GET /x", or "VALIDATE /x"
}

func (s *shelf) Get(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
	act := "GET "
	if req.Validate != nil {
		act = "VALIDATE "
	}
	s.asked = append(s.asked, act+req.Target)
	if s.err != nil {
		return nil, s.err
	}
	e := &exchange.Entry{Key: req.Key, Status: 404, Header: http.Header{}, Mirror: s.base}
	text, ok := s.has[req.Target]
	switch tag := s.tags[req.Target]; {
	case s.code != 0:
		e.Status = s.code
	case ok && tag != "" && req.Validate != nil && req.Validate.Header.Get("Etag") == tag:
		e.Status, text = 304, ""
	case ok:
		e.Status = 200
		if tag != "" {
			e.Header.Set("Etag", tag)
		}
	}
	e.Size = int64(len(text))
	return &exchange.Response{Entry: e, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func (s *shelf) questions() []string {
	asked := s.asked
	s.asked = nil
	slices.Sort(asked)
	return asked
}

// rule is Rules of two members, of which corp, the first, has private names.
type rule struct{ open bool }

func (r rule) Owners(req *exchange.Request) []int {
	if strings.HasPrefix(req.Package, "acme") {
		return []int{0}
	}
	return nil
}
func (r rule) Keeps(i int, req *exchange.Request) bool {
	return !r.open && i == 0 && req.Package != "shared"
}
func (r rule) Second(i int, origin string) bool { return i == 0 && origin == "corpfiles" }

func indexOf(req *exchange.Request) *exchange.Request {
	if req.Package == "" || strings.HasPrefix(req.Target, "/index/") {
		if req.Package == "" {
			return nil
		}
		return req
	}
	return regarding("/index/"+req.Package, req.Package)
}

func regarding(path, name string) *exchange.Request {
	return &exchange.Request{Key: exchange.Key{Hub: "h", Path: path}, Target: path, Package: name, Header: http.Header{}}
}

func joined(dst io.Writer, _ *exchange.Request, parts []*exchange.Response) error {
	for _, p := range parts {
		text, err := io.ReadAll(p.Body)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "bad") {
			return errors.New("bad")
		}
		fmt.Fprintf(dst, "[%s]", text)
	}
	return nil
}

type shop struct {
	*Members
	corp, open, second *shelf
	cached             func(ctx context.Context, req *exchange.Request) (*exchange.Response, error)
}

func newShop(r rule) *shop {
	s := &shop{
		corp:   &shelf{base: "http://corp", has: map[string]string{}, tags: map[string]string{}},
		open:   &shelf{base: "http://open", has: map[string]string{}, tags: map[string]string{}},
		second: &shelf{base: "http://files", has: map[string]string{"/f": "file"}},
	}
	s.Members = NewMembers(MembersOptions{
		Members: []Member{
			{Name: "corp", Source: s.corp, Mirrors: []string{"http://corp"}},
			{Name: "open", Source: s.open, Mirrors: []string{"http://open", "http://open2"}},
		},
		Rules: r, Seconds: s.second, Index: indexOf, Merge: joined,
		Cached: exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			if s.cached != nil {
				return s.cached(ctx, req)
			}
			return s.Members.Get(ctx, req)
		}),
	})
	return s
}

func (s *shop) get(t *testing.T, req *exchange.Request) (int, string, *exchange.Response) {
	t.Helper()
	resp, err := s.Get(t.Context(), req)
	if err != nil {
		var stated *exchange.Error
		if errors.As(err, &stated) {
			return stated.Status, "", nil
		}
		require.ErrorIs(t, err, fs.ErrNotExist)
		return 404, "", nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.Entry.Size >= 0 && resp.Entry.Status == 200 && !req.Head {
		assert.Len(t, text, int(resp.Entry.Size))
	}
	return resp.Entry.Status, string(text), resp
}

func TestMembersOrder(t *testing.T) {
	for _, test := range []struct {
		name       string
		rule       rule
		corp, open string // what they have of /x; an "err" or a status, or "" for 404
		want       int
		text       string
		asked      bool // the open one was
	}{
		{name: "both", rule: rule{open: true}, corp: "c", open: "o", want: 200, text: "c"},
		{name: "the second", rule: rule{open: true}, open: "o", want: 200, text: "o", asked: true},
		{name: "neither", rule: rule{open: true}, want: 404, asked: true},
		{name: "the first fails", rule: rule{open: true}, corp: "err", open: "o", want: 200, text: "o", asked: true},
		{name: "the first fails, the second has it not", rule: rule{open: true}, corp: "err", want: 502, asked: true},
		{name: "the second fails", rule: rule{open: true}, open: "err", want: 502, asked: true},
		{name: "forbidden, and not had", rule: rule{open: true}, corp: "403", want: 403, asked: true},
		{name: "a private member fails", corp: "err", open: "o", want: 502},
		{name: "a private member forbids", corp: "403", open: "o", want: 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShop(test.rule)
			set := func(m *shelf, text string) {
				switch text {
				case "":
				case "err":
					m.err = &exchange.Error{Status: 502}
				case "403":
					m.code = 403
				default:
					m.has["/x"] = text
				}
			}
			set(s.corp, test.corp)
			set(s.open, test.open)
			status, text, _ := s.get(t, regarding("/x", ""))
			assert.Equal(t, test.want, status)
			if test.want == 200 {
				assert.Equal(t, test.text, text)
			}
			assert.Equal(t, test.asked, len(s.open.asked) > 0)
		})
	}
}

// TestMembersPrivate: B13. What is private goes nowhere else, by whatever way.
func TestMembersPrivate(t *testing.T) {
	s := newShop(rule{})
	for _, m := range []*shelf{s.open, s.second} {
		m.has["/file"], m.has["/index/acme-x"], m.has["/f"] = "evil", "evil", "evil"
	}
	only, member, second, own := regarding("/file", "acme-x"), regarding("/file", "acme-x"), regarding("/f", "acme-x"), regarding("/f", "acme-x")
	only.Only, member.Member, second.Origin, own.Origin = "http://open2", "open", "files", "corpfiles"
	for name, req := range map[string]*exchange.Request{
		"index": regarding("/index/acme-x", "acme-x"), "file": regarding("/file", "acme-x"),
		"one mirror": only, "one member": member, "second host": second,
	} {
		status, _, _ := s.get(t, req)
		assert.Equal(t, 404, status, name)
	}
	assert.Empty(t, s.open.asked)
	assert.Empty(t, s.second.asked)
	status, text, _ := s.get(t, own)
	assert.Equal(t, 200, status)
	assert.Equal(t, "evil", text, "its own second host is asked")

	s.corp.err = &exchange.Error{Status: 502}
	status, _, _ = s.get(t, regarding("/file", "acme-x"))
	assert.Equal(t, 502, status)
	assert.Empty(t, s.open.asked)

	e := func(mirror string) *exchange.Entry { return &exchange.Entry{Mirror: mirror} }
	assert.True(t, s.Strange(regarding("/file", "acme-x"), e("http://open")))
	assert.False(t, s.Strange(regarding("/file", "acme-x"), e("http://corp")))
	assert.False(t, s.Strange(regarding("/file", "x"), e("http://open")))
	assert.False(t, s.Strange(regarding("/file", "acme-x"), e("")), "an operator has put it there")
	named := regarding("/file", "acme-x")
	named.Digest = "sha256:ab"
	assert.False(t, s.Strange(named, e("http://open")), "the client says itself what it is")
}

// TestMembersKept: a package that a private member has is nobody else's, though no
// pattern says so.
func TestMembersKept(t *testing.T) {
	s := newShop(rule{})
	s.corp.has["/index/x"] = "1"
	s.open.has["/index/x"], s.open.has["/x-99"] = "99", "evil"
	status, text, _ := s.get(t, regarding("/index/x", "x"))
	assert.Equal(t, 200, status)
	assert.Equal(t, "1", text)
	status, _, _ = s.get(t, regarding("/x-99", "x"))
	assert.Equal(t, 404, status)
	only, second := regarding("/index/x", "x"), regarding("/f", "x")
	only.Only, second.Origin = "http://open", "files"
	status, _, _ = s.get(t, only)
	assert.Equal(t, 404, status)
	status, _, _ = s.get(t, second)
	assert.Equal(t, 404, status)
	assert.Empty(t, s.open.asked)
	assert.Empty(t, s.second.asked)

	// What the cache has is believed while the private member cannot be asked.
	s.corp.err = &exchange.Error{Status: 504}
	entry := &exchange.Entry{Status: 200, Mirror: "http://open", Header: http.Header{}}
	s.cached = func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{Entry: entry, Body: http.NoBody}, nil
	}
	status, text, _ = s.get(t, regarding("/x-99", "x"))
	assert.Equal(t, 200, status, "the open one had it, and the private one had not")
	assert.Equal(t, "evil", text)
	s.open.asked = nil
	entry.Mirror = "http://gone"
	status, _, _ = s.get(t, regarding("/x-99", "x"))
	assert.Equal(t, 504, status, "of an unknown mirror it says nothing")
	s.cached = func(context.Context, *exchange.Request) (*exchange.Response, error) { return nil, errors.New("no") }
	status, _, _ = s.get(t, regarding("/x-99", "x"))
	assert.Equal(t, 504, status)
	assert.Empty(t, s.open.asked)
	s.corp.err = nil
	status, _, _ = s.get(t, regarding("/y", "y"))
	assert.Equal(t, 404, status)
	assert.Equal(t, []string{"GET /y"}, s.open.questions(), "it is not kept")
}

func TestMembersMerge(t *testing.T) {
	s := newShop(rule{})
	s.corp.has["/index/shared"], s.open.has["/index/shared"] = "1", "2"
	status, text, resp := s.get(t, regarding("/index/shared", "shared"))
	assert.Equal(t, 200, status)
	assert.Equal(t, "[1][2]", text)
	assert.Empty(t, resp.Entry.Header.Get("Etag"), "it cannot be validated")
	assert.Equal(t, "http://corp", resp.Entry.Mirror)

	head := regarding("/index/shared", "shared")
	head.Head = true
	_, text, resp = s.get(t, head)
	assert.Empty(t, text)
	assert.EqualValues(t, 6, resp.Entry.Size)

	s.corp.tags["/index/shared"], s.open.tags["/index/shared"] = `"c1"`, `"o1"`
	_, _, resp = s.get(t, regarding("/index/shared", "shared"))
	stored := resp.Entry
	assert.True(t, strong(stored.Header.Get("Etag")))
	again := regarding("/index/shared", "shared")
	again.Validate = stored
	s.corp.asked, s.open.asked = nil, nil
	status, _, _ = s.get(t, again)
	assert.Equal(t, 304, status)
	assert.Equal(t, []string{"VALIDATE /index/shared"}, s.open.questions())

	s.open.has["/index/shared"], s.open.tags["/index/shared"] = "3", `"o2"`
	status, text, _ = s.get(t, again)
	assert.Equal(t, 200, status)
	assert.Equal(t, "[1][3]", text, "what has not changed is had again")

	delete(s.open.has, "/index/shared")
	status, text, resp = s.get(t, again)
	assert.Equal(t, 200, status)
	assert.Equal(t, "1", text, "one member's is as it came")
	again.Validate = resp.Entry
	status, _, _ = s.get(t, again)
	assert.Equal(t, 304, status)

	s.open.err = &exchange.Error{Status: 502}
	status, _, _ = s.get(t, again)
	assert.Equal(t, 502, status, "what is stored is better than a part")
	status, text, resp = s.get(t, regarding("/index/shared", "shared"))
	assert.Equal(t, 200, status)
	assert.Equal(t, "1", text)
	assert.True(t, resp.NoStore)
	s.open.err = nil

	s.open.has["/index/shared"] = "bad"
	status, _, _ = s.get(t, regarding("/index/shared", "shared"))
	assert.Equal(t, 502, status)
	s.Merge = func(io.Writer, *exchange.Request, []*exchange.Response) error { panic("at the disco") }
	status, _, _ = s.get(t, regarding("/index/shared", "shared"))
	assert.Equal(t, 502, status)

	status, _, _ = s.get(t, regarding("/index/none", "none"))
	assert.Equal(t, 404, status)
	s.corp.err = &exchange.Error{Status: 502}
	s.open.asked = nil
	status, _, _ = s.get(t, regarding("/index/none", "none"))
	assert.Equal(t, 502, status)
	assert.Empty(t, s.open.asked, "the private one may have it")
}

// TestMembersLarge: an index that is longer than what is made ahead streams.
func TestMembersLarge(t *testing.T) {
	s := newShop(rule{open: true})
	s.corp.has["/index/x"], s.open.has["/index/x"] = strings.Repeat("c", mergeAhead), "o"
	status, text, resp := s.get(t, regarding("/index/x", "x"))
	assert.Equal(t, 200, status)
	assert.EqualValues(t, -1, resp.Entry.Size)
	assert.Len(t, text, mergeAhead+len("[][o]"))
	resp, err := s.Get(t.Context(), regarding("/index/x", "x"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close(), "it ends when nobody reads")
}

// TestMembersValidate: validators are those of the member that sent them.
func TestMembersValidate(t *testing.T) {
	s := newShop(rule{open: true})
	s.open.has["/x"], s.open.tags["/x"] = "o", `"1"`
	req := regarding("/x", "")
	req.Validate = &exchange.Entry{Key: req.Key, Status: 200, Mirror: "http://open2", Header: http.Header{"Etag": {`"1"`}}}
	req.Resume = &exchange.Part{Entry: req.Validate}
	status, _, _ := s.get(t, req)
	assert.Equal(t, 304, status)
	assert.Equal(t, []string{"GET /x"}, s.corp.questions())
	assert.Equal(t, []string{"VALIDATE /x"}, s.open.questions())
}

// TestMembersUnnamed: what is about no package is kept by nobody.
func TestMembersUnnamed(t *testing.T) {
	s := newShop(rule{})
	s.corp.code, s.open.has["/search"] = 405, "found"
	post, search := regarding("/search", ""), regarding("/search", "")
	post.Post, search.Policy.Class = []byte("{}"), freshness.Passthrough
	for _, req := range []*exchange.Request{post, search} {
		status, text, _ := s.get(t, req)
		assert.Equal(t, 200, status)
		assert.Equal(t, "found", text)
	}
}

// TestMembersHoldNothing: a member that has not what is asked for is done with before
// the next one is asked.
func TestMembersHoldNothing(t *testing.T) {
	s := newShop(rule{})
	open := 0
	holding := func(m *shelf) exchange.Source {
		return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			assert.Zero(t, open, "while another one is asked")
			resp, err := m.Get(ctx, req)
			open++
			resp.Body = &counting{resp.Body, func() { open-- }}
			return resp, err
		})
	}
	s.Members.Members[0].Source, s.Members.Members[1].Source = holding(s.corp), holding(s.open)
	s.open.has["/index/x"], s.open.has["/x"] = "1", "1"
	for _, req := range []*exchange.Request{regarding("/index/x", "x"), regarding("/x", ""), regarding("/none", ""), regarding("/index/none", "none")} {
		s.get(t, req)
		assert.Zero(t, open)
	}
}

type counting struct {
	io.ReadCloser
	closed func()
}

func (c *counting) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

func FuzzMembersTag(f *testing.F) {
	f.Add(`"m1.W3sibSI6ImNvcnAiLCJ1IjoiYSIsImUiOiJcIjFcIiJ9LHsibSI6Im9wZW4iLCJ1IjoiYiIsImQiOiJ4In1d"`)
	f.Add(`W/"m1.W10"`)
	f.Add(`"v1"`)
	s := newShop(rule{})
	f.Fuzz(func(t *testing.T, tag string) {
		e := &exchange.Entry{Header: http.Header{"Etag": {tag}}, Mirror: "http://corp"}
		for i, part := range s.stored(e) {
			assert.Less(t, i, 2)
			assert.True(t, part.Mirror == "" || s.of(part.Mirror) == i)
		}
	})
}
