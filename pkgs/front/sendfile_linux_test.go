package front

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Large content is sent from one descriptor by many at once, each from its
// beginning.
func TestSendFile(t *testing.T) {
	const size = 3<<20 + 17
	s := newShelf(t, 1<<20)
	h := s.hit(t, "/x", size)
	s.publish(t, h)
	r := s.find("/x")
	require.NotNil(t, r)
	assert.Nil(t, r.body)
	assert.EqualValues(t, 1, r.file.holders.Load())
	offset, err := h.Response.Body.(file).Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	assert.Zero(t, offset, "another's position is left alone")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	guarded := s.front.Listener(l)
	server := &http.Server{Handler: http.NotFoundHandler()}
	s.front.Prepare(server)
	go server.Serve(guarded)
	defer server.Close()
	ends := make(chan int64)
	for range 8 {
		go func() {
			c, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			defer c.Close()
			var n int64
			for range 3 {
				_, err = io.WriteString(c, get)
				require.NoError(t, err)
				resp, err := http.ReadResponse(newConnReader(c), nil)
				if !assert.NoError(t, err) {
					break
				}
				m, err := io.Copy(io.Discard, resp.Body)
				assert.NoError(t, err)
				n += m
			}
			ends <- n
		}()
	}
	for range 8 {
		assert.EqualValues(t, 3*size, <-ends)
	}
	assert.EqualValues(t, 24, s.front.Answered())

	require.NoError(t, os.Truncate(h.Response.Body.(file).Name(), 2<<20))
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, get)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, c)
	assert.Error(t, err, "a file that has become short does not end well")
	assert.Less(t, n, int64(size))
}

// A client has the write timeout for as much as the minimum rate is in it.
func TestSendFileSlowly(t *testing.T) {
	const size = 32 << 20 // more than the kernel takes
	s := newShelf(t, 1<<20)
	s.options.WriteTimeout, s.options.MinRate = 50*time.Millisecond, 1<<20
	s.publish(t, s.hit(t, "/x", size))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := s.front.wrap(server, new(atomic.Bool)).Read(make([]byte, 4096))
		ended <- err
	}()
	_, err = io.WriteString(client, get)
	require.NoError(t, err)
	assert.ErrorIs(t, <-ended, os.ErrDeadlineExceeded, "it takes nothing")
	n, err := io.Copy(io.Discard, client)
	assert.Error(t, err)
	assert.Less(t, n, int64(size))
}

// The descriptor of a file that may be gone is not kept longer than its answer.
func TestDescriptorsAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 10*filed)
		h := s.hit(t, "/x", maxReady+1)
		s.publish(t, h)
		first := s.find("/x").file
		s.now = s.now.Add(lifetime + 1) // else the one that is in says the same
		s.publish(t, h)
		assert.Same(t, first, s.find("/x").file)
		assert.EqualValues(t, 1, first.holders.Load(), "of the answer that is in")
		time.Sleep(lifetime)
		s.now = s.now.Add(lifetime + 1)
		s.publish(t, h)
		time.Sleep(lifetime)
		synctest.Wait()
		require.NotNil(t, s.find("/x"), "a newer one is not taken out by the older one's end")
		time.Sleep(2 * lifetime)
		synctest.Wait()
		assert.Nil(t, s.find("/x"))
		assert.Zero(t, first.holders.Load())
		assert.False(t, first.hold())
		assert.Zero(t, s.weight())

		for i := range 30 {
			s.publish(t, s.hit(t, "/"+strings.Repeat("y", i+1), maxReady+1))
		}
		assert.LessOrEqual(t, s.weight(), int64(10*filed))
		time.Sleep(2 * lifetime)
		synctest.Wait()
		assert.Zero(t, s.weight())
	})
}
