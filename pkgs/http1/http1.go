// Package http1 asks one origin for things over kept HTTP/1.1 connections: a
// [Client] is an [http.RoundTripper] before an [http.Transport], for which it takes
// the plain requests.
//
// A Transport has two goroutines a connection, and a request passes between them
// and its own five times, which costs more than a small response itself. A Client
// has none: who asks writes the request, and reads the response as he reads its
// body. Heads, framing and trailers are net/http's own ([http.ReadResponse],
// [http.Request.Write]); nothing of a foreign byte is judged here but where a
// connection may be used again.
//
// A plain request is a GET or HEAD without a body, in clear, straight to the
// origin. All others go through the Transport: https, proxies, bodies, upgrades.
// The connections of both are counted together.
//
// What it does not do: it follows no redirects, knows no cookies, decompresses
// nothing, and dials one address at a time for one request.
package http1

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Dialer connects to an address, as [net.Dialer.DialContext] does.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// A Client asks one origin. It is safe for concurrent use.
type Client struct {
	transport *http.Transport
	host      string // of URLs, as they spell it; "": the Transport has all requests
	addr      string // that is dialled
	dialer    Dialer
	room      chan struct{} // a token for each request under way; nil: there is no limit
	looks     time.Duration // looks, but for tests

	mu     sync.Mutex
	open   int         // guarded by mu; connections, the Transport's included
	idle   []*conn     // guarded by mu; the last used last
	sweep  *time.Timer // guarded by mu; nil until it is needed
	closed bool        // guarded by mu; no connection is kept any more
}

// New makes a Client of the origin that base is of. t must not be in use yet: its
// limits are the Client's too, and its DialContext becomes one of the Client's over
// dial, so that MaxConnsPerHost holds for the connections of both.
//
// Of t's fields these count for plain requests: Proxy, MaxConnsPerHost,
// MaxIdleConnsPerHost, IdleConnTimeout, ResponseHeaderTimeout,
// MaxResponseHeaderBytes, ReadBufferSize. A t that keeps no connections or
// decompresses has all requests, and so has one of an https origin.
func New(base *url.URL, t *http.Transport, dial Dialer) *Client {
	c := &Client{transport: t, dialer: dial, looks: looks}
	if base.Scheme == "http" && ascii(base.Host) && !t.DisableKeepAlives && t.DisableCompression {
		port := base.Port()
		if port == "" {
			port = "80"
		}
		c.host, c.addr = base.Host, net.JoinHostPort(base.Hostname(), port)
	}
	if n := t.MaxConnsPerHost; n > 0 {
		c.room = make(chan struct{}, n)
	}
	t.DialContext = c.dial
	return c
}

// ascii says whether a host is spelled as it goes over the wire.
func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// RoundTrip implements [http.RoundTripper]. A request that finds its kept
// connection closed is sent again, once, over a new one (RFC 9112 §9.3.1). Of a plain request's [httptrace.ClientTrace]
// GotConn and Got1xxResponse are called; the Conn of GotConn is what dial gave.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	if !c.plain(r) {
		return c.delegate(r)
	}
	b := requests.Get().(*bytes.Buffer)
	defer requests.Put(b)
	b.Reset()
	err := r.Write(b)
	for kept := true; err == nil; kept = false {
		var k *conn
		if k, err = c.connection(ctx, kept); err != nil {
			break
		}
		x := &exchange{client: c, conn: k, ctx: ctx}
		var res *http.Response
		if res, err = x.run(r, b.Bytes()); err == nil {
			return res, nil
		}
		if x.again {
			err = nil
		}
	}
	c.leave()
	return nil, err
}

var requests = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// CloseIdleConnections closes the kept connections, the Transport's too; those in
// use are not kept any more.
func (c *Client) CloseIdleConnections() {
	c.mu.Lock()
	c.closed = true
	idle := c.idle
	c.idle = nil
	if c.sweep != nil {
		c.sweep.Stop()
	}
	c.mu.Unlock()
	for _, k := range idle {
		k.Close()
	}
	c.transport.CloseIdleConnections()
}

// plain says whether a request is the Client's own.
func (c *Client) plain(r *http.Request) bool {
	switch {
	case c.host == "" || r.URL == nil || r.URL.Scheme != "http" || r.URL.Host != c.host,
		r.Method != http.MethodGet && r.Method != http.MethodHead,
		r.Body != nil && r.Body != http.NoBody || r.ContentLength != 0 || r.Close,
		len(r.TransferEncoding) > 0 || len(r.Trailer) > 0,
		r.Host != "" && !ascii(r.Host):
		return false
	}
	for name, values := range r.Header {
		switch name {
		case "Connection", "Upgrade", "Expect", "Te", "Trailer", "Transfer-Encoding", "Content-Length":
			return false
		}
		if !token(name) || slices.ContainsFunc(values, func(v string) bool { return !fieldValue(v) }) {
			return false // the Transport says what is wrong
		}
	}
	if c.transport.Proxy == nil {
		return true
	}
	proxy, err := c.transport.Proxy(r)
	return proxy == nil && err == nil
}

// token says whether a field's name is one (RFC 9110 §5.6.2).
func token(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false // other tokens are the Transport's
		}
	}
	return s != ""
}

// fieldValue says whether a field's value has no control characters.
func fieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// enter waits until there may be one request more.
func (c *Client) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.room == nil {
		return nil
	}
	select {
	case c.room <- struct{}{}:
	default:
		select {
		case c.room <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// leave is the end of a request.
func (c *Client) leave() {
	if c.room != nil {
		<-c.room
	}
}

// delegate leaves a request to the Transport.
func (c *Client) delegate(r *http.Request) (*http.Response, error) {
	leave := sync.OnceFunc(c.leave)
	stop := context.AfterFunc(r.Context(), leave) // of a body that nobody reads on
	res, err := c.transport.RoundTrip(r)
	if err != nil || res.StatusCode == http.StatusSwitchingProtocols || res.Body == http.NoBody {
		stop()
		leave()
		return res, err
	}
	res.Body = &delegated{res.Body, func() { stop(); leave() }}
	return res, nil
}

// delegated is the body of a Transport's response.
type delegated struct {
	io.ReadCloser
	leave func()
}

func (d *delegated) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil {
		d.leave()
	}
	return n, err
}

func (d *delegated) Close() error {
	defer d.leave()
	return d.ReadCloser.Close()
}

// got tells who wants to know of the connection.
func got(ctx context.Context, k *conn) *httptrace.ClientTrace {
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GotConn != nil {
		info := httptrace.GotConnInfo{Conn: k.Conn, Reused: k.used, WasIdle: k.used}
		if k.used {
			info.IdleTime = time.Since(k.since)
		}
		trace.GotConn(info)
	}
	return trace
}

// interim tells who wants to know of a response 1xx, and whether anybody does.
func interim(trace *httptrace.ClientTrace, res *http.Response) (heard bool, err error) {
	if trace == nil || trace.Got1xxResponse == nil {
		return false, nil
	}
	return true, trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header))
}
