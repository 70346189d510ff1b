package front_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// Frames of HTTP/2 (RFC 9113 §6), as a client writes them that nobody has bounded.
const (
	frameHeaders, frameRST, frameSettings, framePing, frameGoAway, frameContinuation = 1, 3, 4, 6, 7, 9

	ack, endStream, endHeaders = 1, 1, 4
)

func frame(kind, flags byte, stream uint32, payload string) string {
	var h [9]byte
	binary.BigEndian.PutUint32(h[:4], uint32(len(payload))<<8|uint32(kind))
	h[4] = flags
	binary.BigEndian.PutUint32(h[5:], stream)
	return string(h[:]) + payload
}

// get is the header block of GET / (RFC 7541): static fields, and a literal authority.
const get = "\x82\x87\x84\x01\x0bexample.org"

// flooder is a connection of a client of HTTP/2, its preface sent.
func flooder(t *testing.T, d *daemon, client *tls.Config) *tls.Conn {
	t.Helper()
	config := client.Clone()
	config.ServerName, config.NextProtos = "127.0.0.1", []string{"h2"}
	c, err := tls.Dial("tcp", d.addr, config)
	require.NoError(t, err)
	t.Cleanup(func() { c.NetConn().Close() })
	require.Equal(t, "h2", c.ConnectionState().NegotiatedProtocol)
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+frame(frameSettings, 0, 0, ""))
	require.NoError(t, err)
	return c
}

// goAway reads to the end of the connection, and returns the code of the last GOAWAY.
func goAway(t *testing.T, c io.Reader) (code uint32, said bool) {
	t.Helper()
	for {
		var h [9]byte
		if _, err := io.ReadFull(c, h[:]); err != nil {
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection must end")
			return code, said
		}
		payload := make([]byte, binary.BigEndian.Uint32(h[:4])>>8)
		if _, err := io.ReadFull(c, payload); err != nil {
			return code, said
		}
		if h[3] == frameGoAway {
			code, said = binary.BigEndian.Uint32(payload[4:]), true
		}
	}
}

// h2 is a server of HTTP/2 whose handlers end only when told.
func h2(t *testing.T) (d *daemon, client *tls.Config, peak *atomic.Int64) {
	cert, client := certificate(t)
	var running atomic.Int64
	peak = new(atomic.Int64)
	finish := make(chan struct{})
	l := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	d = serveOn(t, l, front.Options{}, func(w http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for {
			old := peak.Load()
			if n <= old || peak.CompareAndSwap(old, n) {
				break
			}
		}
		<-finish
	})
	t.Cleanup(func() { close(finish) })
	return d, client, peak
}

// B25: requests that are reset at once do not start handlers without bound, and
// end the connection.
func TestRapidReset(t *testing.T) {
	d, client, peak := h2(t)
	c := flooder(t, d, client)
	go func() {
		for stream := uint32(1); stream < 20_000; stream += 2 {
			if _, err := io.WriteString(c, frame(frameHeaders, endStream|endHeaders, stream, get)+frame(frameRST, 0, stream, "\x00\x00\x00\x08")); err != nil {
				return
			}
		}
	}()
	code, said := goAway(t, c)
	assert.True(t, said)
	assert.EqualValues(t, 11, code, "ENHANCE_YOUR_CALM")
	assert.EqualValues(t, 100, peak.Load())
	assert.EqualValues(t, 1, d.Stats()["h2-conn_ENHANCE_YOUR_CALM_too_many_early_resets"])
}

// B25: a client may have a hundred streams open; what comes above is refused.
func TestManyStreams(t *testing.T) {
	d, client, peak := h2(t)
	c := flooder(t, d, client)
	_, err := io.WriteString(c, frame(frameSettings, ack, 0, ""))
	require.NoError(t, err)
	for stream := uint32(1); stream < 2*250; stream += 2 {
		if _, err := io.WriteString(c, frame(frameHeaders, endStream|endHeaders, stream, get)); err != nil {
			break
		}
	}
	refused := 0
	for refused < 150 {
		var h [9]byte
		_, err := io.ReadFull(c, h[:])
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(h[:4])>>8))
		require.NoError(t, err)
		if h[3] == frameRST {
			refused++
		}
	}
	assert.LessOrEqual(t, peak.Load(), int64(100))
	counted := uint64(0)
	for name, n := range d.Stats() {
		if strings.Contains(name, "over_max_streams") {
			counted += n
		}
	}
	assert.EqualValues(t, 150, counted)
}

// B25: a header block that never ends, small frame by small frame.
func TestContinuationFlood(t *testing.T) {
	d, client, _ := h2(t)
	c := flooder(t, d, client)
	sent := make(chan int, 1)
	go func() {
		n := 0
		defer func() { sent <- n }()
		field := "\x00\x01a\x7f\x81\x07" + strings.Repeat("b", 262)
		if _, err := io.WriteString(c, frame(frameHeaders, endStream, 1, get)); err != nil {
			return
		}
		for ; n < 400_000; n++ {
			if _, err := io.WriteString(c, frame(frameContinuation, 0, 1, field)); err != nil {
				return
			}
		}
	}()
	goAway(t, c)
	c.NetConn().Close()
	assert.Less(t, <-sent, 400_000)
	assert.Zero(t, d.handled.Load())
}

// B25: frames that want an answer each, from a client that takes none.
func TestPingFlood(t *testing.T) {
	d, client, _ := h2(t)
	c := flooder(t, d, client)
	flood := strings.Repeat(frame(framePing, 0, 0, "12345678"), 500)
	var err error
	for range 20_000 {
		if _, err = io.WriteString(c, flood); err != nil {
			break
		}
	}
	require.Error(t, err, "ten million frames, and still open")
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// B25: settings are acknowledged together where the client does not read, so
// there is nothing that could grow, and the connection still works behind a flood.
func TestSettingsFlood(t *testing.T) {
	d, client, peak := h2(t)
	c := flooder(t, d, client)
	flood := strings.Repeat(frame(frameSettings, 0, 0, "\x00\x04\x00\x00\x00\x00"), 500)
	for range 200 {
		_, err := io.WriteString(c, flood)
		require.NoError(t, err)
	}
	_, err := io.WriteString(c, frame(frameHeaders, endStream|endHeaders, 1, get))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return peak.Load() == 1 }, 10*time.Second, time.Millisecond)
}
