package upstream

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// carried is a request that is passed through.
func carried(method, target, body string, fields ...string) *exchange.Request {
	req := request(target)
	req.Head = method == http.MethodHead
	req.Wire = &exchange.Wire{Method: method}
	if body != "" {
		req.Wire.Body, req.Wire.Length = strings.NewReader(body), int64(len(body))
	}
	req.Header = http.Header{}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

func TestForwardPassesBothWays(t *testing.T) {
	var seen *http.Request
	var content string
	s := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen, content = r, string(b)
		h := w.Header()
		h.Set("Set-Cookie", "a=b")
		h.Set("Location", "http://169.254.169.254/")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Connection", "close, X-Hop")
		h.Set("X-Hop", "1")
		h.Set("X-Accel-Redirect", "/secret")
		h["X_sendfile"] = []string{"/secret"}
		h["Date"] = nil
		w.WriteHeader(302)
		io.WriteString(w, "there")
	})
	o := Options{Mirrors: mirrors(t, s.URL), Via: "me", UserAgent: "cache-proxy/1"}
	o.Mirrors[0].Header = map[string]string{"X-Api-Key": "ours"}
	g := join(t, o)
	resp, body := get(t, g, carried("PATCH", "/a?b=c", "text", "Authorization", "mine", "Cookie", "c=d", "Via", "1.0 x", "X-Rewrite-URL", "/p", "X-Api-Key", "theirs"))
	assert.Equal(t, 302, resp.Entry.Status, "a redirect is the client's to follow")
	assert.Equal(t, "there", body)
	e := resp.Entry
	for _, name := range []string{"Connection", "X-Hop", "X-Accel-Redirect", "X_sendfile", "Content-Length"} {
		assert.NotContains(t, e.Header, name)
	}
	for _, name := range []string{"Set-Cookie", "Location", "Access-Control-Allow-Origin"} {
		assert.Contains(t, e.Header, name)
	}
	assert.Equal(t, e.Received.UTC().Format(http.TimeFormat), e.Header.Get("Date"), "RFC 9110 §6.6.1")
	assert.False(t, e.Requested.After(e.Received))

	assert.Equal(t, "PATCH", seen.Method)
	assert.Equal(t, "/a?b=c", seen.RequestURI)
	assert.Equal(t, "text", content)
	assert.EqualValues(t, 4, seen.ContentLength)
	assert.Equal(t, "mine", seen.Header.Get("Authorization"))
	assert.Equal(t, "c=d", seen.Header.Get("Cookie"))
	assert.Equal(t, []string{"1.0 x", "1.1 me"}, seen.Header["Via"])
	assert.Equal(t, "ours", seen.Header.Get("X-Api-Key"), "the operator's goes before")
	for _, name := range []string{"X-Rewrite-Url", "User-Agent", "Accept-Encoding"} {
		assert.NotContains(t, seen.Header, name)
	}
}

func TestForwardAsksOneAtATime(t *testing.T) {
	var first, second atomic.Int32
	count := func(n *atomic.Int32, h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { n.Add(1); h(w, r) }
	}
	slow := origin(t, count(&first, late(400*time.Millisecond, says(503, "busy"))))
	other := origin(t, count(&second, says(200, "good")))
	g := join(t, Options{Mirrors: mirrors(t, slow.URL, other.URL)})
	resp, body := get(t, g, carried("GET", "/a", ""))
	assert.Equal(t, 503, resp.Entry.Status, "an answer is an answer")
	assert.Equal(t, "busy", body)
	assert.EqualValues(t, 1, first.Load())
	assert.Zero(t, second.Load(), "no hedge")

	tests := []struct {
		name         string
		method, body string
		again        bool
	}{
		{"a GET", "GET", "", true},
		{"a PUT without a body", "PUT", "", true},
		{"a PUT whose body may be gone", "PUT", "text", false},
		{"a POST", "POST", "", false},
		{"what nobody knows", "M-SEARCH", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			second.Store(0)
			g := join(t, Options{Mirrors: mirrors(t, refusing(t), other.URL)})
			if !tt.again {
				assert.Equal(t, http.StatusBadGateway, failure(t, g, carried(tt.method, "/a", tt.body)).Status)
				assert.Zero(t, second.Load())
				return
			}
			_, body := get(t, g, carried(tt.method, "/a", tt.body))
			assert.Equal(t, "good", body)
		})
	}
}

func TestForwardTimesOut(t *testing.T) {
	s := origin(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else nobody notices that the connection has ended
		silent(w, r)
	})
	g := join(t, Options{Mirrors: mirrors(t, s.URL), Limits: Limits{Header: 20 * time.Millisecond}})
	assert.Equal(t, http.StatusGatewayTimeout, failure(t, g, carried("GET", "/a", "")).Status)
	assert.Equal(t, http.StatusGatewayTimeout, failure(t, g, carried("POST", "/a", "text")).Status, "once the body is there")
}

