package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/http1"
)

// A guard keeps redirects from reaching addresses that are not public. It looks
// at the address that is dialled, after name resolution, so that neither a name
// that resolves inwards nor one that changes its mind gets through.
type guard struct {
	servers map[string]bool // "host:port" of what is configured: trusted
	allowed Allowed
	free    net.Dialer
	public  net.Dialer // refuses in ControlContext
}

func newGuard(o *Options) *guard {
	g := &guard{servers: make(map[string]bool), allowed: o.Allowed}
	for _, m := range o.Mirrors {
		for _, u := range []*url.URL{m.Server, m.Proxy} {
			if u != nil && !(m.Learned && u == m.Server) {
				g.servers[hostPort(u)] = true
			}
		}
	}
	g.free.Timeout = o.Limits.Dial
	g.public = g.free
	g.public.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !g.admits(a.Addr()) {
			return &policyError{"redirect to " + address + ", which is not public"}
		}
		return nil
	}
	return g
}

// dial connects to a "host:port".
func (g *guard) dial(ctx context.Context, network, target string) (net.Conn, error) {
	if r := routeOf(ctx); r.proxy != nil || r.trusted || g.trusts(target) {
		return g.free.DialContext(ctx, network, target)
	}
	return g.public.DialContext(ctx, network, target)
}

// trusts reports whether a "host:port" may have any address.
func (g *guard) trusts(target string) bool {
	target = strings.ToLower(target)
	if g.servers[target] {
		return true
	}
	host, _, _ := net.SplitHostPort(target)
	return slices.ContainsFunc(g.allowed.Hosts, func(suffix string) bool {
		suffix = strings.ToLower(strings.Trim(suffix, "."))
		return suffix != "" && (host == suffix || strings.HasSuffix(host, "."+suffix))
	})
}

// admits reports whether an address may be dialled.
func (g *guard) admits(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return isPublic(a) || slices.ContainsFunc(g.allowed.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// special are the IPv4 blocks that are not public (RFC 6890 and its registry),
// beyond those that netip knows.
var special = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared by carriers (RFC 6598)
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

var (
	global6   = netip.MustParsePrefix("2000::/3")  // all that IANA gave out (RFC 4291 §2.4)
	teredo    = netip.MustParsePrefix("2001::/23") // and other protocol assignments
	document  = netip.MustParsePrefix("2001:db8::/32")
	sixToFour = netip.MustParsePrefix("2002::/16")
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // embeds an IPv4 address (RFC 6052)
)

// isPublic reports whether an address is one of the public Internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	if a.Is4() {
		return !slices.ContainsFunc(special[:], func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if nat64.Contains(a) {
		b := a.As16()
		return isPublic(netip.AddrFrom4([4]byte(b[12:])))
	}
	return global6.Contains(a) && !teredo.Contains(a) && !document.Contains(a) && !sixToFour.Contains(a)
}

// hostPort is the "host:port" that a URL dials, in lower case.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		switch u.Scheme {
		case "https":
			port = "443"
		case "socks5", "socks5h":
			port = "1080"
		default:
			port = "80"
		}
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// connect makes the mirror's transports.
func (m *mirror) connect() error {
	own, away := &tls.Config{MinVersion: tls.VersionTLS12}, &tls.Config{MinVersion: tls.VersionTLS12}
	if len(m.CA) > 0 {
		own.RootCAs = x509.NewCertPool()
		if !own.RootCAs.AppendCertsFromPEM(m.CA) {
			return errors.New("ca: no certificate in it")
		}
		var err error
		if away.RootCAs, err = x509.SystemCertPool(); err != nil {
			away.RootCAs = x509.NewCertPool()
		}
		away.RootCAs.AppendCertsFromPEM(m.CA)
	}
	if m.Certificate != nil {
		own.Certificates = []tls.Certificate{*m.Certificate}
	}
	if p := m.Proxy; p != nil {
		switch p.Scheme {
		case "http", "https", "socks5", "socks5h":
		default:
			return fmt.Errorf("proxy %s: want http, https or socks5", p.Redacted())
		}
	}
	m.away = m.transport(away, away)
	r := m.reach()
	if !m.Learned {
		m.pool = m.options.Before.pool(r)
	}
	if m.pool == nil {
		m.dialer = m.dial
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) { return m.dialer(ctx, network, addr) }
		m.pool = newPool(r, http1.New(m.Server, m.transport(own, away), dial))
	}
	m.own = m.pool.client
	m.home = m.own
	if m.Wrap != nil {
		m.home = m.Wrap(wrapped{m})
	}
	return nil
}

// transport connects by target towards mirrors, by proxy towards https proxies.
func (m *mirror) transport(target, proxy *tls.Config) *http.Transport {
	limits := &m.options.Limits
	connections := m.MaxConnections
	or(&connections, 64)
	protocols := target.Clone()
	protocols.NextProtos = []string{"h2", "http/1.1"}
	return &http.Transport{
		Proxy:       func(r *http.Request) (*url.URL, error) { return routeOf(r.Context()).proxy, nil },
		DialContext: m.dial,
		// Of its own only so that a tap can sit above TLS.
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			config := protocols
			if routeOf(ctx).proxy != nil { // what is dialled is the proxy
				config = proxy
			}
			return m.dialTLS(ctx, network, addr, config)
		},
		TLSClientConfig:        target.Clone(), // of hosts behind a proxy
		TLSHandshakeTimeout:    limits.TLS,
		ResponseHeaderTimeout:  limits.Header,
		MaxResponseHeaderBytes: limits.HeaderBytes,
		MaxConnsPerHost:        max(connections, 0),
		MaxIdleConnsPerHost:    max(connections, 1),
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,     // the bytes stored are the bytes sent
		ReadBufferSize:         16 << 10, // a small body comes with its head in one read
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// dial connects in clear.
func (m *mirror) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := m.guard.dial(ctx, network, addr)
	if err != nil || routeOf(ctx).tunnel {
		return c, err
	}
	return newTap(c), nil
}

func (m *mirror) dialTLS(ctx context.Context, network, addr string, config *tls.Config) (net.Conn, error) {
	raw, err := m.guard.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.ServerName, _, _ = net.SplitHostPort(addr)
	c := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, m.options.Limits.TLS)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("tls %s: %w", addr, err)
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return c, nil // has no Connection field; net/http wants to see the tls.Conn
	}
	return newTap(c), nil
}
