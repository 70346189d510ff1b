package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A policyError is a hop that we refuse to make.
type policyError struct{ text string }

func (e *policyError) Error() string { return e.text }

// A response is what the last hop answered.
type response struct {
	*http.Response
	named []string // the fields that its Connection field lists

	connecting time.Duration // of what it took, for new connections, of all hops
}

// A route is how one hop is to be connected; it travels in the request's context.
type route struct {
	proxy   *url.URL
	tunnel  bool // TLS to the target goes through the proxy
	trusted bool // the target may have a private address
}

type routeKey struct{}

func routeOf(ctx context.Context) route {
	r, _ := ctx.Value(routeKey{}).(route)
	return r
}

// ask sends the request and follows redirects. A hop to another origin takes no
// credentials, no certificate and no Referer along, and neither do those after
// it: who redirects there could compose any request to us (RFC 9110 §15.4). A POST
// is not redirected.
func (m *mirror) ask(ctx context.Context, req *exchange.Request, u *url.URL) (*response, error) {
	method := http.MethodGet
	switch {
	case req.Post != nil:
		method = http.MethodPost
	case req.Head:
		method = http.MethodHead
	}
	var seen []string
	var connecting time.Duration
	self, trusted := true, false
	for {
		res, err := m.hop(ctx, method, u, m.requestHeader(req, self), req.Post, self, trusted)
		if err != nil {
			return nil, err
		}
		connecting += res.connecting
		res.connecting = connecting
		location := res.Header.Get("Location")
		if !redirects(res.StatusCode) || location == "" || req.Post != nil {
			return res, nil
		}
		io.CopyN(io.Discard, res.Body, 2<<10) // a short body leaves the connection usable
		res.Body.Close()
		seen = append(seen, u.String())
		if len(seen) > m.options.Limits.Redirects {
			return nil, &policyError{fmt.Sprintf("more than %d redirects", max(m.options.Limits.Redirects, 0))}
		}
		if u, err = m.follow(u, location); err != nil {
			return nil, err
		}
		if slices.Contains(seen, u.String()) {
			return nil, &policyError{"redirects lead in a circle"}
		}
		self = self && originOf(u) == m.origin
		trusted = m.pinned(u)
	}
}

// redirects reports whether a status asks for another URL (RFC 9110 §15.4). All
// of them keep the methods we use.
func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow is where a redirect leads, if we may go there.
func (m *mirror) follow(from *url.URL, location string) (*url.URL, error) {
	to, err := from.Parse(location)
	if err != nil {
		return nil, &policyError{"redirect to something that is no URL"}
	}
	to.User, to.Fragment, to.RawFragment = nil, "", ""
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Hostname() == "" || to.Opaque != "":
		return nil, &policyError{fmt.Sprintf("redirect to %.20q, which is not http", to.Scheme+":")}
	case from.Scheme == "https" && to.Scheme == "http":
		return nil, &policyError{"redirect from https to http at " + to.Host}
	case m.AllowedRedirect != nil && !m.AllowedRedirect.MatchString(to.String()):
		return nil, &policyError{"redirect to " + to.Host + " is not allowed"}
	}
	return to, nil
}

// pinned reports whether the operator's expression names this very host, and so
// says that it may be private. One that any host would pass says nothing.
func (m *mirror) pinned(u *url.URL) bool {
	if m.AllowedRedirect == nil {
		return false
	}
	other := *u
	other.Host = "host.invalid"
	if port := u.Port(); port != "" {
		other.Host += ":" + port
	}
	return !m.AllowedRedirect.MatchString(other.String())
}

// hop makes one request.
func (m *mirror) hop(ctx context.Context, method string, u *url.URL, h http.Header, post []byte, self, trusted bool) (*response, error) {
	request := &http.Request{
		Method: method, URL: u, Host: h.Get("Host"), Header: h, // without a configured one: the URL's
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if post != nil {
		request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(post)), int64(len(post))
	}
	return m.roundTrip(ctx, request, self, trusted)
}

// roundTrip sends a request that is complete.
func (m *mirror) roundTrip(ctx context.Context, request *http.Request, self, trusted bool) (*response, error) {
	ctx, err := m.routed(ctx, request, self, trusted)
	if err != nil {
		return nil, err
	}
	var connection *tap
	var connecting time.Duration
	start := time.Now()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			connection = tapOf(info.Conn)
			if !info.Reused {
				connecting = time.Since(start)
			}
		},
	})
	transport := m.home
	if !self {
		transport = m.away
	}
	res, err := transport.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		res.Body.Close()
		return nil, errors.New("switching protocols that nobody asked for")
	case res.StatusCode < 100: // net/http reads any three digits, and writes none of these
		res.Body.Close()
		return nil, fmt.Errorf("status %03d", res.StatusCode)
	}
	named := listed(res.Header["Connection"])
	if connection != nil {
		named = append(named, connection.named()...)
	}
	return &response{res, named, connecting}, nil
}

// routed is ctx with the route of a request.
func (m *mirror) routed(ctx context.Context, r *http.Request, self, trusted bool) (context.Context, error) {
	proxy, err := m.proxy(r)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if proxy != nil && (!self || m.Learned) && !trusted && m.guard.private(r.URL) {
		return nil, &policyError{"hop to " + r.URL.Host + ", which is not public"}
	}
	return context.WithValue(ctx, routeKey{}, route{proxy, proxy != nil && r.URL.Scheme == "https", trusted}), nil
}

// wrapped is a mirror's transports as [Mirror.Wrap] sees them.
type wrapped struct{ *mirror }

// RoundTrip sends r to the mirror, or to another host as a redirect would lead there.
func (w wrapped) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == w.scheme && r.URL.Host == w.host || originOf(r.URL) == w.origin {
		return w.own.RoundTrip(r)
	}
	ctx, err := w.routed(r.Context(), r, false, false)
	if err != nil {
		return nil, err
	}
	return w.away.RoundTrip(r.WithContext(ctx))
}

// proxy is where a request goes through, nil for straight to its host.
func (m *mirror) proxy(r *http.Request) (*url.URL, error) {
	if m.Proxy != nil {
		return m.Proxy, nil
	}
	return http.ProxyFromEnvironment(r)
}

// private reports whether a URL names a special address outright. What a name
// means behind a proxy only the proxy knows.
func (g *guard) private(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && !g.trusts(hostPort(u)) && !g.admits(addr)
}
