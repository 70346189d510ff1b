package edge

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// maxHops is how many members of a forwarding field are looked at, from its end.
const maxHops = 32

// A forward is what proxies in front say of a request.
type forward struct {
	addr        netip.Addr // of the client; invalid if they do not say
	proto, host string     // that the client used; "" if they do not say
}

// forwarded is what the fields of r say that trusted proxies have set, if r came
// from one. It is linear in the fields, whose size net/http bounds.
//
// A proxy that knows one kind of fields lets the other pass as the client sent
// it. So where both kinds are there, only what both say is believed.
func (e *edge) forwarded(r *http.Request) forward {
	if len(e.TrustedProxies) == 0 || !trusts(e.TrustedProxies, r) {
		return forward{}
	}
	standard := r.Header["Forwarded"]
	common := r.Header["X-Forwarded-For"] != nil || r.Header["X-Forwarded-Host"] != nil || r.Header["X-Forwarded-Proto"] != nil
	switch {
	case standard == nil && !common:
		return forward{}
	case standard == nil:
		return e.xForwarded(r.Header)
	case !common:
		return e.rfc7239(standard)
	}
	a, b := e.xForwarded(r.Header), e.rfc7239(standard)
	if a.addr != b.addr {
		a.addr = netip.Addr{}
	}
	if a.proto != b.proto {
		a.proto = ""
	}
	if a.host != b.host {
		a.host = ""
	}
	return a
}

// xForwarded reads X-Forwarded-For, -Host and -Proto. What stands last in a
// field is of the proxy that we talk to; X-Forwarded-For is followed back to
// the first address that is no trusted proxy.
func (e *edge) xForwarded(h http.Header) (f forward) {
	for member := range backwards(h["X-Forwarded-For"]) {
		addr, ok := node(member)
		if !ok {
			break
		}
		if f.addr = addr; !contain(e.TrustedProxies, addr) {
			break
		}
	}
	for member := range backwards(h["X-Forwarded-Host"]) {
		f.host = hostOf(member)
		break
	}
	for member := range backwards(h["X-Forwarded-Proto"]) {
		f.proto = protoOf(member)
		break
	}
	return f
}

// rfc7239 reads Forwarded: the element of the first trusted proxy on the way,
// which is the one that names a node that is none.
func (e *edge) rfc7239(lines []string) (f forward) {
	for element := range backwards(lines) {
		f.host, f.proto = "", ""
		known := false
		for pair := range strings.SplitSeq(element, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(name) {
			case "for":
				var addr netip.Addr
				if addr, known = node(value); known {
					f.addr = addr
				}
			case "host":
				f.host = hostOf(value)
			case "proto":
				f.proto = protoOf(value)
			}
		}
		if !known || !contain(e.TrustedProxies, f.addr) {
			break
		}
	}
	return f
}

// backwards yields the members of a list field, last first.
func backwards(lines []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		left := maxHops
		for i := len(lines) - 1; i >= 0; i-- {
			for rest, more := lines[i], true; more; left-- {
				member := rest
				if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
					rest, member = rest[:comma], rest[comma+1:]
				} else {
					more = false
				}
				if left == 0 || !yield(strings.TrimSpace(member)) {
					return
				}
			}
		}
	}
}

// node is the address of a node: 192.0.2.1, 192.0.2.1:80, [2001:db8::1]:80.
func node(s string) (netip.Addr, bool) {
	if len(s) > 64 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		port, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = port.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// hostOf is s if it may stand in a link, else "".
func hostOf(s string) string {
	if !validHost(s) {
		return ""
	}
	return s
}

// protoOf is s if it is a scheme of ours, else "".
func protoOf(s string) string {
	switch s = strings.ToLower(s); s {
	case "http", "https":
		return s
	}
	return ""
}

// base is the public URL of the mount as r's client spells it; f is what
// proxies in front say of that.
func (e *edge) base(r *http.Request, f forward) string {
	if e.Base != "" {
		return e.Base
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if f.proto != "" {
		scheme = f.proto
	}
	if f.host != "" {
		host = f.host
	}
	if last := e.last.Load(); last != nil && last.scheme == scheme && last.host == host {
		return last.url
	}
	made := &baseURL{scheme, host, scheme + "://" + host + e.Mount}
	e.last.Store(made)
	return made.url
}

// A baseURL is the base that was made last: most clients use the same.
type baseURL struct{ scheme, host, url string }

// trusts says whether the peer of r's connection is in prefixes, or a process of
// this machine that came by a unix socket.
func trusts(prefixes []netip.Prefix, r *http.Request) bool {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	return contain(prefixes, peer(r))
}

func contain(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
