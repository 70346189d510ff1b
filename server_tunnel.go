package cacheproxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// tunnel serves CONNECT (RFC 9110 §9.3.6) to what a configuration allows.
func (s *Server) tunnel(cfg *Config) http.Handler {
	var allowed upstream.Allowed
	for _, rule := range cfg.AllowedUpstreams {
		if rule.Suffix != "" {
			allowed.Hosts = append(allowed.Hosts, rule.Suffix)
		} else {
			allowed.Prefixes = append(allowed.Prefixes, rule.Prefix)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, err := net.SplitHostPort(r.RequestURI)
		name := strings.ToLower(strings.TrimSuffix(host, "."))
		switch {
		case err != nil || r.ProtoMajor != 1:
			ownText(w, r, http.StatusBadRequest, "CONNECT wants HOST:PORT, and HTTP/1\n")
			return
		case !slices.ContainsFunc(cfg.Forward.Connect, func(e Endpoint) bool { return e.admits(name, port) }):
			ownText(w, r, http.StatusForbidden, "this proxy does not connect to that: ask for it directly\n")
			return
		}
		to, err := allowed.Dial(r.Context(), net.JoinHostPort(name, port), time.Duration(cfg.Limits.UpstreamDialTimeout))
		if err != nil {
			s.log.Warn("no tunnel", "host", name, "port", port, "err", err)
			ownText(w, r, http.StatusBadGateway, "that cannot be connected to\n")
			return
		}
		defer to.Close()
		client, sent, err := http.NewResponseController(w).Hijack()
		if err != nil {
			ownText(w, r, http.StatusNotImplemented, "no tunnel by this connection\n")
			return
		}
		defer client.Close()
		_ = client.SetDeadline(time.Time{})
		if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		relay(client, sent.Reader, to, time.Duration(cfg.Limits.ClientIdleTimeout))
	})
}

// relay carries bytes both ways until both have ended, one fails, or neither brought
// any for that long. early is what the client has sent, and what it sends.
func relay(client net.Conn, early io.Reader, to net.Conn, idle time.Duration) {
	extend := func() {
		until := time.Now().Add(idle)
		_ = client.SetDeadline(until)
		_ = to.SetDeadline(until)
	}
	extend()
	var both sync.WaitGroup
	carry := func(w net.Conn, r io.Reader) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := r.Read(buffer)
			if n > 0 {
				extend()
				if _, failed := w.Write(buffer[:n]); failed != nil {
					err = failed
				}
			}
			switch {
			case errors.Is(err, io.EOF):
				if half, ok := w.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
					return // the other way may go on
				}
				fallthrough
			case err != nil:
				_ = client.SetDeadline(time.Unix(1, 0))
				_ = to.SetDeadline(time.Unix(1, 0))
				return
			}
		}
	}
	both.Go(func() { carry(to, early) })
	both.Go(func() { carry(client, to) })
	both.Wait()
}
