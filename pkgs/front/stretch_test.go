package front

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRange(t *testing.T) {
	for _, tt := range []struct {
		field string
		part  stretch
		ok    bool
	}{
		{"bytes=0-0", stretch{0, 1}, true},
		{"bytes=3-7", stretch{3, 5}, true},
		{"bytes=3-", stretch{3, 7}, true},
		{"bytes=3-99", stretch{3, 7}, true},
		{"bytes=-3", stretch{7, 3}, true},
		{"bytes=-99", stretch{0, 10}, true},
		{"bytes=9-9", stretch{9, 1}, true},
		{field: "bytes=10-"},
		{field: "bytes=7-3"},
		{field: "bytes=-0"},
		{field: "bytes=-"},
		{field: "bytes="},
		{field: "bytes=1-2,4-5"},
		{field: "bytes=1-2-3"},
		{field: "bytes=--2"},
		{field: "bytes=+1-2"},
		{field: "bytes= 1-2"},
		{field: "bytes=1-99999999999999999999"},
		{field: "lines=1-2"},
		{field: ""},
	} {
		t.Run(tt.field, func(t *testing.T) {
			part, ok := parseRange([]byte(tt.field), 10)
			assert.Equal(t, tt.ok, ok)
			if tt.ok {
				assert.Equal(t, tt.part, part)
			}
		})
	}
	_, ok := parseRange([]byte("bytes=-1"), 0)
	assert.False(t, ok, "of nothing")
}

func FuzzParseRange(f *testing.F) {
	f.Add("bytes=1-2", int64(10))
	f.Add("bytes=-9223372036854775807", int64(1))
	f.Add("bytes=0-9223372036854775807", int64(1<<62))
	f.Fuzz(func(t *testing.T, field string, size int64) {
		if size < 0 {
			return
		}
		if s, ok := parseRange([]byte(field), size); ok {
			assert.True(t, s.from >= 0 && s.n > 0 && s.n <= size-s.from, "%v of %d", s, size)
		}
	})
}

// serve is a client's connection to a server that has nothing but the shelf.
func (s *shelf) serve(t testing.TB) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	s.front.Prepare(server)
	go server.Serve(s.front.Listener(l))
	t.Cleanup(func() { server.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// Parts are answered as the whole is, and are what makes an answer ready, too.
func TestAnswersParts(t *testing.T) {
	sizes := map[string]int{"from memory": 1000}
	if canSend {
		sizes["from the file"] = maxReady + 1
	}
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 1<<20)
			h := s.hit(t, "/x", size)
			heard := make(chan Answer, 3)
			h.Sent = hears(func(a *Answer) { heard <- *a })
			h.Request.Header.Set("Range", "bytes=1-2")
			h.Header.Set("Content-Length", "2")
			h.Header.Set("Content-Range", fmt.Sprintf("bytes 1-2/%d", size))
			s.publish(t, h)
			assert.Equal(t, "2", h.Header.Get("Content-Length"), "what was sent is left alone")
			c := s.serve(t)
			r := newConnReader(c)
			for _, tt := range []struct {
				field  string
				status int
				part   stretch
			}{
				{"Range: bytes=100-299\r\n", 206, stretch{100, 200}},
				{"", 200, stretch{0, int64(size)}},
				{"Range: bytes=-1\r\n", 206, stretch{int64(size) - 1, 1}},
			} {
				_, err := io.WriteString(c, "GET /x HTTP/1.1\r\nHost: example.org\r\n"+tt.field+"\r\n")
				require.NoError(t, err)
				resp, err := http.ReadResponse(r, nil)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, tt.status, resp.StatusCode)
				assert.EqualValues(t, tt.part.n, resp.ContentLength)
				assert.Equal(t, strings.Repeat("x", int(tt.part.n)), string(body))
				span := ""
				if tt.status == 206 {
					span = fmt.Sprintf("bytes %d-%d/%d", tt.part.from, tt.part.from+tt.part.n-1, size)
				}
				assert.Equal(t, span, resp.Header.Get("Content-Range"))
				a := <-heard
				assert.Equal(t, tt.status, a.Status)
				assert.Equal(t, tt.part.n, a.Bytes)
			}
		})
	}
}
