package http1

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// An outcome is what came of a request.
type outcome struct {
	Failed        bool
	Status        int
	Proto         string
	Header        http.Header
	Trailer       http.Header
	ContentLength int64
	Coding        []string
	Body          string
	Broken        bool // the body ended in an error
}

func ask(t *testing.T, rt http.RoundTripper, method string) (o outcome) {
	res, err := rt.RoundTrip(get(t, method))
	if err != nil {
		return outcome{Failed: true}
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols { // which is an error here
		return outcome{Failed: true}
	}
	b, err := io.ReadAll(res.Body)
	return outcome{false, res.StatusCode, res.Proto, res.Header, res.Trailer, res.ContentLength, res.TransferEncoding, string(b), err != nil}
}

// FuzzResponse: whatever an origin sends, a Client and the Transport make the same of
// it, the first time and on the connection that is kept.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		plainOK, chunked, "", "HTTP/0.0 000 \n\nabc", "\r\n", "HTTP/1.1 200 OK\r\n\r\nuntil the end", "HTTP/1.0 200\r\nContent-Length: 1\r\n\r\nxy",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 103 E\r\nLink: <a>\r\n\r\n" + plainOK,
		"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\nX-T: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 304 N\r\nContent-Length: 3\r\nEtag: \"a\"\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: a\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close, x\r\nContent-Length: 2\r\n\r\nok",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, answer string, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		base := &url.URL{Scheme: "http", Host: "a"}
		theirs := transport(nil)
		theirs.DialContext = (&origin{answers: []string{answer}}).dial
		defer theirs.CloseIdleConnections()
		first := ask(t, theirs, method)
		ours := New(base, transport(nil), (&origin{answers: []string{answer}}).dial)
		defer ours.CloseIdleConnections()
		assert.Equal(t, first, ask(t, ours, method))
		if first.Failed || first.Broken || len(answer) > 4<<10 { // what else is in a pipe cannot be looked into
			return
		}
		o := &origin{answers: []string{answer, plainOK}}
		ours = New(base, transport(nil), o.dial)
		defer ours.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // an end that only the connection's makes
		defer cancel()
		res, err := ours.RoundTrip(get(t, method).WithContext(ctx))
		if err != nil || res.Close {
			return
		}
		io.Copy(io.Discard, res.Body)
		if len(ours.idle) == 1 {
			assert.Equal(t, "ok", ask(t, ours, http.MethodGet).Body, "nothing of the first answer is taken for the second")
		}
	})
}
