package front

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A script is the other end of a connection: it sends data in pieces, then leaves.
type script struct {
	data  []byte
	piece int
	sent  bytes.Buffer // to it
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), max(s.piece, 1))], s.data)
	s.data = s.data[n:]
	return n, nil
}
func (s *script) Write(p []byte) (int, error)      { return s.sent.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// A message is what net/http is given between two boundaries.
type message struct {
	bytes  []byte
	method string
	target string
	host   string
	whole  bool // to the end of its body
}

// messages reads a connection as net/http does, with reads of any size.
func messages(data []byte, piece, room int) (all []message, refusal string) {
	peer := &script{data: data, piece: piece}
	c := New(Options{Target: 256, Header: 1 << 10, Fields: 8}).wrap(peer, new(atomic.Bool)).(guarded).guard()
	p := make([]byte, max(room, 1))
	for {
		c.state(http.StateIdle)
		var m message
		for {
			n, err := c.Read(p)
			if err != nil {
				if m.bytes != nil {
					all = append(all, m)
				}
				return all, peer.sent.String()
			}
			m.bytes = append(m.bytes, p[:n]...)
			head := m.bytes
			h := c.head
			off := -h.start // what was skipped is not handed out
			if h.target.to+off <= len(head) {
				m.method, m.target = string(head[h.method.from+off:h.method.to+off]), string(head[h.target.from+off:h.target.to+off])
			}
			if h.host.to+off <= len(head) && h.hosts > 0 {
				m.host = string(head[h.host.from+off : h.host.to+off])
			}
			if c.checked == 0 && c.err == nil && c.body.stage == over {
				m.whole = true
				all = append(all, m)
				break
			}
		}
	}
}

// lines are the fields of a head, as anybody reads them who splits it at CR LF.
func lines(head string) http.Header {
	h := http.Header{}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		h[textproto.CanonicalMIMEHeaderKey(name)] = append(h[textproto.CanonicalMIMEHeaderKey(name)], strings.Trim(value, " \t"))
	}
	return h
}

// Whatever the guard lets pass is one request to net/http too: the same method,
// target, host, fields, and not a byte more or less. And the way the bytes come
// changes nothing.
func FuzzGuard(f *testing.F) {
	const host = "\r\nHost: example.org\r\n"
	for _, seed := range []string{
		"GET / HTTP/1.1" + host + "\r\n",
		"\r\nHEAD /a%20b?c HTTP/1.0\r\n\r\nGET /b HTTP/1.1" + host + "Connection: close\r\n\r\n",
		"POST /x HTTP/1.1" + host + "Content-Length: 5\r\n\r\nhelloGET / HTTP/1.1" + host + "\r\n",
		"POST /x HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0a\r\n0123456789\r\n000\r\nX-T: a\r\nx-t:b\r\n\r\nGET /",
		"POST /x HTTP/1.1" + host + "Trailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n\r\n",
		"POST /x HTTP/1.1" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /y HTTP/1.1" + host + "\r\n",
		"GET http://example.org/x HTTP/1.1" + host + "X-A:\tb \t\r\nx-a: c\xe9\r\n\r\n",
		"GET https://EXAMPLE.org?x HTTP/1.1" + host + "\r\n",
		"OPTIONS * HTTP/1.1" + host + "\r\n",
		"GET //a//b;c=d/%2e%2e/:@!$&'()*+,=~|{}[]\"<>^`\\ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"PUT /x HTTP/1.1" + host + "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
		"GET /x HTTP/1.1" + host + "Pragma: no-cache\r\nCache-Control: a\r\nKeep-Alive: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01",
	} {
		f.Add([]byte(seed), 7, 64)
		f.Add([]byte(seed), 1<<20, 4096)
	}
	f.Fuzz(func(t *testing.T, data []byte, piece, room int) {
		piece, room = piece&0xffff, room&0x3fff
		got, refused := messages(data, piece, room)
		for _, m := range got {
			checkMessage(t, m)
		}
		if refused != "" {
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(refused)), nil)
			require.NoError(t, err, "%q", refused)
			assert.True(t, resp.Close)
			assert.GreaterOrEqual(t, resp.StatusCode, 400)
		}
		again, refusedAgain := messages(data, 1, 4096)
		if len(got) > 0 && !got[len(got)-1].whole && len(again) > 0 { // how much of a bad body passes depends on the pieces
			got[len(got)-1].bytes, again[len(again)-1].bytes = nil, nil
		}
		assert.Equal(t, got, again)
		// Which of two faults is seen first may depend on the pieces.
		assert.Equal(t, refused == "", refusedAgain == "", "%q in one piece, %q in many", refused, refusedAgain)
	})
}

func newConnReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

func checkMessage(t *testing.T, m message) {
	t.Helper()
	in := newReader(m.bytes)
	req, err := http.ReadRequest(in)
	require.NoError(t, err, "%q", m.bytes)
	assert.Equal(t, m.method, req.Method)
	assert.Equal(t, m.target, req.RequestURI)
	if !strings.HasPrefix(m.target, "h") && !strings.HasPrefix(m.target, "H") {
		assert.Equal(t, m.host, req.Host)
	} else {
		assert.True(t, strings.EqualFold(m.host, req.Host), "%q %q", m.host, req.Host)
	}
	head, _, found := strings.Cut(string(m.bytes), "\r\n\r\n")
	require.True(t, found)
	want := lines(head)
	for _, moved := range []string{"Host", "Transfer-Encoding", "Trailer"} { // fields of Request
		delete(want, moved)
		req.Header.Del(moved)
	}
	if want["Pragma"] != nil && req.Header["Cache-Control"] != nil && want["Cache-Control"] == nil {
		req.Header.Del("Cache-Control") // net/http makes one of the other
	}
	assert.Equal(t, want, req.Header)
	n, err := io.Copy(io.Discard, req.Body)
	if !m.whole {
		return
	}
	require.NoError(t, err, "%q", m.bytes)
	if req.ContentLength >= 0 {
		assert.Equal(t, req.ContentLength, n)
	}
	_, err = in.ReadByte()
	assert.ErrorIs(t, err, io.EOF, "something is left: %q", m.bytes)
}

// The framing of chunks is never looser than net/http's.
func FuzzChunks(f *testing.F) {
	for _, seed := range []string{"5\r\nhello\r\n0\r\n\r\n", "a;b=c\r\n0123456789\r\n0\r\nA: b\r\n\r\n", "0\r\n\r\nx", "1\r\nx\r\n1\r\ny\r\n00;\r\n\r\n", "1\r\nxAB0\r\n\r\n", "1\r\nx\rB0\r\n\r\n", "5\nhello\n0\n\n", "+1\r\nx\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b body
		b.begin(&head{chunked: true})
		n, why := b.take(data)
		if why != none || b.stage != over {
			return
		}
		in := bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + string(data)))
		req, err := http.ReadRequest(in)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, req.Body)
		require.NoError(t, err, "%q", data)
		rest, err := io.ReadAll(in)
		require.NoError(t, err)
		assert.Equal(t, string(data[n:]), string(rest))
	})
}

func TestRefusalOfEveryReason(t *testing.T) {
	for why := none + 1; why < reasons; why++ {
		t.Run(refusals[why].name, func(t *testing.T) {
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(refusal(why, false))), nil)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.NotEmpty(t, body)
			assert.True(t, resp.Close)
			_, err = http.ParseTime(resp.Header.Get("Date"))
			assert.NoError(t, err)
			assert.True(t, bytes.HasPrefix(refusal(why, false), refusal(why, true)))
			assert.NotEmpty(t, refusals[why].name)
		})
	}
}

// A bad listener is net/http's to back off from; its end is the end.
func TestAcceptErrors(t *testing.T) {
	errs := []error{errors.New("one"), fmt.Errorf("two"), net.ErrClosed}
	l := New(Options{}).Listener(&failing{errs: errs})
	for _, want := range errs {
		_, err := l.Accept()
		assert.ErrorIs(t, err, want)
	}
	require.NoError(t, l.Close())
	_, err := l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.NoError(t, l.Close())
}

type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}
func (f *failing) Close() error { return nil }
