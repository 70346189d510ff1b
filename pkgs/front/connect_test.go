package front

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestConnect: CONNECT has host and port, the same as Host, and no body; where it is
// not asked for it is a bad method.
func TestConnect(t *testing.T) {
	for _, c := range []struct {
		name, head string
		want       reason
	}{
		{"name", "CONNECT registry.example.org:443 HTTP/1.1\r\nHost: registry.example.org:443\r\n\r\n", none},
		{"address", "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n", none},
		{"no port", "CONNECT registry.example.org HTTP/1.1\r\nHost: registry.example.org\r\n\r\n", badTarget},
		{"empty port", "CONNECT registry.example.org: HTTP/1.1\r\nHost: registry.example.org:\r\n\r\n", badTarget},
		{"address without port", "CONNECT [2001:db8::1] HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", badTarget},
		{"path", "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
		{"url", "CONNECT http://a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", badTarget},
		{"user", "CONNECT u@a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", badTarget},
		{"other host", "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", foreignTarget},
		{"host without port", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", foreignTarget},
		{"no host", "CONNECT a:443 HTTP/1.0\r\n\r\n", foreignTarget},
		{"body", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\nhello", unwantedBody},
		{"chunks", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", unwantedBody},
		{"lower case", "connect a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", badMethod},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h head
			h.reset()
			_, why := h.parse([]byte(c.head), &limits{8 << 10, 64 << 10, 100})
			assert.Equal(t, badMethod, why, "not asked for")
			h.reset()
			h.mayConnect = true
			_, why = h.parse([]byte(c.head), &limits{8 << 10, 64 << 10, 100})
			assert.Equal(t, refusals[c.want].name, refusals[why].name)
		})
	}
}
