package edge

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// corked is a connection as a front's: between Cork and Uncork it keeps what is written first.
type corked struct {
	net.Conn
	on     bool
	held   string
	writes atomic.Int64
}

func (c *corked) Cork() { c.on = true }

func (c *corked) Uncork() error {
	c.on = false
	if c.held == "" {
		return nil
	}
	_, err := c.Write(nil)
	return err
}

func (c *corked) Write(p []byte) (int, error) {
	if c.on && c.held == "" {
		c.held = string(p)
		return len(p), nil
	}
	held := c.held
	c.held = ""
	c.writes.Add(1)
	_, err := c.Conn.Write([]byte(held + string(p)))
	return len(p), err
}

// corkedClient is a client of a response of size bytes, and its connection as the server has it.
func corkedClient(t *testing.T, method string, size int64, body io.ReadCloser, outcome exchange.Outcome) (*corked, *http.Response) {
	client, server := net.Pipe()
	c := &corked{Conn: server}
	listener := make(pipes, 1)
	listener <- c
	s := &http.Server{ConnContext: ConnContext, Handler: New(Options{Hub: tree{}, Source: exchange.SourceFunc(
		func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return &exchange.Response{Entry: &exchange.Entry{Status: 200, Size: size, Received: now}, Body: body, Outcome: outcome}, nil
		})})}
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(func() {
		close(listener)
		client.Close()
		s.Close()
	})
	_, err := io.WriteString(client, method+" /x HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(client), &http.Request{Method: method})
	require.NoError(t, err)
	return c, resp
}

// TestCork: the head of a small response leaves with its content, if that is there.
func TestCork(t *testing.T) {
	for _, test := range []struct {
		name    string
		method  string
		size    int
		outcome exchange.Outcome
	}{
		{"hit", "GET", 5000, exchange.Outcome{Hit: true}},
		{"miss", "GET", 5000, exchange.Outcome{Fwd: exchange.FwdURIMiss}},
		{"nothing", "GET", 0, exchange.Outcome{Hit: true}},
		{"head", "HEAD", 5000, exchange.Outcome{Hit: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			content := strings.Repeat("x", test.size)
			c, resp := corkedClient(t, test.method, int64(test.size), io.NopCloser(strings.NewReader(content)), test.outcome)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			if test.method == "GET" {
				assert.Equal(t, content, string(got))
			}
			assert.EqualValues(t, 1, c.writes.Load())
		})
	}
}

// A head and what there is of the content do not wait for the rest.
func TestCorkWaitsForNobody(t *testing.T) {
	for _, outcome := range []exchange.Outcome{{Fwd: exchange.FwdURIMiss}, {Fwd: exchange.FwdBypass}} {
		body, mirror := io.Pipe()
		go io.WriteString(mirror, "some")
		_, resp := corkedClient(t, "GET", 8, body, outcome)
		got := make([]byte, 4)
		_, err := io.ReadFull(resp.Body, got)
		require.NoError(t, err)
		go io.WriteString(mirror, "more")
		_, err = io.ReadFull(resp.Body, got)
		require.NoError(t, err)
		assert.Equal(t, "more", string(got))
	}
}
