package proxytest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Reply is how an Origin answers. The zero Reply is an empty 200.
type Reply struct {
	Status  int // 0: 200
	Header  http.Header
	Body    Body
	Framing Framing
	Claim   int64 // a Content-Length that is not the truth; 0: none

	Delay time.Duration // before the head
	Rate  int64         // bytes of content a second; 0: no limit
	Fault Fault
	At    int64 // where in the content sent the fault happens

	NoRanges      bool // Range is ignored
	NoConditional bool // If-None-Match and If-Modified-Since are ignored

	Times int // 0: from now on; else the next reply follows after so many requests
}

// Framing is how the end of content is marked (RFC 9112 §6.3).
type Framing int

// The framings.
const (
	Length  Framing = iota // Content-Length
	Chunked                // Transfer-Encoding: chunked
	Close                  // the end of the connection
	HTTP10                 // the same, said in HTTP/1.0
)

// Fault is what befalls a reply on its way.
type Fault int

// The faults.
const (
	NoFault Fault = iota
	Cut           // the connection is closed in good order
	Reset         // the connection is reset
	Stall         // nothing more comes until Origin.Release, or the end
)

// An exchange is one request being answered. It is owned by the connection's goroutine.
type exchange struct {
	origin *Origin
	conn   *net.TCPConn
	br     *bufio.Reader
	req    *http.Request
	record *Request
	reply  Reply
	gone   bool // the client hung up
	ended  bool // all was said though the connection ends

	released <-chan struct{} // of the stall that the content comes to; nil: not there yet
}

// answer reports whether the connection may be used again.
func (x *exchange) answer() (keep bool) {
	r := &x.reply
	if r.Delay > 0 && !x.pause(r.Delay) {
		return false
	}
	header := r.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if x.origin.Now != nil && header.Get("Date") == "" {
		header.Set("Date", x.origin.Now().UTC().Format(http.TimeFormat))
	}
	status, off, n := r.Status, int64(0), r.Body.Size()
	if status == 0 {
		status = http.StatusOK
	}
	bodyless := status == http.StatusNoContent || status == http.StatusNotModified
	if status == http.StatusOK {
		switch {
		case !r.NoConditional && notModified(x.req.Header, header):
			status, bodyless = http.StatusNotModified, true
		case !r.NoRanges:
			header.Set("Accept-Ranges", "bytes")
			status, off, n = x.ranged(header, status, n)
		}
	}
	x.origin.note(func() { x.record.Status = status })
	proto := "HTTP/1.1"
	switch {
	case bodyless:
		n = 0
	case r.Framing == Length:
		length := n
		if r.Claim > 0 {
			length = r.Claim
		}
		header.Set("Content-Length", strconv.FormatInt(length, 10))
	case r.Framing == Chunked:
		header.Set("Transfer-Encoding", "chunked")
	case r.Framing == HTTP10:
		proto = "HTTP/1.0"
	default:
		header.Set("Connection", "close")
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %d %s\r\n", proto, status, http.StatusText(status))
	_ = header.Write(&head)
	head.WriteString("\r\n")
	if !x.write(head.Bytes()) {
		return false
	}
	if bodyless || x.req.Method == http.MethodHead {
		x.ended = true
		return proto == "HTTP/1.1"
	}
	return x.content(off, n)
}

// content sends n bytes from off on, and what ends them.
func (x *exchange) content(off, n int64) (keep bool) {
	r := &x.reply
	step, pause := int64(256<<10), time.Duration(0)
	if r.Rate > 0 {
		step = max(1, min(step, r.Rate/50))
		pause = time.Duration(step) * time.Second / time.Duration(r.Rate)
	}
	due := time.Now()
	for sent := int64(0); ; {
		want := min(step, n-sent)
		if r.Fault != NoFault {
			if r.At <= sent && !x.befall() {
				return false
			}
			if r.Fault != NoFault { // a stall that was released is over
				want = min(want, r.At-sent)
			}
		}
		if want <= 0 {
			break
		}
		if r.Fault == Stall && sent+want == r.At {
			x.released = x.origin.released(pathOf(x.record.Target)) // who gets this piece may release
		}
		piece := r.Body.piece(off+sent, want)
		if !x.chunk(piece) {
			return false
		}
		sent += int64(len(piece))
		x.origin.note(func() { x.record.Sent = sent })
		if pause > 0 && sent < n {
			due = due.Add(pause)
			if d := time.Until(due); d > 0 && !x.pause(d) {
				return false
			}
		}
	}
	if r.Framing == Chunked {
		return x.write([]byte("0\r\n\r\n"))
	}
	x.ended = true
	return r.Framing == Length && r.Claim == 0
}

// befall lets the fault happen, and reports whether the transfer goes on.
func (x *exchange) befall() bool {
	switch x.reply.Fault {
	case Reset:
		_ = x.conn.SetLinger(0)
		return false
	case Stall:
		if !x.stall() {
			return false
		}
		x.reply.Fault = NoFault
		return true
	}
	return false
}

// chunk writes a piece of content, framed.
func (x *exchange) chunk(p []byte) bool {
	if x.reply.Framing != Chunked {
		return x.write(p)
	}
	b := make([]byte, 0, len(p)+16)
	b = strconv.AppendInt(b, int64(len(p)), 16)
	b = append(b, "\r\n"...)
	b = append(b, p...)
	return x.write(append(b, "\r\n"...))
}

func (x *exchange) write(p []byte) bool {
	_, err := x.conn.Write(p)
	x.gone = x.gone || err != nil
	return err == nil
}

// pause waits for d, and reports whether the client is still there.
func (x *exchange) pause(d time.Duration) bool {
	until := time.Now().Add(d)
	_ = x.conn.SetReadDeadline(until)
	_, err := x.br.Peek(1)
	_ = x.conn.SetReadDeadline(time.Time{})
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		return true
	}
	if err != nil {
		x.gone = true
		return false
	}
	time.Sleep(time.Until(until)) // the next request is here already
	return true
}

