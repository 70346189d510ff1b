package cacheproxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// BenchmarkMiss is a small miss, all that it takes: 4 KiB of a mirror on loopback,
// to the client and to the disk. Mirror and client parse nothing and allocate
// nothing, so allocations are the server's; cpu-µs is the whole process's.
//
// whole is asked over connections by 50 clients, alone by one; handler has neither
// clients nor net/http before it.
func BenchmarkMiss(b *testing.B) {
	b.Run("whole", func(b *testing.B) { benchMiss(b, 50) })
	b.Run("alone", func(b *testing.B) { benchMiss(b, 1) })
	b.Run("handler", func(b *testing.B) {
		s, _ := missServer(b)
		b.ReportAllocs()
		cpu := processTime()
		for n := 0; b.Loop(); n++ {
			r := httptest.NewRequest(http.MethodGet, "/b/"+strconv.Itoa(n), nil)
			w := &discarding{header: http.Header{}}
			s.ServeHTTP(w, r)
			if w.status != 200 || w.n != missSize {
				b.Fatalf("status %d, %d bytes", w.status, w.n)
			}
		}
		b.ReportMetric(float64(processTime()-cpu)/1e3/float64(b.N), "cpu-µs/op")
	})
}

const missSize = 4 << 10

func benchMiss(b *testing.B, clients int) {
	_, addr := missServer(b)
	var next atomic.Int64
	failed := make(chan error, clients)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processTime()
	for range clients {
		go func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				failed <- err
				return
			}
			defer c.Close()
			request, buf := make([]byte, 0, 256), make([]byte, 16<<10)
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					failed <- nil
					return
				}
				request = append(request[:0], "GET /b/"...)
				request = strconv.AppendInt(request, n, 10)
				request = append(request, " HTTP/1.1\r\nHost: a.example.org\r\n\r\n"...)
				if _, err := c.Write(request); err != nil {
					failed <- err
					return
				}
				if err := readWhole(c, buf); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	for range clients {
		require.NoError(b, <-failed)
	}
	b.StopTimer()
	b.ReportMetric(float64(processTime()-cpu)/1e3/float64(b.N), "cpu-µs/op")
}

// readWhole reads a response of missSize bytes.
func readWhole(c net.Conn, buf []byte) error {
	n := 0
	for {
		m, err := c.Read(buf[n:])
		if n += m; err != nil {
			return err
		}
		if head := bytes.Index(buf[:n], []byte("\r\n\r\n")); head >= 0 && n-head-4 >= missSize {
			if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("%.100q", buf[:n])
			}
			return nil
		}
	}
}

// missServer is a server over a mirror that has everything.
func missServer(b *testing.B) (s *cacheproxy.Server, addr string) {
	mirror, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { mirror.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nEtag: \"/b/0123456789\"\r\nLast-Modified: Tue, 02 Jan 2024 03:04:05 GMT\r\n" +
		"Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", missSize) + strings.Repeat("0123456789abcdef", missSize/16))
	go func() {
		for {
			c, err := mirror.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4<<10)
				for n := 0; ; {
					m, err := c.Read(buf[n:])
					if n += m; err != nil {
						return
					}
					if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
						n = 0
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	dir := b.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := "log: {level: error, access: false}\nadmin: {listen: ''}\nstorage: {local: {path: " + filepath.Join(dir, "data") + "}}\n" +
		"limits: {drain: 1s, fills: {per-client: 256}}\nupstream:\n- server: http://" + mirror.Addr().String() + "/\n"
	require.NoError(b, os.WriteFile(file, []byte(text), 0o600))
	cfg, _, err := cacheproxy.Load(file)
	require.NoError(b, err)
	s, err = cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
	})
	return s, l.Addr().String()
}

// discarding is a client that takes everything.
type discarding struct {
	header http.Header
	status int
	n      int64
}

func (d *discarding) Header() http.Header { return d.header }

func (d *discarding) WriteHeader(status int) { d.status = status }

func (d *discarding) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return len(p), nil
}

var _ io.Writer = (*discarding)(nil)

// processTime is what the process has used, user and system.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
