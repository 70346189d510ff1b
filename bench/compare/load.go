package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/bench/internal/object"
)

// A got is one answer: when its first byte of content and its last one came.
type got struct {
	start, first, end time.Time
	err               error
}

func (g got) ttfb() time.Duration { return g.first.Sub(g.start) }

// A client is one connection that is kept, checked and cheap.
type client struct {
	pattern object.Pattern
	conn    net.Conn
	br      *bufio.Reader
	buf     []byte
	blind   bool // what comes is thrown away, not compared
}

func newClient(p object.Pattern) *client { return &client{pattern: p, buf: make([]byte, 256<<10)} }

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// get fetches a URL and compares every byte.
func (c *client) get(address string) (g got) { return c.part(address, 0, -1) }

// part fetches n bytes from off on, and compares them; n < 0 is the whole.
func (c *client) part(address string, off, n int64) (g got) {
	g.err = c.fetch(address, off, n, &g)
	g.end = time.Now()
	if g.err != nil {
		c.close()
		g.err = fmt.Errorf("get %s: %w", address, g.err)
	}
	return g
}

func (c *client) fetch(address string, off, n int64, g *got) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	want, err := c.pattern.At(u.Path)
	if err != nil {
		return err
	}
	if c.conn == nil {
		if c.conn, err = net.Dial("tcp", u.Host); err != nil {
			return err
		}
		c.br = bufio.NewReaderSize(c.conn, 4096)
	}
	_ = c.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	end, status, span := want.Size, http.StatusOK, ""
	if n >= 0 {
		end, status, span = off+n, http.StatusPartialContent, fmt.Sprintf("Range: bytes=%d-%d\r\n", off, off+n-1)
	}
	g.start = time.Now()
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", u.Path, u.Host, span); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("status %s", resp.Status)
	}
	if c.blind && resp.ContentLength > 0 {
		return c.discard(resp.ContentLength, g)
	}
	for {
		n, err := resp.Body.Read(c.buf)
		if n > 0 && g.first.IsZero() {
			g.first = time.Now()
		}
		if !want.Equal(c.buf[:n], off) {
			return fmt.Errorf("wrong content in the %d bytes at %d", n, off)
		}
		off += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if off != end {
		return fmt.Errorf("content ends at %d, not at %d", off, end)
	}
	if resp.Close {
		c.close()
	}
	return nil
}

// discard throws n bytes of content away, without a copy where the system can do that (tcp(7), MSG_TRUNC).
func (c *client) discard(n int64, g *got) error {
	buffered, err := c.br.Discard(int(min(n, int64(c.br.Buffered()))))
	if err != nil {
		return err
	}
	if n -= int64(buffered); buffered > 0 {
		g.first = time.Now()
	}
	raw, err := c.conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	for n > 0 {
		m, failed := 0, error(nil)
		err := raw.Read(func(fd uintptr) bool {
			m, _, failed = unix.Recvfrom(int(fd), c.buf[:min(n, int64(len(c.buf)))], unix.MSG_TRUNC)
			return failed != unix.EAGAIN
		})
		switch {
		case err != nil:
			return err
		case failed != nil:
			return failed
		case m <= 0:
			return io.ErrUnexpectedEOF
		}
		if g.first.IsZero() {
			g.first = time.Now()
		}
		n -= int64(m)
	}
	return nil
}

// crowd has n clients, all of them blind but the first if so, fetch the URLs that next
// gives, each until there are no more; "" is the end.
func crowd(p object.Pattern, n int, blind bool, next func() string) []got {
	var mu sync.Mutex
	var all []got
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c := newClient(p)
			c.blind = blind && i > 0
			defer c.close()
			for address := next(); address != ""; address = next() {
				g := c.get(address)
				mu.Lock()
				all = append(all, g)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

// counted gives base/SIZE-SEED for count seeds from first on, to many goroutines.
func counted(base string, size int64, first, count int) func() string {
	var mu sync.Mutex
	i := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if i == count {
			return ""
		}
		i++
		return fmt.Sprintf("%s/%d-%d", base, size, first+i-1)
	}
}

// same gives one URL n times.
func same(address string, n int) func() string {
	var mu sync.Mutex
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 {
			return ""
		}
		n--
		return address
	}
}

// failures counts the answers that were wrong, and has one of the errors.
func failures(all []got) (n int, err error) {
	for _, g := range all {
		if g.err != nil {
			n, err = n+1, g.err
		}
	}
	return n, err
}

// quantile is the q-th of values; 0 of none.
func quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
