package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
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

// A talker is a hub with one path to post to, and errors in JSON.
type talker struct{ tree }

func (h talker) Post(r *http.Request, body []byte) (*exchange.Request, error) {
	if r.URL.Path != "/audit" {
		return nil, fmt.Errorf("path: %w", fs.ErrNotExist)
	}
	return h.Parse(r)
}

func (talker) Refusal(status int, message string) (string, []byte) {
	text, _ := json.Marshal(map[string]any{"code": status, "message": message})
	return "application/json", text
}

// echo answers with what was posted.
func echo(seen **exchange.Request) exchange.SourceFunc {
	return func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		*seen = req
		return answer("echo "+string(req.Post), func(r *exchange.Response) { r.Body = io.NopCloser(strings.NewReader("echo " + string(req.Post))) })(ctx, req)
	}
}

func TestPost(t *testing.T) {
	var seen *exchange.Request
	s := httptest.NewServer(New(Options{Hub: talker{}, Source: echo(&seen)}))
	defer s.Close()
	var last []byte
	post := func(path string, body io.Reader) *http.Response {
		t.Helper()
		resp, err := http.Post(s.URL+path, "application/json", body)
		require.NoError(t, err)
		defer resp.Body.Close()
		last, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp
	}
	post("/audit", strings.NewReader("question"))
	assert.Equal(t, "echo question", string(last))
	assert.Equal(t, freshness.Passthrough, seen.Policy.Class, "whatever the hub says")
	assert.False(t, seen.Head)

	resp := post("/audit", struct{ io.Reader }{strings.NewReader("chunked")})
	assert.Equal(t, 200, resp.StatusCode)
	assert.True(t, resp.Close, "what follows may be a request in disguise (B14)")
	assert.Equal(t, "chunked", string(seen.Post))

	resp = post("/audit", nil)
	assert.Equal(t, 200, resp.StatusCode)
	assert.NotNil(t, seen.Post, "an empty one is still a POST")

	seen = nil
	assert.Equal(t, 405, post("/x", strings.NewReader("q")).StatusCode)
	assert.Equal(t, 413, post("/audit", bytes.NewReader(make([]byte, maxPost+1))).StatusCode)
	assert.Equal(t, 413, post("/audit", struct{ io.Reader }{bytes.NewReader(make([]byte, maxPost+1))}).StatusCode)
	assert.Nil(t, seen)
	assert.Equal(t, 200, post("/audit", bytes.NewReader(make([]byte, maxPost))).StatusCode)
}

func TestPostElsewhere(t *testing.T) {
	var seen *exchange.Request
	h := New(Options{Hub: tree{}, Source: echo(&seen)})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/audit", strings.NewReader("q")))
	assert.Equal(t, 405, w.Code)
	assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))

	h = New(Options{Hub: talker{}, Source: echo(&seen)})
	for _, method := range []string{"PUT", "DELETE", "PURGE", "post"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/audit", strings.NewReader("q")))
		assert.Equal(t, 405, w.Code, method)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/audit", strings.NewReader("q")))
	assert.Equal(t, 400, w.Code, "a GET with a body (B15)")
	assert.Nil(t, seen)
}

// TestNativeRefusals: every error speaks the ecosystem's language, with a body.
func TestNativeRefusals(t *testing.T) {
	replies := func(status int, class freshness.Class) exchange.SourceFunc {
		return func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			req.Policy.Class = class
			return answer("<html>mirror</html>", func(r *exchange.Response) {
				r.Entry.Status = status
				r.Entry.Header.Set("Content-Type", "text/html")
			})(ctx, req)
		}
	}
	for _, c := range []struct {
		name   string
		source exchange.Source
		fields [2]string
		status int
		native bool
	}{
		{"no such path", fail(fs.ErrNotExist), [2]string{}, 404, true},
		{"failure", fail(io.ErrUnexpectedEOF), [2]string{}, 502, true},
		{"refusal", fail(&exchange.Error{Status: 429, Message: "slowly"}), [2]string{}, 429, true},
		{"mirror's 404", replies(404, freshness.Mutable), [2]string{}, 404, true},
		{"mirror's 404, passed through", replies(404, freshness.Passthrough), [2]string{}, 404, false},
		{"bad range", answer("content", nil), [2]string{"Range", "bytes=100-"}, 416, true},
		{"precondition", answer("content", nil), [2]string{"If-Match", `"other"`}, 412, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				r, w := httptest.NewRequest(method, "/x", nil), httptest.NewRecorder()
				if c.fields[0] != "" {
					if method == "HEAD" && c.fields[0] == "Range" {
						continue
					}
					r.Header.Set(c.fields[0], c.fields[1])
				}
				New(Options{Hub: talker{}, Source: c.source}).ServeHTTP(w, r)
				assert.Equal(t, c.status, w.Code)
				if !c.native {
					assert.Equal(t, "text/html", w.Header().Get("Content-Type"))
					continue
				}
				assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
				assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
				if method == "HEAD" {
					assert.Empty(t, w.Body.String())
					assert.NotEqual(t, "0", w.Header().Get("Content-Length"))
					continue
				}
				var body struct{ Code int }
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), w.Body.String())
				assert.Equal(t, c.status, body.Code)
				assert.NotContains(t, w.Body.String(), "mirror")
			}
		})
	}
}

func TestNote(t *testing.T) {
	var noted []string
	h := New(Options{Hub: tree{}, Source: answer("content", nil), Note: func(_ context.Context, r *exchange.Response) {
		noted = append(noted, r.Entry.Key.Path)
	}})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/absent", nil))
	assert.Equal(t, []string{"/x"}, noted)
}

// readDeadlines is a writer that notes the deadlines of reading that are set.
type readDeadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *readDeadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// TestBodyDeadlines: a client that sends a body must send it, however it is taken (B24).
func TestBodyDeadlines(t *testing.T) {
	var seen *exchange.Request
	took := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		_, err := io.ReadAll(req.Wire.Body)
		assert.NoError(t, err)
		return answer("took", nil)(ctx, req)
	})
	for name, h := range map[string]http.Handler{
		"read whole":  New(Options{Hub: talker{}, Source: echo(&seen)}),
		"as it comes": New(Options{Hub: carrier{}, Source: took, WriteTimeout: time.Minute}),
	} {
		w := &readDeadlines{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, httptest.NewRequest("POST", "/audit", strings.NewReader("question")))
		assert.Equal(t, 200, w.Code, name)
		if assert.NotEmpty(t, w.set, name) {
			assert.WithinDuration(t, time.Now().Add(time.Minute), w.set[0], time.Second, name)
			assert.Zero(t, w.set[len(w.set)-1], "%s: the next request has its own", name)
		}
	}
}

// TestPostsAreBounded: bodies that are held at a time are so many bytes together, and
// room comes back with each that ends.
func TestPostsAreBounded(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	h := New(Options{Hub: talker{}, Source: exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		begun <- struct{}{}
		<-finish
		return answer("took", nil)(ctx, req)
	})})
	h.(*edge).maxPosts = 1000
	post := func(n int) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/audit", bytes.NewReader(make([]byte, n))))
		return w
	}
	first := make(chan int)
	go func() { first <- post(600).Code }()
	<-begun
	w := post(600)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.Equal(t, "close", w.Header().Get("Connection"))
	close(finish)
	assert.Equal(t, 200, <-first)
	go func() { <-begun }()
	assert.Equal(t, 200, post(600).Code)
	assert.Zero(t, h.(*edge).posted.Load())
}
