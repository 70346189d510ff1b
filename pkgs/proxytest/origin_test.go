package proxytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBody(t *testing.T) {
	b := Random(3*period+5, 7)
	whole := b.Bytes()
	sum := sha256.Sum256(whole)
	assert.Equal(t, hex.EncodeToString(sum[:]), b.SHA256())
	assert.Equal(t, whole[:100], Random(100, 7).Bytes())
	assert.NotEqual(t, whole[:100], Random(100, 8).Bytes())
	assert.Equal(t, whole[period:period+50], whole[:50])

	part := make([]byte, 1000)
	_, err := b.ReadAt(part, 2*period-500)
	require.NoError(t, err)
	assert.Equal(t, whole[2*period-500:2*period+500], part)

	flipped := b.Flipped(period + 3).Bytes()
	assert.Equal(t, whole[period+3]^1, flipped[period+3])
	flipped[period+3] ^= 1
	assert.True(t, bytes.Equal(whole, flipped))
}

func TestParseBody(t *testing.T) {
	tests := []struct {
		name, in string
		want     Body
		bad      bool
	}{
		{name: "empty", in: "empty"},
		{name: "text", in: "hello", want: Text("hello")},
		{name: "random", in: "random:10", want: Random(10, 0)},
		{name: "seed", in: "random:10:3", want: Random(10, 3)},
		{name: "no size", in: "random:", bad: true},
		{name: "negative", in: "random:-1", bad: true},
		{name: "bad seed", in: "random:1:x", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseBody(tt.in)
			if tt.bad {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestReset(t *testing.T) {
	o := NewOrigin(t)
	o.Reply("GET", "/x", Reply{Body: Random(1<<20, 0), Fault: Reset, At: 1000})
	res := Do(o.URL(), "GET", "/x", nil).Wait()
	require.ErrorIs(t, res.Err, syscall.ECONNRESET)
	assert.Less(t, len(res.Body), 1<<20)
}

func TestRate(t *testing.T) {
	o := NewOrigin(t)
	o.Reply("GET", "/x", Reply{Body: Random(30_000, 0), Rate: 100_000, Delay: 100 * time.Millisecond})
	res := Do(o.URL(), "GET", "/x", nil).Wait()
	require.NoError(t, res.Err)
	assert.GreaterOrEqual(t, res.FirstByte, 100*time.Millisecond)
	assert.InDelta(t, 400, res.Total.Milliseconds(), 250)
}

func TestKeepAlive(t *testing.T) {
	o := NewOrigin(t)
	o.Reply("GET", "*", Reply{Body: Text("hello")})
	for range 3 {
		resp, err := http.Get(o.URL() + "/x")
		require.NoError(t, err)
		content, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, "hello", string(content))
	}
	_, peak := o.Connections()
	assert.Equal(t, 1, peak)
	// The origin counts behind its answer.
	assert.Eventually(t, func() bool { return o.Requests("/x")[2].Done && o.Sent("/x") == 15 }, 2*time.Second, time.Millisecond)
}

func TestGone(t *testing.T) {
	o := NewOrigin(t)
	o.Reply("GET", "/x", Reply{Body: Random(10_000, 0), Fault: Stall, At: 100})
	res := Do(o.URL(), "GET", "/x", nil)
	require.True(t, res.Received(100))
	res.Abort()
	assert.Eventually(t, func() bool { return o.Requests("/x")[0].Gone }, time.Second, time.Millisecond)
	now, _ := o.Connections()
	assert.Eventually(t, func() bool { now, _ = o.Connections(); return now == 0 }, time.Second, time.Millisecond)
}

func TestDownInTransfer(t *testing.T) {
	o := NewOrigin(t)
	o.Reply("GET", "/x", Reply{Body: Random(10_000, 0), Fault: Stall, At: 100})
	res := Do(o.URL(), "GET", "/x", nil)
	require.True(t, res.Received(100))
	o.Down()
	require.Error(t, res.Wait().Err)
	require.ErrorIs(t, Do(o.URL(), "GET", "/x", nil).Wait().Err, syscall.ECONNREFUSED)
	o.Up()
	o.Reply("GET", "/x", Reply{Body: Text("again")})
	assert.Equal(t, "again", string(Do(o.URL(), "GET", "/x", nil).Wait().Body))
}

func TestStrictClient(t *testing.T) {
	o := NewOrigin(t)
	o.Reply("GET", "/more", Reply{Body: Text("hello"), Claim: 3})
	res := Do(o.URL(), "GET", "/more", nil).Wait()
	require.Error(t, res.Err)
	assert.False(t, errors.Is(res.Err, io.ErrUnexpectedEOF))
	o.Reply("GET", "/less", Reply{Body: Text("hello"), Claim: 9})
	require.ErrorIs(t, Do(o.URL(), "GET", "/less", nil).Wait().Err, io.ErrUnexpectedEOF)
}

func BenchmarkOrigin(b *testing.B) {
	o := NewOrigin(b)
	o.Reply("GET", "/x", Reply{Body: Random(256<<20, 0)})
	b.SetBytes(256 << 20)
	for b.Loop() {
		resp, err := http.Get(o.URL() + "/x")
		require.NoError(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, make([]byte, 1<<20))
		require.NoError(b, err)
		require.NoError(b, resp.Body.Close())
	}
}
