//go:build soak

package cacheproxy_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// B24 by the clock: 500 clients that send a byte a second, and 500 that take one,
// for 20 s; a good client's 99th percentile stays below 200 ms.
func TestSlowlorisSoak(t *testing.T) {
	origin, dial := guarded(t, "limits: {connections-per-client: 2000}") // all of them come from one address
	origin.Reply("GET", "/large", proxytest.Reply{Body: proxytest.Random(16<<20, 1)})
	origin.Reply("GET", "/small", proxytest.Reply{Body: proxytest.Random(1000, 2)})
	end := time.Now().Add(20 * time.Second)
	for range 500 {
		writer, _ := dial()
		go func() {
			for time.Now().Before(end) {
				io.WriteString(writer, "G")
				time.Sleep(time.Second)
			}
		}()
		reader, _ := dial()
		require.NoError(t, reader.(*net.TCPConn).SetReadBuffer(4<<10))
		_, err := io.WriteString(reader, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		go func() {
			for b := make([]byte, 1); time.Now().Before(end); time.Sleep(time.Second) {
				reader.Read(b)
			}
		}()
	}
	c, in := dial()
	require.NoError(t, c.SetDeadline(end.Add(time.Minute)))
	var took []time.Duration
	for time.Now().Before(end) {
		start := time.Now()
		_, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		took = append(took, time.Since(start))
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d requests, median %v, p99 %v", len(took), took[len(took)/2], p99)
	assert.Less(t, p99, 200*time.Millisecond)
}

// B23: 200 connections with heads of 64 KiB that do not end cost at most 16 MiB
// each way that they can be counted: of the process, clients included.
func TestHeadMemorySoak(t *testing.T) {
	_, dial := guarded(t, "")
	before := resident(t)
	for range 200 {
		c, _ := dial()
		_, err := io.WriteString(c, "GET /x HTTP/1.1\r\nHost: x\r\nX-A: "+strings.Repeat("b", 63<<10))
		require.NoError(t, err)
	}
	time.Sleep(time.Second)
	grown := resident(t) - before
	t.Logf("grown by %d KiB", grown)
	assert.Less(t, grown, 32<<10)
}

// resident is the process's memory in KiB.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kib
}
