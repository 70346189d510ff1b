package front

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder notes what is written at once.
type recorder struct {
	net.Conn
	writes []string
	files  int
	err    error
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.writes = append(r.writes, string(p))
	return len(p), nil
}

func (r *recorder) ReadFrom(from io.Reader) (int64, error) {
	r.files++
	b, err := io.ReadAll(from)
	r.writes = append(r.writes, "file:"+string(b))
	return int64(len(b)), err
}

func (r *recorder) LocalAddr() net.Addr  { return nil }
func (r *recorder) RemoteAddr() net.Addr { return nil }

func TestCork(t *testing.T) {
	long := strings.Repeat("x", maxHeld+1)
	for _, test := range []struct {
		name string
		do   func(t *testing.T, c *sendConn)
		want []string
	}{
		{"as it comes", func(t *testing.T, c *sendConn) { io.WriteString(c, "a"); io.WriteString(c, "b") }, []string{"a", "b"}},
		{"together", func(t *testing.T, c *sendConn) {
			c.Cork()
			io.WriteString(c, "a")
			io.WriteString(c, "b")
			require.NoError(t, c.Uncork())
			io.WriteString(c, "c")
		}, []string{"ab", "c"}},
		{"alone", func(t *testing.T, c *sendConn) {
			c.Cork()
			io.WriteString(c, "a")
			require.NoError(t, c.Uncork())
			require.NoError(t, c.Uncork())
		}, []string{"a"}},
		{"nothing", func(t *testing.T, c *sendConn) { c.Cork(); require.NoError(t, c.Uncork()) }, nil},
		{"too long to wait", func(t *testing.T, c *sendConn) {
			c.Cork()
			io.WriteString(c, long)
			require.NoError(t, c.Uncork())
		}, []string{long}},
		{"before a file", func(t *testing.T, c *sendConn) {
			c.Cork()
			io.WriteString(c, "a")
			c.ReadFrom(strings.NewReader("b"))
			require.NoError(t, c.Uncork())
		}, []string{"a", "file:b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &recorder{}
			c := New(Options{}).wrap(r, new(atomic.Bool)).(*sendConn)
			test.do(t, c)
			assert.Equal(t, test.want, r.writes)
		})
	}
	t.Run("failed", func(t *testing.T) {
		r := &recorder{err: io.ErrClosedPipe}
		c := New(Options{}).wrap(r, new(atomic.Bool)).(*sendConn)
		c.Cork()
		n, err := io.WriteString(c, "a")
		require.NoError(t, err, "nobody knows yet")
		assert.Equal(t, 1, n)
		assert.ErrorIs(t, c.Uncork(), io.ErrClosedPipe)
	})
}

// A connection of the network writes both in one call, whatever is taken of them at
// a time; one of TLS in one record.
func TestCorkOfConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	head, content := bytes.Repeat([]byte("h"), maxHeld), bytes.Repeat([]byte("c"), 3<<20)
	got := make(chan []byte)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		assert.NoError(t, err)
		defer c.Close()
		b, _ := io.ReadAll(c)
		got <- b
	}()
	raw, err := l.Accept()
	require.NoError(t, err)
	c := New(Options{}).wrap(raw, new(atomic.Bool)).(interface {
		net.Conn
		Cork()
		Uncork() error
	})
	c.Cork()
	c.Write(head)
	n, err := c.Write(content)
	require.NoError(t, err)
	assert.Equal(t, len(content), n)
	require.NoError(t, c.Uncork())
	c.Close()
	assert.True(t, bytes.Equal(append(bytes.Clone(head), content...), <-got))

	below := &recorder{}
	g := &tlsConn{&conn{Conn: below, front: New(Options{})}, (*tls.Conn)(nil)}
	g.Cork()
	g.Write(head)
	g.Write(head[:100])
	require.NoError(t, g.Uncork())
	assert.Equal(t, []string{string(head) + string(head[:100])}, below.writes)
}
