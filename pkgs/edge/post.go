package edge

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

const (
	maxPost  = 16 << 20         // bytes of a body
	maxPosts = 64 << 20         // bytes of all bodies of an edge at a time
	postTime = 60 * time.Second // to send it in
)

// errRoom says that the bodies under way are too much together.
var errRoom = refusal(http.StatusServiceUnavailable, "too much is being sent at once", "body-room")

// A held is a body that is read into memory, of which all have so much together. The
// writer of the request gives back what it took.
type held struct {
	io.Reader
	edge *edge
	w    *writer
}

func (h held) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	h.w.posted += int64(n)
	if h.edge.posted.Add(int64(n)) > h.edge.maxPosts {
		return n, errRoom
	}
	return n, err
}

// post reads the body of r and makes the request that the hub says it is. It is
// read whole, since a mirror that fails is followed by another.
func (e *edge) post(w *writer, r *http.Request) (*exchange.Request, error) {
	if r.ContentLength > maxPost {
		w.Header().Set("Connection", "close")
		return nil, refusal(http.StatusRequestEntityTooLarge, "", "body-size")
	}
	if len(r.TransferEncoding) > 0 {
		// Content-Length beside it cannot be seen here: what follows may be a request in disguise.
		w.Header().Set("Connection", "close")
	}
	_ = w.control.SetReadDeadline(time.Now().Add(postTime)) // not every writer can
	body, err := io.ReadAll(held{http.MaxBytesReader(w, r.Body, maxPost), e, w})
	_ = w.control.SetReadDeadline(time.Time{})
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refusal(http.StatusRequestEntityTooLarge, "", "body-size")
	} else if errors.Is(err, errRoom) {
		w.Header().Set("Connection", "close")
		w.Header().Set("Retry-After", "1")
		return nil, err
	} else if err != nil {
		w.Header().Set("Connection", "close")
		return nil, &exchange.Error{Status: http.StatusBadRequest, Message: "the body is incomplete", Reason: "body", Err: err}
	}
	if body == nil {
		body = []byte{}
	}
	req, err := e.Poster.Post(r, body)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refusal(http.StatusMethodNotAllowed, "", "method")
	}
	if err != nil {
		return nil, err
	}
	if req.Post == nil {
		req.Post = body
	}
	req.Policy.Class = freshness.Passthrough
	return req, nil
}
