package cacheproxy

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/cargo"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/maven"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/pypi"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// spellings are what types of hubs make of the spellings of a name, or of a
// pattern of names; the others have one.
var spellings = map[HubType]func(string) string{
	"cargo": cargo.Spell,
	"maven": maven.Spell,
	"pypi":  pypi.Spell,

	// Letter case does not count, or is a mistake: a name that nobody could have may
	// still tell one that somebody has.
	"composer":  strings.ToLower,
	"conda":     strings.ToLower,
	"cran":      strings.ToLower,
	"helm":      strings.ToLower,
	"hex":       strings.ToLower,
	"nuget":     strings.ToLower,
	"pub":       strings.ToLower,
	"rubygems":  strings.ToLower,
	"terraform": strings.ToLower,
}

// A part is upstreams of one hub with the same content.
type part struct {
	member   string // "": the hub has one content
	upstream []int  // of the hub's
}

// partsOf are the members in the order of their first upstreams; one at least.
func partsOf(all []Upstream) []part {
	var parts []part
	known := map[string]int{}
	for i := range all {
		name := all[i].Member
		n, ok := known[name]
		if !ok {
			n = len(parts)
			known[name], parts = n, append(parts, part{member: name})
		}
		parts[n].upstream = append(parts[n].upstream, i)
	}
	if parts == nil {
		return []part{{}}
	}
	return parts
}

// memberOrigin is before the name of a member where lines and the league name it;
// no second host's alias begins so.
const memberOrigin = "+"

// origin is the part's line among those of the hub.
func (p *part) origin() string {
	if p.member == "" {
		return ""
	}
	return memberOrigin + p.member
}

// isMember says whether a line is of a hub's mirrors.
func isMember(origin string) bool { return origin == "" || strings.HasPrefix(origin, memberOrigin) }

// Members are the members of the hub, in the order in which they are asked; nil:
// all of its upstreams have the same content.
func (h *Hub) Members() []hub.Member {
	parts := partsOf(h.Upstream)
	if len(parts) < 2 {
		return nil
	}
	list := make([]hub.Member, len(parts))
	for n, p := range parts {
		list[n].Name = p.member
		for _, i := range p.upstream {
			u := &h.Upstream[i]
			list[n].Private = append(list[n].Private, u.Private...)
			list[n].Shared = append(list[n].Shared, u.Shared...)
			list[n].Second = append(list[n].Second, u.SecondHosts...)
		}
	}
	return list
}

// newMembers are the rules of a hub's members; nil: it has one.
func newMembers(c *Hub) (*hub.Members, error) {
	list := c.Members()
	if list == nil {
		return nil, nil
	}
	return hub.NewMembers(list, spellings[c.Module()])
}

// join makes m's lines its members. cached is the cache before them.
func (m *mounted) join(rules *hub.Members, cached exchange.Source, log *slog.Logger) {
	o := upstream.MembersOptions{Rules: rules, Seconds: m.seconds(), Cached: cached, Log: log}
	for n, p := range m.parts {
		l := m.lines[n]
		member := upstream.Member{Name: p.member, Source: l, Mirrors: l.group.Mirrors()}
		for _, second := range m.lines[len(m.parts):] {
			if rules.Second(n, second.origin) {
				member.Seconds = append(member.Seconds, second.group.Mirrors()...)
			}
		}
		o.Members = append(o.Members, member)
	}
	if i, ok := m.module.(hub.Indexer); ok {
		o.Index = i.Index
	}
	if merger, ok := m.module.(hub.Merger); ok {
		o.Merge = hub.Merged(merger)
	}
	m.members = upstream.NewMembers(o)
}

// saw tells the group of a mirror how old an index of its is.
func (m *mounted) saw(path, mirror string, published time.Time) {
	for _, l := range m.lines[:len(m.parts)] {
		l.group.Saw(path, mirror, published)
	}
}

// wrap is the cache before m. What it has of a name that has become private since,
// from where nobody would ask any more, it forgets.
func (s *Server) wrap(m *mounted) exchange.Filter {
	return func(next exchange.Source) exchange.Source {
		cached := s.cache.Wrap(next)
		if !m.hasPrivate() {
			return cached
		}
		return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			for range 2 {
				resp, err := cached.Get(ctx, req)
				if err != nil || m.members == nil || !m.members.Strange(req, resp.Entry) {
					return resp, err
				}
				resp.Body.Close()
				if err := s.cache.Purge(ctx, req.Key); err != nil {
					return nil, err
				}
			}
			return nil, &exchange.Error{Status: http.StatusServiceUnavailable, Message: "what is stored is not the private member's", RetryAfter: time.Second}
		})
	}
}

func (m *mounted) hasPrivate() bool {
	for i := range m.config.Upstream {
		if len(m.config.Upstream[i].Private) > 0 {
			return true
		}
	}
	return false
}
