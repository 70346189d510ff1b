package edge

import (
	"context"
	"net"
	"net/http"
)

type connKey struct{}

// ConnContext is for [http.Server.ConnContext]: it lets an aborted response
// reset its HTTP/1 connection. Without it such a connection is closed in the
// ordinary way, which a client may take for the end of a body without length.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// A corker is a connection that can keep the beginning of a small response until
// its end leaves with it (package front).
type corker interface {
	Cork()
	Uncork() error
}

// corkerOf is the connection of r, if it is one, and r's own; else nil.
func corkerOf(r *http.Request) corker {
	if r.ProtoMajor != 1 {
		return nil
	}
	c, _ := r.Context().Value(connKey{}).(corker)
	return c
}

// reset closes the connection of r by a TCP reset, with what is still unsent
// thrown away; below TLS, whose own close would tell the client that all is well.
// Only an HTTP/1 connection is the request's own: on HTTP/2 the panic that
// follows resets the stream, and the others go on.
func reset(r *http.Request) {
	if r.ProtoMajor != 1 {
		return
	}
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	for c != nil {
		switch conn := c.(type) {
		case interface{ SetLinger(int) error }:
			_ = conn.SetLinger(0) // both fail on a dead connection only
			_ = c.Close()
			return
		case interface{ NetConn() net.Conn }: // *tls.Conn, or a listener's wrapper
			c = conn.NetConn()
		default:
			return
		}
	}
}
