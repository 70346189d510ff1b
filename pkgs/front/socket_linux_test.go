package front

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pair is a connection of the network and its socket's end.
func pair(t *testing.T) (client *net.TCPConn, server net.Conn, s *socket) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	s = newSocket(server)
	require.NotNil(t, s)
	return c.(*net.TCPConn), server, s
}

// What does not fit into the kernel is written on where it stopped, whichever of the
// two parts that was in.
func TestSocketWritesAll(t *testing.T) {
	for _, tt := range []struct {
		name       string
		head, body int
	}{
		{"nothing", 0, 0},
		{"head", 300, 0},
		{"body", 0, 300},
		{"both", 300, 5000},
		{"stops in the body", 300, 32 << 20},
		{"stops in the head", 32 << 20, 70_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server, s := pair(t)
			require.NoError(t, server.(*net.TCPConn).SetWriteBuffer(64<<10))
			all := make([]byte, tt.head+tt.body)
			for i := range all {
				all[i] = byte(i * 7 >> 3)
			}
			want := sha256.Sum256(all)
			ended := make(chan error, 1)
			go func() {
				ended <- s.push(all[:tt.head], all[tt.head:], 0)
				server.Close()
			}()
			sum := sha256.New()
			n, err := io.Copy(sum, client)
			require.NoError(t, err)
			require.NoError(t, <-ended)
			assert.EqualValues(t, len(all), n)
			assert.Equal(t, want[:], sum.Sum(nil))
			assert.Nil(t, s.out[0].Base, "nothing is kept from the collector")
		})
	}
}

// What more is to follow waits for that, or for a moment, and is not lost.
func TestSocketWaitsForMore(t *testing.T) {
	client, _, s := pair(t)
	require.NoError(t, s.push([]byte("head "), nil, syscall.MSG_MORE))
	require.NoError(t, s.push([]byte("body"), nil, 0))
	b := make([]byte, 16)
	n, err := client.Read(b)
	require.NoError(t, err)
	assert.Equal(t, "head body", string(b[:n]), "in one piece")
}

func TestSocketReads(t *testing.T) {
	client, server, s := pair(t)
	b := make([]byte, 8)
	go client.Write([]byte("0123456789"))
	n, err := io.ReadFull(s, b)
	require.NoError(t, err)
	assert.Equal(t, "01234567", string(b[:n]))
	n, err = s.Read(b)
	require.NoError(t, err)
	assert.Equal(t, "89", string(b[:n]))

	require.NoError(t, server.SetReadDeadline(time.Now().Add(-time.Second)))
	_, err = s.Read(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "read", op.Op)
	require.NoError(t, server.SetReadDeadline(time.Time{}))

	require.NoError(t, client.CloseWrite())
	n, err = s.Read(b)
	assert.Zero(t, n)
	assert.Equal(t, io.EOF, err)
}

// A client that is gone is told to net/http as the connection itself tells it: else
// it would answer 400.
func TestSocketErrors(t *testing.T) {
	client, server, s := pair(t)
	require.NoError(t, client.SetLinger(0))
	require.NoError(t, client.Close())
	_, err := s.Read(make([]byte, 8))
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "read", op.Op)
	assert.ErrorContains(t, err, "connection reset")
	assert.Error(t, s.push(bytes.Repeat([]byte("x"), 1<<20), []byte("y"), 0))

	require.NoError(t, server.Close())
	_, err = s.Read(make([]byte, 8))
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "read", op.Op)
	assert.ErrorIs(t, err, net.ErrClosed)
}

// Clients that ask faster than others get their turn are answered as they ask.
func TestSocketAnswers(t *testing.T) {
	s := newShelf(t, 1<<20)
	require.Greater(t, 5000, copied)
	s.publish(t, s.hit(t, "/x", 5000)) // head and body are two pieces
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	s.front.Prepare(server)
	go server.Serve(s.front.Listener(l))
	defer server.Close()
	const clients, each = 4, 5 * maxStreak
	var wrong atomic.Int32
	ends := make(chan error, clients)
	for range clients {
		go func() {
			ends <- func() error {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return err
				}
				defer c.Close()
				r := newConnReader(c)
				for range each {
					if _, err := io.WriteString(c, get); err != nil {
						return err
					}
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						return err
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						return err
					}
					if string(body) != string(bytes.Repeat([]byte("x"), 5000)) {
						wrong.Add(1)
					}
				}
				return nil
			}()
		}()
	}
	for range clients {
		require.NoError(t, <-ends)
	}
	assert.Zero(t, wrong.Load())
	assert.EqualValues(t, clients*each, s.front.Answered())
}

func BenchmarkSocket(b *testing.B) {
	s := newShelf(b, 1<<20)
	s.publish(b, s.hit(b, "/x", 1024))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	s.front.Prepare(server)
	go server.Serve(s.front.Listener(l))
	defer server.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	defer c.Close()
	buf, request := make([]byte, 8<<10), []byte(get)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
