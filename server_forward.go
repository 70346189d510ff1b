package cacheproxy

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/welcome"
)

// forward is what a proxy for whole URLs knows: which of them are below a mirror,
// and what CONNECT may reach. It does not change. Nothing is ever fetched because
// a client names it: a URL only selects a hub, which asks its own mirrors.
type forward struct {
	mirrors []mirrored // the longest base first
	public  string     // host of public-url, as authority says it; "" if there is none
	tunnel  http.Handler
}

// mirrored is a mirror as clients may name it.
type mirrored struct {
	authority string // of its base, as authority says it
	base      string // path of its base, escaped, without a slash at its end
	hub       *Hub
	path      Path
}

// forwarding makes the proxy of a configuration; nil: it is none.
func (s *Server) forwarding(cfg *Config) *forward {
	if !cfg.Forward.Enabled {
		return nil
	}
	f := &forward{tunnel: s.tunnel(cfg)}
	if cfg.PublicURL.IsSet() {
		f.public = authority(cfg.PublicURL.URL)
	}
	for _, h := range cfg.Served() {
		for i := range h.Upstream {
			u := &h.Upstream[i]
			f.mirrors = append(f.mirrors, mirrored{authority(u.Server.URL), strings.TrimRight(u.Server.EscapedPath(), "/"), &h, u.Path})
		}
	}
	slices.SortStableFunc(f.mirrors, func(a, b mirrored) int { return cmp.Compare(len(b.base), len(a.base)) })
	return f
}

// hosts are those of URLs that are answered, without ports that need not be said.
func (f *forward) hosts() []string {
	var all []string
	for _, m := range f.mirrors {
		all = append(all, m.authority)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// authority is host and port of a URL, in lower case; neither the port of http nor
// that of https is said, since mirrors have the same by both.
func authority(u *url.URL) string {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if port := u.Port(); port != "" && port != "80" && port != "443" {
		return net.JoinHostPort(host, port)
	}
	return host
}

// acngPath begins a path that means an https URL, and acngHost is the host of a URL
// that a client of a proxy writes so, as for apt-cacher-ng.
const (
	acngPath = "/HTTPS///"
	acngHost = "https"
)

// match fills the record of a request that is meant for another host; false if it
// is for this one alone. find is what finds out about those.
func (f *forward) match(r *http.Request, rec *handlerctx.Record, find func(*http.Request, *handlerctx.Record)) bool {
	if r.Method == http.MethodConnect {
		rec.Handler = f.tunnel
		return true
	}
	whole := r.URL
	switch {
	case whole.Host != "" && whole.Scheme != "":
		if strings.EqualFold(whole.Host, acngHost) && strings.HasPrefix(whole.EscapedPath(), "///") {
			whole = unsecured(whole.EscapedPath()[len("///"):], whole.RawQuery)
		}
	case strings.HasPrefix(r.URL.EscapedPath(), acngPath):
		whole = unsecured(r.URL.EscapedPath()[len(acngPath):], r.URL.RawQuery)
	default:
		return false
	}
	target := f.target(whole, r)
	in, err := url.ParseRequestURI(target)
	if target == "" || err != nil {
		rec.Handler, rec.Error = http.HandlerFunc(refuseForward), "forward_refused"
		return true
	}
	inner := *r
	inner.URL, inner.RequestURI, inner.Host = in, target, own(r)
	if r.URL.Host == "" { // then the client knows what this is called
		inner.Host = r.Host
	}
	inner.Header = r.Header.Clone()
	inner.Header.Del("Proxy-Authorization")
	inner.Header.Del("Proxy-Connection")
	find(&inner, rec)
	to, u := rec.Handler, rec.URL
	rec.URL = r.URL // it stays; what the handler sees is inner
	rec.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := *r
		seen.URL, seen.RequestURI, seen.Host, seen.Header = u, inner.RequestURI, inner.Host, inner.Header
		to.ServeHTTP(w, &seen)
	})
	return true
}

// unsecured is the https URL of "host/path"; one of no host if it is none.
func unsecured(rest, query string) *url.URL {
	u, err := url.Parse("https://" + rest)
	if err != nil || u.User != nil {
		return &url.URL{}
	}
	u.RawQuery = query
	return u
}

// target is path and query of a whole URL below this proxy; "" if it has none.
func (f *forward) target(whole *url.URL, r *http.Request) string {
	query := ""
	if whole.RawQuery != "" || whole.ForceQuery {
		query = "?" + whole.RawQuery
	}
	host, path := authority(whole), whole.EscapedPath()
	if whole.Host == "" || whole.User != nil {
		return ""
	}
	for _, m := range f.mirrors {
		if m.authority != host {
			continue
		}
		rest, ok := strings.CutPrefix(path, m.base)
		if !ok || rest == "" || rest[0] != '/' {
			continue
		}
		if below, ok := m.path.inverse(rest); ok {
			mount := (&url.URL{Path: strings.TrimRight(m.hub.Path, "/")}).EscapedPath()
			return mount + below + query
		}
	}
	// Its own address, in the form that a client with this as its proxy uses.
	if path != "" && (f.public != "" && host == f.public || whole.Host == own(r)) {
		return path + query
	}
	return ""
}

// inverse is the path of a hub for which a mirror is asked the path rest.
func (p *Path) inverse(rest string) (string, bool) {
	if !p.Match.IsSet() || p.Replace == "" {
		return rest, true
	}
	candidates := []string{rest}
	for _, tree := range welcome.Trees(p.Match.String()) {
		candidates = append(candidates, "/"+tree+rest)
	}
	for _, c := range candidates {
		if p.Match.MatchString(c) && p.Match.ReplaceAllString(c, p.Replace) == rest {
			return c, true
		}
	}
	return "", false
}

// own is the address that a client has connected to, which links may lead to.
func own(r *http.Request) string {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return "localhost"
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil { // a unix socket
		return "localhost"
	}
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()).String()
}

func refuseForward(w http.ResponseWriter, r *http.Request) {
	ownText(w, r, http.StatusForbidden, "this proxy forwards only what is below one of its own mirrors, and that is not: ask for it directly\n")
}
