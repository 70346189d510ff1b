package edge

import (
	"bufio"
	"context"
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
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// carrier is a hub whose requests pass as they are.
type carrier struct{ tree }

func (h carrier) Carry(r *http.Request, w *exchange.Wire) (*exchange.Request, error) {
	req, err := h.Parse(r)
	if err == nil {
		req.Wire, req.Policy.Class, req.Header = w, freshness.Transparent, r.Header
	}
	return req, err
}

func relaying(source exchange.Source) http.Handler {
	return New(Options{Hub: carrier{}, Source: source, Via: "me-1", Now: func() time.Time { return now }})
}

func TestRelay(t *testing.T) {
	made := now.Add(-90 * time.Second).Format(http.TimeFormat)
	stored := func(r *exchange.Response) {
		r.Entry.Header = http.Header{
			"Etag": {etag}, "Last-Modified": {modified}, "Content-Type": {"text/html"}, "Cache-Control": {"max-age=600"},
			"Date": {r.Entry.Received.Format(http.TimeFormat)}, "Cdn-Cache-Control": {"max-age=600"}, "Expires": {"Sun, 06 Nov 2044 08:49:38 GMT"},
			"Set-Cookie": {"a=b"}, "Via": {"1.0 x"}, "Cache-Status": {"origin; hit"}, "Age": {"10"}, "X-Sendfile": {"/etc"},
		}
		r.Outcome = exchange.Outcome{Hit: true, TTL: time.Minute, HasTTL: true}
	}
	verbatim := func(r *exchange.Response) {
		stored(r)
		r.Verbatim, r.Outcome = true, exchange.Outcome{Fwd: exchange.FwdURIMiss}
	}
	young := func(r *exchange.Response) { // RFC 9110 §8.8.2.2
		stored(r)
		r.Entry.Header["Last-Modified"] = []string{made}
	}
	status := func(n int, change func(*exchange.Response)) func(*exchange.Response) {
		return func(r *exchange.Response) { change(r); r.Entry.Status = n }
	}
	tests := []struct {
		name    string
		change  func(*exchange.Response)
		method  string
		request []string
		status  int
		body    string
		age     string
	}{
		{"from the store", stored, "GET", nil, 200, "hello", "100"},
		{"its head", stored, "HEAD", nil, 200, "", "100"},
		{"the same tag", stored, "GET", []string{"If-None-Match", "W/" + etag}, 304, "", "100"},
		{"not modified since", stored, "GET", []string{"If-Modified-Since", "Mon, 07 Nov 1994 08:49:37 GMT"}, 304, "", "100"},
		{"the origin's to judge", stored, "GET", []string{"If-Match", `"x"`}, 200, "hello", "100"},
		{"a range", stored, "GET", []string{"Range", "bytes=1-3"}, 206, "ell", "100"},
		{"a range of the same", stored, "GET", []string{"Range", "bytes=1-3", "If-Range", etag}, 206, "ell", "100"},
		{"a range of another", stored, "GET", []string{"Range", "bytes=1-3", "If-Range", `"x"`}, 200, "hello", "100"},
		{"a range of the same date", stored, "GET", []string{"Range", "bytes=1-3", "If-Range", modified}, 206, "ell", "100"},
		{"a date that says little", young, "GET", []string{"Range", "bytes=1-3", "If-Range", made}, 200, "hello", "100"},
		{"no such range", stored, "GET", []string{"Range", "bytes=9-"}, 416, "Requested Range Not Satisfiable\n", "100"},
		{"ranges are GET's", stored, "HEAD", []string{"Range", "bytes=1-3"}, 200, "", "100"},
		{"conditions are a 200's", status(404, stored), "GET", []string{"If-None-Match", etag, "Range", "bytes=1-3"}, 404, "hello", "100"},
		{"from the origin", verbatim, "GET", []string{"If-None-Match", etag, "Range", "bytes=1-3"}, 200, "hello", "10"},
		{"an odd status", status(999, verbatim), "M-SEARCH", nil, 999, "hello", "10"},
		{"no content", status(204, verbatim), "DELETE", nil, 204, "", "10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := get(relaying(answer("hello", tt.change)), tt.method, "/a", tt.request...)
			assert.Equal(t, tt.status, resp.StatusCode)
			assert.Equal(t, tt.body, read(t, resp))
			assert.Equal(t, tt.age, resp.Header.Get("Age"))
			h := resp.Header
			assert.Equal(t, "1.0 x, 1.1 me-1", h.Get("Via"))
			assert.Regexp(t, `^origin; hit, cache-proxy; (hit; ttl=60|fwd=uri-miss)$`, h.Get("Cache-Status"))
			assert.NotContains(t, h, "X-Sendfile")
			for _, name := range []string{"X-Cache", "X-Content-Type-Options", "Content-Security-Policy"} {
				if tt.status != 416 {
					assert.NotContains(t, h, name, "nothing of ours is added")
				}
			}
			if tt.status == 416 { // no cache before us is to keep it in the content's place
				assert.Equal(t, "no-store", h.Get("Cache-Control"))
				assert.NotContains(t, h, "Cdn-Cache-Control")
				assert.NotContains(t, h, "Expires")
			} else {
				assert.Equal(t, "max-age=600", h.Get("Cache-Control"))
				assert.Equal(t, "a=b", h.Get("Set-Cookie"))
				assert.Equal(t, etag, h.Get("Etag"))
			}
		})
	}
}

