package hub

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// An Indexer is a Hub of packages by name. Its members, which have different
// content, are asked in order, and by the index it is known which of them have a
// package at all: what a private member has is nobody else's.
//
// A hub that is no Indexer needs nothing for its members to be asked in order; its
// private names are paths.
type Indexer interface {
	// Index is the request for the index of the package that req is about: what says
	// whether a member has it, and which versions. It is made like one of Parse, and
	// is for req.Client. Of a request for an index itself it has that one's Key.
	// nil: req is about no package.
	Index(req *exchange.Request) *exchange.Request
}

// A Merger is an Indexer whose indexes of several members can be made one.
type Merger interface {
	Indexer

	// Merge writes the one index made of parts, which are what members have under
	// req: two of them or more, each a 200, in the members' order. Of what two have,
	// a version or a file, the first one's counts. The text must be one that Rewrite
	// reads like a mirror's own; relative links in a part are of that part's Entry,
	// and so must be made absolute. Equal parts make equal bytes. An error says that
	// a part is not what it should be.
	Merge(dst io.Writer, req *exchange.Request, parts []Part) error
}

// A Part is what a member has of an index.
type Part struct {
	Entry *exchange.Entry
	Body  io.Reader // unpacked; Merge bounds what it holds of it
}

// maxMerged is how long an index may be that is merged, in bytes: a Merge may hold all
// of its parts.
const maxMerged = 64 << 20

// Merged is m's Merge of responses as they come, packed or not, of at most 64 MiB. It
// closes none.
func Merged(m Merger) func(dst io.Writer, req *exchange.Request, parts []*exchange.Response) error {
	return func(dst io.Writer, req *exchange.Request, parts []*exchange.Response) error {
		plain := make([]Part, len(parts))
		for i, p := range parts {
			r, err := Unpack(p.Body)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Entry.Mirror, err)
			}
			defer r.Close()
			plain[i] = Part{p.Entry, &mergeable{r, maxMerged}}
		}
		return m.Merge(dst, req, plain)
	}
}

// mergeable is a part up to a length.
type mergeable struct {
	r    io.Reader
	left int64
}

func (m *mergeable) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, fmt.Errorf("an index of more than %d bytes cannot be merged", maxMerged)
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// A Member is what is said of one member of a hub: of some upstreams that are
// mirrors of each other, and have other content than the rest.
//
// Patterns are of names, or of prefixes of names that end at a slash, as in
// GOPRIVATE: acme-*, @acme, corp.example.org/*. They are matched against the name
// of the package that a request is about, in the hub's own spelling, and against
// the request's path below the mount.
type Member struct {
	Name string

	// Private names are this member's: no other is asked about them, whatever it
	// answers. A member that has some is private itself: any package that it has is
	// nobody else's, unless its name is Shared.
	Private []string
	Shared  []string // names that it has some versions of, and other members others

	// Second hosts, by alias, that are this member's; the others are not asked for
	// what is private to it.
	Second []string
}

// Members are the members of a hub, in the order in which they are asked. A nil
// *Members is that of a hub without: nothing is private. It is immutable.
type Members struct {
	list  []member
	spell func(name string) string
}

type member struct {
	Member
	private, shared patterns
}

// NewMembers knows the members of a hub. spell is the one spelling of a name, or of
// a pattern of names, that the hub has; nil: there is but one.
func NewMembers(list []Member, spell func(name string) string) (*Members, error) {
	if spell == nil {
		spell = func(name string) string { return name }
	}
	m := &Members{spell: spell}
	for _, l := range list {
		private, err := newPatterns(l.Private, spell)
		if err != nil {
			return nil, fmt.Errorf("member %s: %w", l.Name, err)
		}
		shared, err := newPatterns(l.Shared, spell)
		if err != nil {
			return nil, fmt.Errorf("member %s: %w", l.Name, err)
		}
		m.list = append(m.list, member{l, private, shared})
	}
	return m, nil
}

// Names are those of the members, in order; nil if the hub has none.
func (m *Members) Names() []string {
	if m == nil {
		return nil
	}
	names := make([]string, len(m.list))
	for i := range m.list {
		names[i] = m.list[i].Name
	}
	return names
}

// Owners are the indexes of the members that what req asks for is private to;
// none: it is private to nobody.
func (m *Members) Owners(req *exchange.Request) (owners []int) {
	if m == nil {
		return nil
	}
	for i := range m.list {
		if p := m.list[i].private; p != nil && m.matches(p, req) {
			owners = append(owners, i)
		}
	}
	return owners
}

// Owned says whether a name, in any spelling, is private to some member. It is for
// names that a request carries elsewhere than in its path: a search, a list.
func (m *Members) Owned(name string) bool {
	if m == nil {
		return false
	}
	return slices.ContainsFunc(m.list, func(l member) bool { return l.private.match(m.spell(name)) || l.private.match(name) })
}

// Private says whether any member is private.
func (m *Members) Private() bool {
	return m != nil && slices.ContainsFunc(m.list, func(l member) bool { return l.private != nil })
}

// Keeps says whether a package that member i has is its alone: it is private, and
// the package's name is none of those that it shares.
func (m *Members) Keeps(i int, req *exchange.Request) bool {
	l := &m.list[i]
	return l.private != nil && !m.matches(l.shared, req)
}

// Second says whether the second host with that alias is member i's.
func (m *Members) Second(i int, alias string) bool {
	return slices.Contains(m.list[i].Second, alias)
}

func (m *Members) matches(p patterns, req *exchange.Request) bool {
	if len(p) == 0 {
		return false
	}
	if req.Package != "" && p.match(m.spell(req.Package)) {
		return true
	}
	below, _, _ := strings.Cut(req.Key.Path, "?")
	return p.match(strings.TrimPrefix(below, "/"))
}

// patterns of names, or of prefixes of names that end at a slash. nil: none.
type patterns []string

// newPatterns are list in its own spelling and in the hub's.
func newPatterns(list []string, spell func(string) string) (patterns, error) {
	var p patterns
	for _, own := range list {
		for _, pattern := range [...]string{own, spell(own)} {
			pattern = strings.Trim(pattern, "/")
			if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
				return nil, fmt.Errorf("%q is no pattern of names such as acme-* or @acme", own)
			}
			if !slices.Contains(p, pattern) {
				p = append(p, pattern)
			}
		}
	}
	return p, nil
}

// match says whether a pattern matches name, or as many of its first segments as
// the pattern has.
func (p patterns) match(name string) bool {
	for _, pattern := range p {
		prefix, segments := name, strings.Count(pattern, "/")
		for i := range len(name) {
			if name[i] != '/' {
				continue
			}
			if segments == 0 {
				prefix = name[:i]
				break
			}
			segments--
		}
		if ok, _ := path.Match(pattern, prefix); ok {
			return true
		}
	}
	return false
}
