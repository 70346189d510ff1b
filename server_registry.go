package cacheproxy

import (
	"net/http"
	"net/url"
	"strings"
)

// HubOCI is the type of container registries.
const HubOCI HubType = "oci"

// registries find the hub of a registry's request that neither Host nor mount
// decide, since clients know one /v2/ a host: by the registry that ?ns= names,
// as containerd says it; by a hub's name before that of the image, as a mirror
// with a path has it; or it is the hub that the configuration makes the default.
type registries struct {
	spaces   map[string]*target // by options.ns
	names    map[string]*target
	standard *target // options.default
	first    *target // answers /v2/ itself, which asks no more than whether there is a registry
}

func (t *registries) add(to *target) {
	h := to.mounted.config
	if h.Module() != HubOCI {
		return
	}
	if t.names == nil {
		t.spaces, t.names, t.first = map[string]*target{}, map[string]*target{}, to
	}
	t.names[h.Name] = to
	for _, ns := range h.Options.NS {
		t.spaces[ns] = to
	}
	if h.Options.Default {
		t.standard, t.first = to, to
	}
}

// find is the hub that answers r, and the URL as it sees it; nil if r is for no registry.
func (t *registries) find(r *http.Request) (to *target, u *url.URL) {
	if t.first == nil {
		return nil, nil
	}
	path, escaped := r.URL.Path, r.URL.RawPath != ""
	if escaped {
		path = r.URL.RawPath
	}
	image, ok := below(path, escaped, []string{"v2"})
	if !ok {
		return nil, nil
	}
	name, rest, ok := nextSegment(image, escaped)
	if !ok {
		return t.first, withoutNS(r.URL)
	}
	ns := strings.ToLower(r.URL.Query().Get("ns"))
	switch named := t.names[name]; {
	case t.spaces[ns] != nil && t.spaces[ns] != named:
		return t.spaces[ns], withoutNS(r.URL)
	case named != nil && rest != "":
		return named, withoutNS(stripped(r.URL, "/v2"+rest, escaped))
	case ns == "" && t.standard != nil:
		return t.standard, r.URL
	}
	return t.first, withoutNS(stripped(r.URL, "/v2/"+name, false)) // of which any registry says that there is no such thing
}

// withoutNS is u without the parameter ns, which is for us.
func withoutNS(u *url.URL) *url.URL {
	var kept []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		if pair != "ns" && !strings.HasPrefix(pair, "ns=") && pair != "" {
			kept = append(kept, pair)
		}
	}
	if query := strings.Join(kept, "&"); query != u.RawQuery {
		c := *u
		c.RawQuery = query
		return &c
	}
	return u
}
