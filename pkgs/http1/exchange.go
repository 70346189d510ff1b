package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// An exchange is a request and its response on a connection. It is the response's
// body, too.
type exchange struct {
	client *Client
	conn   *conn
	ctx    context.Context // of the request
	stop   func() bool     // of interrupt
	again  bool            // the connection was a kept one, and had ended before; set by run
	keep   bool            // the connection may be used again behind the body

	stage atomic.Int32 // heading, reading or ended

	// Owned by Read.
	body io.ReadCloser // net/http's
	err  error         // sticky
}

// The stages of an exchange.
const (
	heading int32 = iota // run has the connection, and RoundTrip the token for the request
	reading              // Read has both
	ended
)

var (
	errClosed   = errors.New("the body was closed")
	errHead     = errors.New("the head of the response is too large")
	errSwitched = errors.New("switching protocols that nobody asked for")
)

// A timeoutError is a head that does not come.
type timeoutError struct{}

func (timeoutError) Error() string   { return "timeout awaiting the response's head" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// run sends r, which is b on the wire, and returns as soon as the head of the
// response is there.
func (x *exchange) run(r *http.Request, b []byte) (*http.Response, error) {
	k, t := x.conn, x.client.transport
	x.stop = context.AfterFunc(x.ctx, x.interrupt)
	if t.ResponseHeaderTimeout > 0 {
		_ = k.SetReadDeadline(time.Now().Add(t.ResponseHeaderTimeout))
	}
	res, err := x.head(r, b)
	if err == nil && x.receive(r, res) {
		return res, nil
	}
	x.stop()
	x.stage.Store(ended)
	k.Close()
	switch {
	case x.ctx.Err() != nil:
		return nil, context.Cause(x.ctx)
	case k.head == 0:
		err = errHead
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.again, err = false, timeoutError{}
	}
	return nil, fmt.Errorf("http://%s: %w", x.client.host, err)
}

// head sends a request, and reads up to the end of the final response's head.
func (x *exchange) head(r *http.Request, b []byte) (*http.Response, error) {
	k := x.conn
	limit := x.client.transport.MaxResponseHeaderBytes
	if limit <= 0 {
		limit = maxHead
	}
	k.head = limit
	trace := got(x.ctx, k)
	_, err := k.Write(b)
	if err == nil {
		_, err = k.in.Peek(1)
	}
	if err != nil {
		x.again = k.used && x.ctx.Err() == nil
		return nil, err
	}
	for {
		res, err := http.ReadResponse(k.in, r)
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode < 100 || res.StatusCode >= 200:
			return res, nil
		}
		heard, err := interim(trace, res)
		if err != nil {
			return nil, err
		}
		if heard {
			k.head = limit // who hears of them limits their number
		}
	}
}

// receive takes over the body of a response; false if it was interrupted.
func (x *exchange) receive(r *http.Request, res *http.Response) bool {
	k := x.conn
	k.head = -1
	x.keep = !res.Close && res.StatusCode >= 200
	if r.Method == http.MethodHead || res.ContentLength == 0 || res.Body == http.NoBody {
		res.Body = http.NoBody
		if !x.stage.CompareAndSwap(heading, ended) {
			return false
		}
		x.part(x.keep)
		return true
	}
	if x.client.transport.ResponseHeaderTimeout > 0 && (res.ContentLength < 0 || int64(k.in.Buffered()) < res.ContentLength) {
		_ = k.SetReadDeadline(time.Time{})
	}
	x.body, res.Body = res.Body, x
	return x.stage.CompareAndSwap(heading, reading)
}

// Read reads the body. The connection is kept behind its last byte.
func (x *exchange) Read(p []byte) (int, error) {
	if x.err != nil {
		return 0, x.err
	}
	var n int
	err := errClosed
	if x.stage.Load() == reading {
		n, err = x.body.Read(p)
	}
	if err == nil {
		return n, nil
	}
	if x.stage.CompareAndSwap(reading, ended) {
		x.part(err == io.EOF && x.keep)
	}
	if err != io.EOF && x.ctx.Err() != nil {
		err = context.Cause(x.ctx)
	}
	x.err = err
	return n, err
}

// Close ends the exchange, and with it the connection where there is more to be
// read. It may be called at any time, during Read too.
func (x *exchange) Close() error {
	if x.stage.CompareAndSwap(reading, ended) {
		x.part(false)
	}
	return nil
}

// part is the end: of the connection's use, or of the connection, and of the request.
func (x *exchange) part(keep bool) {
	if x.stop() && keep {
		x.client.put(x.conn)
	} else {
		x.conn.Close()
	}
	x.client.leave()
}

// interrupt is the end of the request's context.
func (x *exchange) interrupt() {
	was := x.stage.Swap(ended)
	if was == ended {
		return
	}
	x.conn.Close()
	if was == reading {
		x.client.leave()
	}
}