func TestRelayGuard(t *testing.T) {
	source := answer("hello", nil)
	for _, method := range []string{"CONNECT", "TRACE"} {
		r := httptest.NewRequest("GET", "/a", nil)
		r.Method = method
		w := httptest.NewRecorder()
		relaying(source).ServeHTTP(w, r)
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
	}
	r := httptest.NewRequest("GET", "/a", strings.NewReader("body"))
	w := httptest.NewRecorder()
	relaying(source).ServeHTTP(w, r)
	assert.Equal(t, http.StatusBadRequest, w.Code, "B15: a body with GET")
}

// TestRelayUpload: a body goes on as it comes, and is not waited for as a whole.
func TestRelayUpload(t *testing.T) {
	first := make(chan string)
	s := httptest.NewServer(relaying(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		assert.EqualValues(t, -1, req.Wire.Length)
		assert.Equal(t, "PUT", req.Wire.Method)
		b := make([]byte, 5)
		_, err := io.ReadFull(req.Wire.Body, b)
		assert.NoError(t, err)
		first <- string(b)
		rest, err := io.ReadAll(req.Wire.Body)
		assert.NoError(t, err)
		return answer(string(rest), func(r *exchange.Response) { r.Verbatim = true })(ctx, req)
	})))
	defer s.Close()
	pr, pw := io.Pipe()
	r, err := http.NewRequest("PUT", s.URL+"/a", pr)
	require.NoError(t, err)
	go func() {
		pw.Write([]byte("first"))
		assert.Equal(t, "first", <-first)
		pw.Write([]byte("second"))
		pw.Close()
	}()
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, "second", read(t, resp))
	assert.True(t, resp.Close, "what follows a chunked body may be a request in disguise")
}

// TestRelayInterim: responses 1xx go to those who know them, and never after the final one.
func TestRelayInterim(t *testing.T) {
	late := make(chan func(int, http.Header), 2)
	s := httptest.NewServer(relaying(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		send := req.Wire.Interim
		send(103, http.Header{"Link": {"</a>"}})
		send(100, nil)
		send(101, nil)
		late <- send
		return answer("hello", func(r *exchange.Response) { r.Verbatim = true })(ctx, req)
	})))
	defer s.Close()
	for proto, want := range map[string]string{
		"1.1": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n",
		"1.0": "HTTP/1.0 200 OK\r\n",
	} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		io.WriteString(c, "GET /a HTTP/"+proto+"\r\nHost: x\r\nConnection: close\r\n\r\n")
		all, err := io.ReadAll(bufio.NewReader(c))
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(all), want), "%s", all)
		assert.Equal(t, proto == "1.1", strings.Contains(string(all), "Link"), "and only there")
		(<-late)(103, http.Header{"Link": {"</b>"}}) // too late: nothing happens
	}
}

// TestRelayUploadEnds: who reads an upload may go on behind the answer, as net/http's
// transport does where an origin answers early; nothing of the request is touched then.
func TestRelayUploadEnds(t *testing.T) {
	for _, proto := range []int{1, 2} {
		ended := make(chan any, 1)
		s := httptest.NewUnstartedServer(New(Options{Hub: carrier{}, WriteTimeout: time.Minute, Source: exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			go func() {
				defer func() { ended <- recover() }()
				_, _ = io.Copy(io.Discard, req.Wire.Body)
			}()
			return answer("early", func(r *exchange.Response) { r.Verbatim = true })(ctx, req)
		})}))
		s.EnableHTTP2 = proto == 2
		s.StartTLS()
		defer s.Close()
		pr, pw := io.Pipe()
		defer pw.Close()
		r, err := http.NewRequest("PUT", s.URL+"/a", pr)
		require.NoError(t, err)
		resp, err := s.Client().Do(r)
		require.NoError(t, err)
		assert.Equal(t, proto, resp.ProtoMajor)
		assert.Equal(t, "early", read(t, resp))
		resp.Body.Close()
		assert.Nil(t, <-ended, "HTTP/%d", proto)
	}
}
