// Package http is the hub of any origin at all: a shared cache that is not seen
// (RFC 9110, 9111). All methods pass, and end-to-end fields pass both ways; what
// is stored and reused is what the fields of request and response say, which
// package freshness knows and package cache acts upon.
//
// A key is the canonical path with the query. What an unsafe method may have
// changed is found by [exchange.Wire].Locate, which maps a Location as the
// origin wrote it to a key.
//
// It looks into no content and rewrites no link: an origin that writes absolute
// links to itself is best given a host of its own.
package http

import (
	"context"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one origin. It is safe for concurrent use.
type Hub struct {
	name   string
	policy freshness.Policy
}

var (
	_ hub.Hub     = (*Hub)(nil)
	_ hub.Carrier = (*Hub)(nil)
)

// New makes a hub. Of the policies only how long past its lifetime a response
// answers if the origin cannot be reached is the operator's to say; the rest is
// the origin's.
func New(o hub.Options) *Hub {
	h := &Hub{name: o.Name, policy: freshness.Policy{Class: freshness.Transparent}}
	if o.Policies != nil {
		h.policy.StaleIfError = o.Policies.Default.StaleIfError
	}
	return h
}

// Parse is Carry for a request without a body.
func (h *Hub) Parse(r *nethttp.Request) (*exchange.Request, error) {
	return h.Carry(r, &exchange.Wire{Method: r.Method})
}

// Carry takes any path, and passes on all that is not of the client's connection.
func (h *Hub) Carry(r *nethttp.Request, w *exchange.Wire) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		query := hub.Query(r.URL.RawQuery)
		path, target = path+"?"+query, target+"?"+query
	}
	req := &exchange.Request{
		Key:    exchange.Key{Hub: h.name, Path: path},
		Head:   w.Method == nethttp.MethodHead,
		Target: target,
		Header: endToEnd(r.Header),
		Policy: h.policy,
		Wire:   w,
	}
	w.Locate = func(mirror, reference string) (exchange.Key, bool) {
		return h.locate(mirror, target, req.Client.Base, reference)
	}
	return req, nil
}

// locate is the key of what reference names in the response of mirror to target:
// the URI as the origin knows it, or as the client does.
func (h *Hub) locate(mirror, target, base, reference string) (key exchange.Key, ok bool) {
	from, err := url.Parse(mirror + target)
	if err != nil {
		return key, false
	}
	to, err := from.Parse(reference)
	if err != nil {
		return key, false
	}
	for _, root := range [...]string{mirror, base} {
		u, err := url.Parse(root)
		if err != nil || root == "" || u.Scheme != to.Scheme || !strings.EqualFold(hostPort(u), hostPort(to)) {
			continue
		}
		rest, below := strings.CutPrefix(to.EscapedPath(), strings.TrimSuffix(u.EscapedPath(), "/"))
		if !below || rest != "" && rest[0] != '/' {
			continue
		}
		decoded, err := url.PathUnescape(rest)
		if err != nil {
			return key, false
		}
		path, _, err := hub.Path(&url.URL{Path: decoded, RawPath: rest})
		if err != nil {
			return key, false
		}
		if to.RawQuery != "" || to.ForceQuery {
			path += "?" + hub.Query(to.RawQuery)
		}
		return exchange.Key{Hub: h.name, Path: path}, true
	}
	return key, false
}

// hostPort is the host and the port of u, the scheme's own one too (RFC 9110 §4.2.3).
func hostPort(u *url.URL) string {
	if port := u.Port(); port != "" {
		return u.Hostname() + ":" + port
	}
	return u.Hostname() + ":" + map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// endToEnd are the fields that are not of the connection (RFC 9110 §7.6.1): those
// that Connection lists are. An expectation (§10.1.1) is met by net/http, hop by hop.
func endToEnd(header nethttp.Header) nethttp.Header {
	h := header.Clone()
	if h == nil {
		h = nethttp.Header{}
	}
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			switch name = nethttp.CanonicalHeaderKey(strings.Trim(name, " \t")); name {
			case "Cache-Control", "Authorization", "Cookie", "Range", "Via", "Host": // nobody means these (§7.6.1: "must not")
			default:
				delete(h, name)
			}
		}
	}
	for _, name := range [...]string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Proxy-Authorization", "Expect", "Content-Length",
	} {
		delete(h, name)
	}
	return h
}

// Rewrite answers an OPTIONS that may go no further, and counts the others down
// (RFC 9110 §7.6.2).
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		most := req.Header.Get("Max-Forwards")
		if req.Wire == nil || most == "" || req.Wire.Method != nethttp.MethodOptions {
			return next.Get(ctx, req)
		}
		switch n, err := strconv.ParseUint(most, 10, 31); {
		case err != nil:
		case n == 0:
			return &exchange.Response{
				Entry: &exchange.Entry{
					Key: req.Key, Status: nethttp.StatusNoContent, Size: 0,
					Header: nethttp.Header{"Allow": {"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}},
				},
				Body:     nethttp.NoBody,
				Verbatim: true,
				Outcome:  exchange.Outcome{Detail: "max-forwards"},
			}, nil
		default:
			req = req.Clone()
			req.Header["Max-Forwards"] = []string{strconv.FormatUint(n-1, 10)}
		}
		return next.Get(ctx, req)
	})
}
