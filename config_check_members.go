package cacheproxy

import (
	"fmt"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// members checks what the upstreams of h say of its members; at is "" for the
// default hub.
func (d *decoder) members(at string, h *Hub) {
	parts, of := partsOf(h.Upstream), map[string]string{}
	for i := range h.Upstream {
		u, at := &h.Upstream[i], strings.TrimPrefix(fmt.Sprintf("%s.upstream[%d]", at, i), ".")
		switch {
		case u.Member == "" && len(parts) > 1:
			d.reject(at+".member", "required: other upstreams of the hub name theirs")
		case u.Member == "":
		case !isName(u.Member):
			d.reject(at+".member", "%q is no name: at most 64 of a-z 0-9 . _ -, a letter or digit first", u.Member)
		case h.Type == HubHTTP:
			d.reject(at+".member", "hubs of type http have one origin, which may have mirrors")
		}
		if u.Server.IsSet() {
			server := u.Server.String()
			if other, taken := of[server]; taken && other != u.Member {
				d.reject(at+".server", "%s is of member %s already", server, other)
			}
			of[server] = u.Member
		}
		d.names(at+".private", u.Private, len(parts))
		d.names(at+".shared", u.Shared, len(parts))
		if len(u.Private) > 0 && h.Rollout == RolloutDual {
			d.reject(at+".private", "not with rollout: dual, which asks for what type cannot read as for a plain file")
		}
		if len(u.Shared) > 0 && !slices.ContainsFunc(h.Upstream, func(o Upstream) bool { return o.Member == u.Member && len(o.Private) > 0 }) {
			d.reject(at+".shared", "without private, nothing is the member's alone")
		}
		for n, alias := range u.SecondHosts {
			_, file := h.Options.Files[alias]
			db := slices.ContainsFunc(h.Options.Sumdb, func(s Sumdb) bool { return s.Name == alias })
			if !file && !db {
				d.reject(fmt.Sprintf("%s.second-hosts[%d]", at, n), "%q is neither an alias of options.files nor a name of options.sumdb", alias)
			}
		}
		if len(u.SecondHosts) > 0 && len(parts) < 2 {
			d.reject(at+".second-hosts", "of use only where upstreams name different members")
		}
	}
}

// names checks patterns of names.
func (d *decoder) names(at string, patterns []string, members int) {
	if len(patterns) > 0 && members < 2 {
		d.reject(at, "of use only where upstreams name different members; a filter of kind AllowDeny keeps names from all upstreams")
		return
	}
	for n, p := range patterns {
		if _, err := hub.NewMembers([]hub.Member{{Private: []string{p}}}, nil); err != nil {
			d.reject(fmt.Sprintf("%s[%d]", at, n), "%q is no pattern of names such as acme-* or @acme", p)
		}
	}
}
