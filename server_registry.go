package cacheproxy

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/oci"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
)

// HubOCI is the type of container registries.
const HubOCI HubType = "oci"

// registries find the hub of a registry's request that neither Host nor mount
// decide, since clients know one /v2/ a host: by the registry that ?ns= names,
// as containerd says it; by a hub's name before that of the image, as a mirror
// with a path has it; or it is the hub that the configuration makes the default.
//
// A registry that ?ns= names and no hub has is refused, even where one hub is the
// default: an image of the same name elsewhere is another image. Nothing that a
// client names is ever asked; it only chooses among hubs.
type registries struct {
	spaces   map[string]*target // by options.ns
	implied  map[string]*target // by the hub's own hosts and upstreams; nil for those of several hubs, which decide nothing
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
		t.spaces, t.implied, t.names, t.first = map[string]*target{}, map[string]*target{}, map[string]*target{}, to
	}
	t.names[h.Name] = to
	for _, ns := range h.Options.NS {
		t.spaces[ns] = to
	}
	for _, ns := range impliedSpaces(h) {
		if other, taken := t.implied[ns]; taken && other != to {
			t.implied[ns] = nil
		} else {
			t.implied[ns] = to
		}
	}
	if h.Options.Default {
		t.standard, t.first = to, to
	}
}

// impliedSpaces are the registries that h has without options.ns: those which its
// hosts and upstreams are themselves. An upstream below a path, or with paths
// mapped, is a mirror of another registry, whose name it does not tell.
func impliedSpaces(h *Hub) []string {
	all := slices.Clone(h.Hosts)
	for i := range h.Upstream {
		u := &h.Upstream[i]
		if !u.Server.IsSet() || strings.Trim(u.Server.URL.Path, "/") != "" || u.Path.Match.Regexp != nil {
			continue
		}
		port := map[string]string{"http": ":80", "https": ":443"}[u.Server.URL.Scheme]
		host := strings.TrimSuffix(strings.ToLower(u.Server.URL.Host), port)
		all = append(all, host)
		if u.Server.URL.Port() == "" || strings.HasSuffix(u.Server.URL.Host, port) {
			all = append(all, host+port)
		}
	}
	return all
}

// space is the hub of a registry that a client names; nil if there is none.
func (t *registries) space(ns string) *target {
	if to := t.spaces[ns]; to != nil {
		return to
	}
	return t.implied[ns]
}

// spaceOf is the registry that r names beside the one it is sent to; "" if none.
func spaceOf(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return ""
	}
	ns := strings.ToLower(r.URL.Query().Get("ns"))
	if ns == strings.ToLower(r.Host) {
		return ""
	}
	return ns
}

// find is the hub that answers r, and the URL as it sees it; ok says that r is
// for a registry. With to nil it is for one that no hub has.
func (t *registries) find(r *http.Request) (to *target, u *url.URL, ok bool) {
	if t.first == nil {
		return nil, nil, false
	}
	path, escaped := r.URL.Path, r.URL.RawPath != ""
	if escaped {
		path = r.URL.RawPath
	}
	image, ok := below(path, escaped, []string{"v2"})
	if !ok {
		return nil, nil, false
	}
	name, rest, ok := nextSegment(image, escaped)
	if !ok {
		return t.first, withoutNS(r.URL), true
	}
	ns := spaceOf(r)
	switch meant, named := t.space(ns), t.names[name]; {
	case meant != nil && meant != named:
		return meant, withoutNS(r.URL), true
	case named != nil && rest != "":
		return named, withoutNS(stripped(r.URL, "/v2"+rest, escaped)), true
	case ns == "" && t.standard != nil:
		return t.standard, withoutNS(r.URL), true
	case rest == "": // no image, but a page such as /v2/_catalog, of which any hub says what it thinks
		return t.first, withoutNS(r.URL), true
	}
	return nil, r.URL, true
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

// registryUnmapped is what the log says of a request for a registry that no hub has.
const registryUnmapped = "registry_unmapped"

// refusing answers what is for a registry that no hub has, as an edge with these
// options.
func refusing(options edge.Options) http.Handler {
	options.Hub, options.Source, options.Poster, options.Refuser = foreign{}, unmapped(registryUnmapped), nil, nil
	edge := edge.New(options)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlerctx.From(r.Context()).Error = registryUnmapped
		edge.ServeHTTP(w, r)
	})
}

// foreign is the hub of registries that are none's.
type foreign struct{}

func (foreign) Parse(r *http.Request) (*exchange.Request, error) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	text := fmt.Sprintf("no hub of this proxy is named as the first part of %.200q, and none is the default registry", path)
	if ns := spaceOf(r); ns != "" {
		text = fmt.Sprintf("no hub of this proxy is the registry %.200q; options.ns would say which is", ns)
	}
	return nil, &exchange.Error{Status: http.StatusNotFound, Message: text}
}

func (foreign) Rewrite(next exchange.Source) exchange.Source { return next }

// Refusal is that of registries.
func (foreign) Refusal(status int, message string) (contentType string, body []byte) {
	return oci.Refusal(status, message)
}