// stall waits for a release of the path, and reports whether there was one
// before the connection ended.
func (x *exchange) stall() bool {
	released := x.released
	if released == nil {
		released = x.origin.released(pathOf(x.record.Target))
	}
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-released:
			_ = x.conn.SetReadDeadline(time.Now())
		case <-stop:
		}
	}()
	_, err := x.br.Peek(1)
	close(stop)
	<-done
	_ = x.conn.SetReadDeadline(time.Time{})
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		return true
	}
	if err == nil {
		// A pipelined request: no proxy sends one behind a GET that is unanswered.
		return false
	}
	x.gone = true
	return false
}

// notModified says whether the precondition of a request is false (RFC 9110 §13.2.2).
func notModified(req, stored http.Header) bool {
	if inm := req.Get("If-None-Match"); inm != "" {
		etag := stored.Get("ETag")
		for candidate := range strings.SplitSeq(inm, ",") {
			candidate = strings.TrimSpace(candidate)
			if etag != "" && (candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(etag, "W/")) {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(req.Get("If-Modified-Since"))
	if err != nil {
		return false
	}
	modified, err := http.ParseTime(stored.Get("Last-Modified"))
	return err == nil && !modified.After(since)
}

// ranged applies the Range of a request to content of n bytes: one range of
// bytes, as far as If-Range allows. Several ranges get the whole (RFC 9110 §14.2).
func (x *exchange) ranged(header http.Header, status int, n int64) (int, int64, int64) {
	spec, ok := strings.CutPrefix(x.req.Header.Get("Range"), "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return status, 0, n
	}
	if ir := x.req.Header.Get("If-Range"); ir != "" && ir != header.Get("ETag") && ir != header.Get("Last-Modified") {
		return status, 0, n
	}
	from, to, ok := parseRange(spec, n)
	if !ok {
		header.Set("Content-Range", fmt.Sprintf("bytes */%d", n))
		return http.StatusRequestedRangeNotSatisfiable, 0, 0
	}
	header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, n))
	return http.StatusPartialContent, from, to - from + 1
}

// parseRange reads FROM-TO, FROM- or -LAST of n bytes; to is included.
func parseRange(spec string, n int64) (from, to int64, ok bool) {
	first, last, found := strings.Cut(spec, "-")
	if !found {
		return 0, 0, false
	}
	to = n - 1
	var err error
	if first == "" {
		from, err = strconv.ParseInt(last, 10, 64)
		return max(0, n-from), to, err == nil && from > 0 && n > 0
	}
	if from, err = strconv.ParseInt(first, 10, 64); err != nil || from < 0 || from >= n {
		return 0, 0, false
	}
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil || to < from {
			return 0, 0, false
		}
	}
	return from, min(to, n-1), true
}
