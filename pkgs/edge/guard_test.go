package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Requests as bytes, through a real server, since much of what they try is in the bytes.
func TestGuard(t *testing.T) {
	asked := 0
	source := answer("hello", nil)
	server := httptest.NewServer(handler(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		asked++
		return source(ctx, req)
	})))
	defer server.Close()

	const host = "\r\nHost: proxy.example.org\r\n"
	tests := []struct {
		name, request string
		status        int
		closes        bool
	}{
		{"GET", "GET /x HTTP/1.1" + host, 200, false},
		{"HTTP/1.0 without host", "GET /x HTTP/1.0\r\n", 200, true},
		{"POST", "POST /x HTTP/1.1" + host + "Content-Length: 0\r\n", 405, false},
		{"POST with a body", "POST /x HTTP/1.1" + host + "Content-Length: 4\r\n\r\nabcd", 405, true},
		{"PUT", "PUT /x HTTP/1.1" + host, 405, false},
		{"DELETE", "DELETE /x HTTP/1.1" + host, 405, false},
		{"PURGE", "PURGE /x HTTP/1.1" + host, 405, false},
		{"TRACE", "TRACE /x HTTP/1.1" + host, 405, false},
		{"OPTIONS", "OPTIONS /x HTTP/1.1" + host, 405, false},
		{"CONNECT", "CONNECT evil.example.org:443 HTTP/1.1" + host, 405, false},
		{"lower case", "get /x HTTP/1.1" + host, 405, false},
		{"body", "GET /x HTTP/1.1" + host + "Content-Length: 5\r\n\r\nhello", 400, true},
		{"chunked body", "GET /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n", 400, true},
		{"body of HEAD", "HEAD /x HTTP/1.1" + host + "Content-Length: 5\r\n\r\nhello", 400, true},
		{"smuggling", "GET /x HTTP/1.1" + host + "Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /secret HTTP/1.1" + host, 400, true},
		{"absolute target", "GET http://evil.example.org/x HTTP/1.1" + host, 400, false},
		{"absolute target, own host", "GET http://proxy.example.org/x HTTP/1.1" + host, 400, false},
		{"asterisk", "GET * HTTP/1.1" + host, 400, false},
		{"authority in the path", "GET //evil.example.org/x HTTP/1.1" + host, 200, false},
		{"host with a slash", "GET /x HTTP/1.1\r\nHost: a/b\r\n", 400, true},
		{"host with user", "GET /x HTTP/1.1\r\nHost: u@a\r\n", 400, true},
		{"host with an escape", "GET /x HTTP/1.1\r\nHost: a%0d\r\n", 400, false},
		{"host with quotes", "GET /x HTTP/1.1\r\nHost: a\"b\r\n", 400, true},
		{"empty host", "GET /x HTTP/1.1\r\nHost: \r\n", 400, false},
		{"host of IPv6", "GET /x HTTP/1.1\r\nHost: [::1]:8881\r\n", 200, false},
		{"long target", "GET /" + strings.Repeat("x", 8192) + " HTTP/1.1" + host, 414, false},
		{"target just short enough", "GET /" + strings.Repeat("x", 8191) + " HTTP/1.1" + host, 200, false},
		{"many fields", "GET /x HTTP/1.1" + host + strings.Repeat("X-A: b\r\n", 101), 431, false},
		{"traversal", "GET /../etc/passwd HTTP/1.1" + host, 400, false},
		{"escaped traversal", "GET /%2e%2e/etc/passwd HTTP/1.1" + host, 400, false},
		{"escaped NUL", "GET /%00 HTTP/1.1" + host, 400, false},
		{"no such path", "GET /absent HTTP/1.1" + host, 404, false},
		{"circle", "GET /x HTTP/1.1" + host + "Via: 1.0 far, HTTP/1.1 ME-1 (comment)\r\n", 508, false},
		{"two hops", "GET /x HTTP/1.1" + host + "Via: 1.0 far\r\nVia: 1.1 me-12, 1.1\r\n", 200, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			asked = 0
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
			_, err = io.WriteString(conn, test.request+"\r\n")
			require.NoError(t, err)
			in := bufio.NewReader(conn)
			method, _, _ := strings.Cut(test.request, " ")
			resp, err := http.ReadResponse(in, &http.Request{Method: method})
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, test.status, resp.StatusCode)
			assert.Equal(t, test.closes, resp.Close)
			if test.status == 200 {
				assert.Equal(t, 1, asked)
				return
			}
			assert.Zero(t, asked)
			if method != "HEAD" {
				assert.NotEmpty(t, body)
			}
			if method != "HEAD" && resp.Header.Get("Cache-Control") != "" { // else net/http refused it
				assert.EqualValues(t, len(body), resp.ContentLength)
			}
			if test.status == 405 {
				assert.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
			}
			if test.closes {
				rest, err := io.ReadAll(in)
				assert.NoError(t, err)
				assert.Empty(t, rest, "what follows is not answered")
			}
		})
	}
}

// TestGuardHTTP2: what two readers could understand differently is refused there too.
func TestGuardHTTP2(t *testing.T) {
	tests := []struct {
		name, method string
		header       http.Header
		status       int
	}{
		{"plain", "GET", nil, 200},
		{"Host like :authority", "GET", http.Header{"Host": {"Proxy.example.org"}}, 200},
		{"another Host", "GET", http.Header{"Host": {"evil.example.org"}}, 400},
		{"two Hosts", "GET", http.Header{"Host": {"proxy.example.org", "proxy.example.org"}}, 400},
		{"a length", "PUT", http.Header{"Content-Length": {"0"}}, 200},
		{"no length", "PUT", http.Header{"Content-Length": {"+5"}}, 400},
		{"an empty length", "PUT", http.Header{"Content-Length": {""}}, 400},
		{"two lengths", "PUT", http.Header{"Content-Length": {"5", "5"}}, 400},
		{"lower case", "get", nil, 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/a", nil)
			r.Method, r.ProtoMajor, r.ProtoMinor, r.Host, r.Header = tt.method, 2, 0, "proxy.example.org", tt.header
			w := httptest.NewRecorder()
			relaying(answer("hello", nil)).ServeHTTP(w, r)
			assert.Equal(t, tt.status, w.Code)
		})
	}
}

func TestValidHost(t *testing.T) {
	for host, want := range map[string]bool{
		"a": true, "a.b-c_d.example.org": true, "a:80": true, "a:": true, "1.2.3.4:8881": true, "[::1]": true, "[fe80::1]:80": true, "[::ffff:1.2.3.4]": true,
		"": false, ":80": false, "a:b": false, "a:1:2": false, "a:123456": false, "[::1": false, "[]": false, "[::1]x": false, "[::1]80": false, "[fe80::1%25eth0]": false,
		"a b": false, "a\x00": false, "é": false, "a,b": false, "a<b": false, strings.Repeat("a", 300): false,
	} {
		assert.Equal(t, want, validHost(host), fmt.Sprintf("%q", host))
	}
}

func FuzzGuardFields(f *testing.F) {
	f.Add("1.1 me, 1.0 b (c)", "[::1]:80", `W/"a", "b", *`)
	f.Fuzz(func(t *testing.T, via, host, tags string) {
		loops([]string{via}, "me")
		if validHost(host) {
			assert.NotContains(t, host, "/")
			assert.NotContains(t, host, "@")
		}
		matches([]string{tags}, `"b"`, weakEqual)
	})
}
