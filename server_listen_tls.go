package cacheproxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// A security is how TLS is spoken. That of ACME is shared by revisions that want
// the same, since it renews certificates as long as the process lives.
type security struct {
	config     *tls.Config
	challenges http.Handler // what the authority asks without TLS; nil: nothing
}

// challengePath is what http-01 asks for (RFC 8555 §8.3).
const challengePath = "/.well-known/acme-challenge/"

// secure is how cfg speaks TLS; nil: it does not.
func secure(cfg *Config, old *revision) (*security, error) {
	t := &cfg.TLS
	if !t.enabled() {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, cfg.Problem("tls.cert", err.Error())
		}
		c.Certificates = []tls.Certificate{pair}
		return &security{config: c}, nil
	}
	if old != nil && old.tls != nil && reflect.DeepEqual(t.ACME, old.config.TLS.ACME) {
		return old.tls, nil
	}
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(t.ACME.Cache),
		HostPolicy: autocert.HostWhitelist(t.ACME.Hosts...),
		Email:      t.ACME.Email,
	}
	if t.ACME.Directory.IsSet() {
		m.Client = &acme.Client{DirectoryURL: t.ACME.Directory.URL.String()}
	}
	c.GetCertificate = m.GetCertificate
	c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	return &security{c, m.HTTPHandler(http.NotFoundHandler())}, nil
}

// A helloConn is below TLS, and tells a client that begins without it so.
type helloConn struct {
	net.Conn
	begun bool
}

const wantsTLS = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 33\r\n\r\nthis port speaks HTTPS, not HTTP\n"

var errPlain = errors.New("a request without TLS")

func (c *helloConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.begun {
		// A handshake begins with 22 (RFC 8446 §5.1), a request with a method.
		if c.begun = true; 'A' <= p[0] && p[0] <= 'Z' {
			_, _ = io.WriteString(c.Conn, wantsTLS)
			if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			return 0, errPlain
		}
	}
	return n, err
}

// NetConn is the connection below.
func (c *helloConn) NetConn() net.Conn { return c.Conn }
