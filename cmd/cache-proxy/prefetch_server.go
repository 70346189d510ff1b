package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A server is the one that runs, as its clients reach it.
type server struct {
	base   *url.URL
	client *http.Client
	wait   time.Duration // before what failed is asked for again; then longer
}

const attempts = 3

// newServer reaches the server of a configuration, or the one at a base URL.
func newServer(c *cacheproxy.Config, base string) (*server, error) {
	transport := &http.Transport{ResponseHeaderTimeout: 5 * time.Minute, MaxIdleConnsPerHost: 64, DisableCompression: true}
	s := &server{client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, wait: time.Second}
	if base == "" {
		all := c.Addresses()
		for _, a := range all {
			if a.TLS {
				continue
			}
			if a.Address.Network == "unix" {
				path := a.Address.Address
				transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "unix", path)
				}
				base = "http://localhost"
				break
			}
			base = "http://" + reachable(a.Address.Address)
			break
		}
		if base == "" || strings.HasSuffix(base, ":0") {
			return nil, errors.New("the configuration does not say how to reach the server without TLS: use --server")
		}
	}
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--server %q is no http URL", base)
	}
	s.base = u
	return s, nil
}

// reachable is an address to connect to, of one that is listened on.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() && !ip.Is4In6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

func (s *server) close() { s.client.CloseIdleConnections() }

// request is one for a URL, or for a path and query: it always goes to the server.
func (s *server) request(ctx context.Context, at string) (*http.Request, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	host := u.Host
	u.Scheme, u.Host, u.User, u.Fragment = s.base.Scheme, s.base.Host, nil, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if host != "" {
		req.Host = host
	}
	req.Header.Set("User-Agent", "cache-proxy-prefetch/"+programVersion())
	return req, nil
}

// read reads a file to its end, so that it is stored; had says that it was before.
// What the lock file says of its digest is checked.
func (s *server) read(ctx context.Context, at string, digest cacheproxy.Digest) (had bool, n int64, err error) {
	err = s.try(ctx, func() (again bool, err error) {
		var read int64
		had, read, again, err = s.readOnce(ctx, at, digest)
		n += read
		return again, err
	})
	return had, n, err
}

// try does something up to three times.
func (s *server) try(ctx context.Context, do func() (again bool, err error)) error {
	wait := s.wait
	for i := 1; ; i++ {
		again, err := do()
		if err == nil || !again || i == attempts || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(wait):
			wait *= 3
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *server) readOnce(ctx context.Context, at string, digest cacheproxy.Digest) (had bool, n int64, again bool, err error) {
	req, err := s.request(ctx, at)
	if err != nil {
		return false, 0, false, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false, 0, true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, 0, retried(resp.StatusCode), refusal(at, resp)
	}
	had = resp.Header.Get("X-Cache") == "HIT"
	if had && digest == "" {
		return had, 0, false, nil // it is whole on the disk
	}
	var to io.Writer = io.Discard
	var h hash.Hash
	if digest != "" {
		if h = digest.New(); h == nil {
			return had, 0, false, fmt.Errorf("digest %q is of no known algorithm", digest)
		}
		to = h
	}
	if n, err = io.Copy(to, resp.Body); err != nil {
		return had, n, true, fmt.Errorf("%s: %w", at, err)
	}
	if h != nil {
		if sum := fmt.Sprintf("%x", h.Sum(nil)); sum != digest.Hex() {
			return had, n, false, fmt.Errorf("%s: content is %s:%s, the lock file wants %s", at, digest.Algorithm(), sum, digest)
		}
	}
	return had, n, false, nil
}

// text reads a document of at most so many bytes.
func (s *server) text(ctx context.Context, at, accept string, most int64) (text []byte, contentType string, err error) {
	err = s.try(ctx, func() (again bool, err error) {
		req, err := s.request(ctx, at)
		if err != nil {
			return false, err
		}
		req.Header.Set("Accept", accept)
		resp, err := s.client.Do(req)
		if err != nil {
			return true, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return retried(resp.StatusCode), refusal(at, resp)
		}
		contentType = resp.Header.Get("Content-Type")
		if text, err = io.ReadAll(io.LimitReader(resp.Body, most+1)); err != nil {
			return true, err
		}
		if int64(len(text)) > most {
			return false, fmt.Errorf("%s: more than %d bytes", at, most)
		}
		return false, nil
	})
	return text, contentType, err
}

// retried says whether another attempt may do better.
func retried(status int) bool {
	return status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
}

// A refused error is an answer that is no content.
type refused struct {
	at     string
	status int
	text   string
}

func (e *refused) Error() string { return fmt.Sprintf("%s: status %d: %s", e.at, e.status, e.text) }

func refusal(at string, resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	return &refused{at, resp.StatusCode, string(bytes.TrimSpace(text))}
}

// absent says whether err is that there is no such file.
func absent(err error) bool {
	var e *refused
	return errors.As(err, &e) && e.status == http.StatusNotFound
}