// TestHeadTime: the time for a head begins with the end of the body, and ends with the head.
func TestHeadTime(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			spent := false
			p := headTime{limit: time.Second, spent: func() { spent = true }}
			pr, pw := io.Pipe()
			body := &awaited{ReadCloser: pr, ended: p.begin}
			go func() {
				io.WriteString(pw, "a")
				time.Sleep(time.Hour)
				pw.Close()
			}()
			_, err := io.ReadFull(body, make([]byte, 1))
			assert.NoError(t, err)
			time.Sleep(time.Minute)
			assert.False(t, spent, "a body takes what it takes")
			if early {
				p.end()
			}
			_, err = io.ReadAll(body)
			assert.NoError(t, err)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			assert.Equal(t, !early, spent)
			p.end()
		})
	}
}

// TestForwardSpoiled: a client whose body does not come is no fault of the mirror's.
func TestForwardSpoiled(t *testing.T) {
	s := origin(t, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	for cause, status := range map[error]int{io.ErrUnexpectedEOF: 400, os.ErrDeadlineExceeded: 408} {
		g := join(t, Options{Mirrors: mirrors(t, s.URL)})
		for range sick {
			req := carried("POST", "/a", "")
			req.Wire.Body, req.Wire.Length = io.MultiReader(strings.NewReader("some"), iotest.ErrReader(cause)), -1
			assert.Equal(t, status, failure(t, g, req).Status)
		}
		assert.Zero(t, g.Stats().Mirrors[0].Failed)
	}
}

func TestForwardInterim(t *testing.T) {
	base := raw(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Hop: 1\r\nConnection: X-Hop\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	g := join(t, Options{Mirrors: mirrors(t, base)})
	req := carried("GET", "/a", "")
	var statuses []int
	var hints http.Header
	req.Wire.Interim = func(status int, h http.Header) {
		if statuses = append(statuses, status); status == http.StatusEarlyHints {
			hints = h
		}
	}
	resp, body := get(t, g, req)
	assert.Equal(t, 200, resp.Entry.Status)
	assert.Equal(t, "ok", body)
	assert.Equal(t, []int{103, 102}, statuses)
	assert.Equal(t, http.Header{"Link": {"</a>"}}, hints)
}

func TestForwardBodies(t *testing.T) {
	tests := []struct {
		name, method, answer string
		size                 int64
		body                 string
		unproven             bool
	}{
		{"with a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 2, "ok", false},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", -1, "ok", false},
		{"to the connection's end", "GET", "HTTP/1.1 200 OK\r\n\r\nok", -1, "ok", true},
		{"of a HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 2, "", false},
		{"of a 204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 0, "", false},
		{"of a 304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 0, "", false},
		{"of an odd status", "GET", "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok", 2, "ok", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := join(t, Options{Mirrors: mirrors(t, raw(t, tt.answer))})
			resp, body := get(t, g, carried(tt.method, "/a", ""))
			assert.Equal(t, tt.size, resp.Entry.Size)
			assert.Equal(t, tt.body, body)
			assert.Equal(t, tt.unproven, resp.Unproven)
		})
	}
	for name, answer := range map[string]string{
		"of no status":            "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
		"behind too many interim": strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 2*maxInterim) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"of other protocols":      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			g := join(t, Options{Mirrors: mirrors(t, raw(t, answer))})
			assert.Equal(t, http.StatusBadGateway, failure(t, g, carried("GET", "/a", "")).Status)
		})
	}
	t.Run("cut", func(t *testing.T) {
		g := join(t, Options{Mirrors: mirrors(t, raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"))})
		resp, err := g.Get(t.Context(), carried("GET", "/a", ""))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	t.Run("who may have it is not known", func(t *testing.T) {
		for _, name := range []string{"cache-control", "Vary", "Set-Cookie", "X-Hop"} {
			g := join(t, Options{Mirrors: mirrors(t, raw(t, "HTTP/1.1 200 OK\r\nConnection: "+name+"\r\nCache-Control: private\r\nContent-Length: 0\r\n\r\n"))})
			resp, _ := get(t, g, carried("GET", "/a", ""))
			assert.Equal(t, name != "X-Hop", resp.NoStore, name)
		}
	})
	t.Run("large header", func(t *testing.T) {
		g := join(t, Options{Mirrors: mirrors(t, raw(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", maxStored)+"\r\nContent-Length: 0\r\n\r\n"))})
		resp, _ := get(t, g, carried("GET", "/a", ""))
		assert.True(t, resp.NoStore, "passes, and is not stored")
	})
}

func TestForwardCallerGivesUp(t *testing.T) {
	s := origin(t, silent)
	g := join(t, Options{Mirrors: mirrors(t, s.URL, s.URL)})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := g.Get(ctx, carried("GET", "/a", ""))
	assert.ErrorIs(t, err, context.Canceled)
}
