package upstream

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// pipes is a listener in memory, so that a whole exchange runs on a bubble's clock.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return newTap(client), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// bubble is a group over handlers in memory, inside a synctest bubble. Mirror i
// has the base URL http://mI.
func bubble(t *testing.T, o Options, handlers ...http.HandlerFunc) *Group {
	t.Helper()
	for i := len(o.Mirrors); i < len(handlers); i++ {
		o.Mirrors = append(o.Mirrors, Mirror{})
	}
	for i := range handlers {
		o.Mirrors[i].Server = parse(t, "http://m"+string(rune('0'+i)))
	}
	g, err := New(o)
	require.NoError(t, err)
	for i, h := range handlers {
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: h}
		go server.Serve(p)
		g.mirrors[i].dialer = p.dial
		t.Cleanup(func() { server.Close() })
	}
	t.Cleanup(g.Close) // first
	return g
}
