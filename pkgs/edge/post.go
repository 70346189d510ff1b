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
	postTime = 60 * time.Second // to send it in
)

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
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPost))
	_ = w.control.SetReadDeadline(time.Time{})
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refusal(http.StatusRequestEntityTooLarge, "", "body-size")
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
