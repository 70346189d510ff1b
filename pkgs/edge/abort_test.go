package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// dying gives text, then waits for go, then fails.
type dying struct {
	io.Reader
	wait <-chan struct{}
}

func (d *dying) Close() error { return nil }
func (d *dying) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err == io.EOF {
		<-d.wait
		err = errors.New("the mirror died")
	}
	return n, err
}

// dyingServer answers every path with half a body: of size bytes, if that is not -1.
// The body dies when the test says so, by closing the channel.
func dyingServer(t *testing.T, size int64, configure func(*httptest.Server)) (*httptest.Server, chan struct{}) {
	wait := make(chan struct{})
	server := httptest.NewUnstartedServer(handler(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if req.Key.Path == "/good" {
			return answer("hello", nil)(ctx, req)
		}
		return &exchange.Response{
			Entry: &exchange.Entry{Status: 200, Size: size, Received: now},
			Body:  &dying{strings.NewReader(strings.Repeat("x", 50_000)), wait},
		}, nil
	})))
	server.Config.ConnContext = ConnContext
	configure(server)
	t.Cleanup(server.Close)
	return server, wait
}

func TestAbortHTTP1(t *testing.T) {
	for _, test := range []struct {
		name string
		size int64
		tls  bool
	}{
		{"Content-Length", 100_000, false},
		{"chunked", -1, false},
		{"Content-Length below TLS", 100_000, true},
		{"chunked below TLS", -1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, wait := dyingServer(t, test.size, func(s *httptest.Server) {
				if test.tls {
					s.StartTLS()
				} else {
					s.Start()
				}
			})
			tcp, err := net.Dial("tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			defer tcp.Close()
			conn := tcp
			if test.tls {
				conn = tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
			}
			require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
			_, err = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
			var raw strings.Builder
			resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), nil)
			require.NoError(t, err)
			_, err = io.ReadFull(resp.Body, make([]byte, 50_000))
			require.NoError(t, err, "what came before reaches the client")
			close(wait)
			_, err = io.Copy(io.Discard, resp.Body)
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			assert.NotContains(t, raw.String(), "\r\n0\r\n")
		})
	}
}

func TestAbortHTTP2(t *testing.T) {
	for _, size := range []int64{100_000, -1} {
		server, wait := dyingServer(t, size, func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		})
		client := server.Client()
		resp, err := client.Get(server.URL + "/x")
		require.NoError(t, err)
		require.Equal(t, 2, resp.ProtoMajor)
		_, err = io.ReadFull(resp.Body, make([]byte, 50_000))
		require.NoError(t, err)
		close(wait)
		_, err = io.Copy(io.Discard, resp.Body)
		assert.ErrorContains(t, err, "stream error") // http2.StreamError, of a RST_STREAM
		resp.Body.Close()

		var reused bool
		req, err := http.NewRequestWithContext(traceReuse(t.Context(), &reused), "GET", server.URL+"/good", nil)
		require.NoError(t, err)
		resp, err = client.Do(req)
		require.NoError(t, err, "the connection's other streams go on")
		assert.Equal(t, "hello", read(t, resp))
		assert.True(t, reused)
		resp.Body.Close()
	}
}
