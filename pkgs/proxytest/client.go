package proxytest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// patience bounds a whole exchange of the client: beyond it the proxy hangs.
const patience = 20 * time.Second

// A Result is what a client got. Before Wait returns only Received may be called.
type Result struct {
	Status    int
	Header    http.Header
	Body      []byte
	Err       error         // the transfer did not end as its framing says
	FirstByte time.Duration // until the head was there
	Total     time.Duration

	conn net.Conn
	done chan struct{}

	mu       sync.Mutex
	received int           // guarded by mu
	moved    chan struct{} // guarded by mu; closed and replaced when received grows
}

// Do sends one request on a connection of its own, the target as it is
// spelled, and returns at once. Nothing is followed, retried or decoded.
func Do(base, method, target string, header http.Header) *Result {
	var head bytes.Buffer
	u, err := url.Parse(base)
	if err != nil {
		return failed(err)
	}
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", method, target)
	if header.Get("Host") == "" {
		fmt.Fprintf(&head, "Host: %s\r\n", u.Host)
	}
	_ = header.Write(&head)
	head.WriteString("\r\n")
	return send(u.Host, method, head.Bytes())
}

func failed(err error) *Result {
	r := &Result{Err: err, done: make(chan struct{}), moved: make(chan struct{})}
	close(r.done)
	return r
}

// send writes a request and reads the one response to it.
func send(addr, method string, request []byte) *Result {
	start := time.Now()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return failed(err)
	}
	_ = conn.SetDeadline(start.Add(patience))
	r := &Result{conn: conn, done: make(chan struct{}), moved: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer conn.Close()
		r.Err = r.run(start, method, request)
		r.Total = time.Since(start)
	}()
	return r
}

func (r *Result) run(start time.Time, method string, request []byte) error {
	if _, err := r.conn.Write(request); err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	br := bufio.NewReaderSize(r.conn, 64<<10)
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return fmt.Errorf("read the head: %w", err)
	}
	defer resp.Body.Close()
	r.FirstByte = time.Since(start)
	r.Status, r.Header = resp.StatusCode, resp.Header
	if resp.ContentLength >= 0 && r.Header.Get("Content-Length") == "" && len(resp.TransferEncoding) == 0 &&
		resp.StatusCode != http.StatusNotModified && resp.StatusCode != http.StatusNoContent && method != http.MethodHead {
		return errors.New("a response without framing on a connection that stays")
	}
	if len(resp.TransferEncoding) > 0 && resp.ContentLength > 0 {
		return errors.New("a response with Content-Length and Transfer-Encoding")
	}
	if _, err = io.Copy(r, resp.Body); err != nil {
		return fmt.Errorf("read the content: %w", err)
	}
	if extra := br.Buffered(); extra > 0 {
		return fmt.Errorf("%d bytes behind the end of the response", extra)
	}
	return nil
}

// Write takes content.
func (r *Result) Write(p []byte) (int, error) {
	r.Body = append(r.Body, p...)
	r.mu.Lock()
	r.received += len(p)
	close(r.moved)
	r.moved = make(chan struct{})
	r.mu.Unlock()
	return len(p), nil
}

// Received waits until n bytes of content are here, and reports whether they came.
func (r *Result) Received(n int) bool {
	for {
		r.mu.Lock()
		got, moved := r.received, r.moved
		r.mu.Unlock()
		if got >= n {
			return true
		}
		select {
		case <-moved:
		case <-r.done:
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.received >= n
		}
	}
}

// Wait waits for the end.
func (r *Result) Wait() *Result {
	<-r.done
	return r
}

// Abort hangs up, and waits.
func (r *Result) Abort() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
	<-r.done
}

// WasReset says whether the connection was reset, not closed.
func (r *Result) WasReset() bool { return errors.Is(r.Err, syscall.ECONNRESET) }
