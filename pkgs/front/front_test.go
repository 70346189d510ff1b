package front_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// A daemon is net/http behind a Front on loopback.
type daemon struct {
	*front.Front
	server  *http.Server
	addr    string
	handled atomic.Int64 // requests that came through
}

// serve runs h, which may be nil, until the end of the test.
func serve(t *testing.T, o front.Options, h http.HandlerFunc) *daemon {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return serveOn(t, l, o, h)
}

func serveOn(t *testing.T, l net.Listener, o front.Options, h http.HandlerFunc) *daemon {
	t.Helper()
	d := &daemon{Front: front.New(o), addr: l.Addr().String()}
	d.server = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d.handled.Add(1)
			if h != nil {
				h(w, r)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, "%s %s %d", r.Method, r.RequestURI, len(body))
		}),
	}
	d.Prepare(d.server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.server.Serve(d.Listener(l))
	}()
	t.Cleanup(func() {
		d.server.Close()
		<-done
	})
	return d
}

func (d *daemon) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", d.addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c, bufio.NewReader(c)
}

// answer reads one response with its body.
func answer(t *testing.T, in *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

const host = "\r\nHost: proxy.example.org\r\n"

// Every request is followed by a good one, which must not be answered where the
// first is refused (B3, B5, B6, B14, B15, B23).
func TestRefusals(t *testing.T) {
	d := serve(t, front.Options{}, nil)
	const smuggled = "GET /smuggled HTTP/1.1" + host + "\r\n"
	tests := []struct {
		name, request string
		status        int
		counter       string // "" if it passes
	}{
		{"GET", "GET /x HTTP/1.1" + host + "\r\n", 200, ""},
		{"HEAD", "HEAD /x HTTP/1.1" + host + "\r\n", 200, ""},
		{"empty line before", "\r\nGET /x HTTP/1.1" + host + "\r\n", 200, ""},
		{"two empty lines before", "\r\n\r\nGET /x HTTP/1.1" + host + "\r\n", 400, "request-line"},
		{"LF before", "\nGET /x HTTP/1.1" + host + "\r\n", 400, "bare-lf"},
		{"query", "GET /x?a=%zz&b=/../ HTTP/1.1" + host + "\r\n", 200, ""},
		{"length of nothing", "GET /x HTTP/1.1" + host + "Content-Length: 0\r\n\r\n", 200, ""},
		{"POST", "POST /x HTTP/1.1" + host + "Content-Length: 5\r\n\r\nhello", 200, ""},
		{"POST in chunks", "POST /x HTTP/1.1" + host + "Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\n", 200, ""},
		{"other method", "PROPFIND /x HTTP/1.1" + host + "\r\n", 200, ""},
		{"OPTIONS *", "OPTIONS * HTTP/1.1" + host + "\r\n", 200, ""},
		{"absolute target, own host", "GET http://proxy.example.org/x HTTP/1.1" + host + "\r\n", 200, ""},
		{"Host with port", "GET /x HTTP/1.1\r\nHost: [::1]:8881\r\n\r\n", 200, ""},
		{"obs-text", "GET /x HTTP/1.1" + host + "User-Agent: caf\xe9\r\n\r\n", 200, ""},

		// B14
		{"CL and TE", "POST /x HTTP/1.1" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "smuggling"},
		{"TE and CL", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400, "smuggling"},
		{"two lengths", "POST /x HTTP/1.1" + host + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400, "content-length"},
		{"two equal lengths", "POST /x HTTP/1.1" + host + "Content-Length: 4\r\ncontent-length: 4\r\n\r\nabcd", 400, "content-length"},
		{"list of lengths", "POST /x HTTP/1.1" + host + "Content-Length: 4, 4\r\n\r\nabcd", 400, "content-length"},
		{"+4", "POST /x HTTP/1.1" + host + "Content-Length: +4\r\n\r\nabcd", 400, "content-length"},
		{"-4", "POST /x HTTP/1.1" + host + "Content-Length: -4\r\n\r\nabcd", 400, "content-length"},
		{"0x4", "POST /x HTTP/1.1" + host + "Content-Length: 0x4\r\n\r\nabcd", 400, "content-length"},
		{"4 in other digits", "POST /x HTTP/1.1" + host + "Content-Length: \xd9\xa4\r\n\r\nabcd", 400, "content-length"},
		{"no length", "POST /x HTTP/1.1" + host + "Content-Length:\r\n\r\nabcd", 400, "content-length"},
		{"huge length", "POST /x HTTP/1.1" + host + "Content-Length: 9223372036854775808\r\n\r\nabcd", 400, "content-length"},
		{"TE list", "POST /x HTTP/1.1" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "transfer-encoding"},
		{"TE twice", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer-encoding"},
		{"TE identity", "POST /x HTTP/1.1" + host + "Transfer-Encoding: identity\r\n\r\n", 400, "transfer-encoding"},
		{"TE with VT", "POST /x HTTP/1.1" + host + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", 400, "field"},
		{"TE quoted", "POST /x HTTP/1.1" + host + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400, "transfer-encoding"},
		{"TE of HTTP/1.0", "POST /x HTTP/1.0" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer-encoding"},
		{"folded", "GET /x HTTP/1.1" + host + "X-A: b\r\n c\r\n\r\n", 400, "field-folded"},
		{"folded first", "GET /x HTTP/1.1\r\n Host: x\r\n\r\n", 400, "field-folded"},
		{"folded TE", "POST /x HTTP/1.1" + host + "Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n", 400, "transfer-encoding"},
		{"LF after request line", "GET /x HTTP/1.1\nHost: x\r\n\r\n", 400, "bare-lf"},
		{"LF after field", "GET /x HTTP/1.1" + host + "X-A: b\n\r\n", 400, "bare-lf"},
		{"LF at the end", "GET /x HTTP/1.1" + host + "\n", 400, "bare-lf"},
		{"CR in a value", "GET /x HTTP/1.1" + host + "X-A: b\rX-B: c\r\n\r\n", 400, "field"},
		{"CR CR LF", "GET /x HTTP/1.1" + host + "X-A: b\r\r\n\r\n", 400, "field"},
		{"Host :", "GET /x HTTP/1.1\r\nHost : x\r\n\r\n", 400, "field"},
		{"TE :", "POST /x HTTP/1.1" + host + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "field"},
		{"no colon", "GET /x HTTP/1.1" + host + "X-A\r\n\r\n", 400, "field"},
		{"no name", "GET /x HTTP/1.1" + host + ": b\r\n\r\n", 400, "field"},
		{"name in brackets", "GET /x HTTP/1.1" + host + "X(A): b\r\n\r\n", 400, "field"},

		// Chunks: the response is the handler's, but nothing follows it.
		{"chunk +5", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"chunk 0x5", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"chunk with a blank", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"chunk without a size", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n;a\r\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"chunk of 2^64", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"chunk with LF", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"chunk too long", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n", 400, "chunk"},
		{"chunk, then LF", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", 400, "chunk"},
		{"extension with LF", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"long extension", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", 400, "chunk"},
		{"many extensions", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 50) + "0\r\n\r\n", 400, "chunk"},
		{"trailer with LF", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\n\r\n", 400, "trailer"},
		{"trailer of framing", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400, "trailer"},
		{"long trailer", "POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("X-A: b\r\n", 1000) + "\r\n", 400, "trailer"},

		// B15
		{"body of GET", "GET /x HTTP/1.1" + host + "Content-Length: 5\r\n\r\nhello", 400, "body"},
		{"chunked body of GET", "GET /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "body"},
		{"body of HEAD", "HEAD /x HTTP/1.1" + host + "Content-Length: 5\r\n\r\nhello", 400, "body"},

		// B3
		{"NUL in the path", "GET /\x00 HTTP/1.1" + host + "\r\n", 400, "target"},
		{"CR in the path", "GET /a\rb HTTP/1.1" + host + "\r\n", 400, "target"},
		{"TAB in the path", "GET /a\tb HTTP/1.1" + host + "\r\n", 400, "target"},
		{"DEL in the query", "GET /?\x7f HTTP/1.1" + host + "\r\n", 400, "target"},
		{"bad UTF-8 in the path", "GET /\xff HTTP/1.1" + host + "\r\n", 400, "target"},
		{"fragment", "GET /a#b HTTP/1.1" + host + "\r\n", 400, "target"},
		{"escaped NUL", "GET /%00 HTTP/1.1" + host + "\r\n", 400, "target-escape"},
		{"escaped CR LF", "GET /%0d%0aX:y HTTP/1.1" + host + "\r\n", 400, "target-escape"},
		{"escaped DEL", "GET /%7F HTTP/1.1" + host + "\r\n", 400, "target-escape"},
		{"no escape", "GET /%zz HTTP/1.1" + host + "\r\n", 400, "target-escape"},
		{"half an escape", "GET /%2 HTTP/1.1" + host + "\r\n", 400, "target-escape"},
		{"NUL in a value", "GET /x HTTP/1.1" + host + "X-A: \x00\r\n\r\n", 400, "field"},
		{"ESC in a value", "GET /x HTTP/1.1" + host + "X-A: \x1b[31m\r\n\r\n", 400, "field"},
		{"NUL in a name", "GET /x HTTP/1.1" + host + "X\x00: b\r\n\r\n", 400, "field"},
		{"another expectation", "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 0\r\n\r\n", 417, "expect"},
		{"no Host", "GET /x HTTP/1.1\r\nX-A: b\r\n\r\n", 400, "host"},
		{"two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "host"},
		{"empty Host", "GET /x HTTP/1.1\r\nHost:\r\n\r\n", 400, "host"},
		{"Host with a user", "GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "host"},
		{"Host with a path", "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "host"},
		{"Host with a list", "GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "host"},
		{"Host in UTF-8", "GET /x HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400, "host"},
		{"Host with an escape", "GET /x HTTP/1.1\r\nHost: a%00\r\n\r\n", 400, "host"},

		// B5
		{"absolute target", "GET http://evil.example.org/x HTTP/1.1" + host + "\r\n", 400, "target-foreign"},
		{"absolute target with a user", "GET http://proxy.example.org@evil.example.org/ HTTP/1.1" + host + "\r\n", 400, "target-foreign"},
		{"absolute target with a port", "GET http://proxy.example.org:81/ HTTP/1.1" + host + "\r\n", 400, "target-foreign"},
		{"absolute target of HTTP/1.0", "GET http://evil.example.org/x HTTP/1.0\r\n\r\n", 400, "target-foreign"},
		{"other scheme", "GET file:///etc/passwd HTTP/1.1" + host + "\r\n", 400, "target"},
		{"no authority", "GET http:///x HTTP/1.1" + host + "\r\n", 400, "target"},
		{"no slash", "GET x HTTP/1.1" + host + "\r\n", 400, "target"},
		{"asterisk", "GET * HTTP/1.1" + host + "\r\n", 400, "target"},

		// B6
		{"CONNECT", "CONNECT evil.example.org:443 HTTP/1.1" + host + "\r\n", 405, "method"},
		{"TRACE", "TRACE /x HTTP/1.1" + host + "\r\n", 405, "method"},
		{"PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, "method"},
		{"lower case", "get /x HTTP/1.1" + host + "\r\n", 405, "method"},
		{"no method", " /x HTTP/1.1" + host + "\r\n", 400, "request-line"},
		{"method in brackets", "G(T /x HTTP/1.1" + host + "\r\n", 400, "request-line"},
		{"long method", strings.Repeat("G", 33) + " /x HTTP/1.1" + host + "\r\n", 400, "request-line"},

		{"HTTP/0.9", "GET /x\r\n", 400, "request-line"},
		{"HTTP/2.0", "GET /x HTTP/2.0" + host + "\r\n", 505, "version"},
		{"HTTP/1.2", "GET /x HTTP/1.2" + host + "\r\n", 505, "version"},
		{"http/1.1", "GET /x http/1.1" + host + "\r\n", 400, "request-line"},
		{"two blanks", "GET  /x HTTP/1.1" + host + "\r\n", 400, "request-line"},
		{"blank at the end", "GET /x HTTP/1.1 " + host + "\r\n", 400, "request-line"},
		{"blank in the target", "GET /x y HTTP/1.1" + host + "\r\n", 400, "request-line"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "request-line"},

		// B23
		{"longest target", "GET /" + strings.Repeat("x", 8191) + " HTTP/1.1" + host + "\r\n", 200, ""},
		{"long target", "GET /" + strings.Repeat("x", 8192) + " HTTP/1.1" + host + "\r\n", 414, "target-long"},
		{"endless target", "GET /" + strings.Repeat("x", 100_000), 414, "target-long"},
		{"endless method", strings.Repeat("x", 100_000), 400, "request-line"},
		{"most fields", "GET /x HTTP/1.1" + host + strings.Repeat("X-A: b\r\n", 99) + "\r\n", 200, ""},
		{"many fields", "GET /x HTTP/1.1" + host + strings.Repeat("X-A: b\r\n", 100) + "\r\n", 431, "fields-many"},
		{"large fields", "GET /x HTTP/1.1" + host + strings.Repeat("X-A: "+strings.Repeat("b", 8000)+"\r\n", 9) + "\r\n", 431, "fields-large"},
		{"endless field", "GET /x HTTP/1.1" + host + "X-A: " + strings.Repeat("b", 100_000), 431, "fields-large"},
		{"large, but not too large", "GET /x HTTP/1.1" + host + strings.Repeat("X-A: "+strings.Repeat("b", 8000)+"\r\n", 8) + "\r\n", 200, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before, handled := d.Stats(), d.handled.Load()
			c, in := d.dial(t)
			go io.WriteString(c, test.request+smuggled)
			method, _, _ := strings.Cut(strings.TrimSpace(test.request), " ")
			resp, body := answer(t, in, method)
			assert.Equal(t, test.status, resp.StatusCode)
			if test.counter == "" {
				resp, body := answer(t, in, "GET")
				assert.Equal(t, "GET /smuggled 0", body, "the connection goes on")
				assert.Equal(t, 200, resp.StatusCode)
				assert.Equal(t, before, d.Stats())
				return
			}
			if method != "HEAD" {
				assert.NotEmpty(t, body)
			}
			rest, err := io.ReadAll(in)
			assert.NoError(t, err, "no reset, which could overtake the answer")
			assert.Empty(t, string(rest), "what follows is not answered")
			before[test.counter]++
			assert.Equal(t, before, d.Stats())
			if test.counter != "chunk" && test.counter != "trailer" {
				assert.True(t, resp.Close)
				assert.Equal(t, handled, d.handled.Load())
			}
			if test.status == 405 {
				assert.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
			}
		})
	}
	for _, name := range front.Reasons() {
		if name != "head-timeout" {
			assert.NotZero(t, d.Stats()[name], "no case for %q", name)
		}
	}
}
