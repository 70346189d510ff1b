package edge

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// refuseWith answers r with err, and returns the status it sent: of an
// [*exchange.Error] its own, 404 of [fs.ErrNotExist], 504 of a timeout, else
// 502. Nothing of err but an exchange.Error's Message reaches the client. The
// body is never empty, since apt takes an empty error for final.
func (e *edge) refuseWith(w http.ResponseWriter, r *http.Request, err error) int {
	status, message := http.StatusBadGateway, ""
	var stated *exchange.Error
	var network net.Error
	h := w.Header()
	switch {
	case errors.As(err, &stated):
		if stated.Status >= 400 && stated.Status <= 599 {
			status, message = stated.Status, stated.Message
		}
		for name, values := range stated.Header {
			h[name] = values[:len(values):len(values)]
		}
		if stated.RetryAfter > 0 {
			seconds := int64((stated.RetryAfter + time.Second - 1) / time.Second)
			h.Set("Retry-After", strconv.FormatInt(seconds, 10))
		}
	case errors.Is(err, fs.ErrNotExist):
		status = http.StatusNotFound
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		status = http.StatusGatewayTimeout
	}
	if status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, HEAD") // POST is for some paths only, and those took it
	}
	if hasBody(r) {
		h.Set("Connection", "close") // what follows may be the body, or another request in its guise
	}
	e.writeError(w, r, status, message)
	return status
}

// writeError sends a status with a line of text; "" is the status text. A
// [hub.Refuser] says it in its own way.
func (e *edge) writeError(w http.ResponseWriter, r *http.Request, status int, text string) {
	if text == "" {
		if text = http.StatusText(status); text == "" {
			text = "status " + strconv.Itoa(status)
		}
	}
	mediaType, body := "text/plain; charset=utf-8", []byte(nil)
	if e.Refuser != nil {
		mediaType, body = e.Refuser.Refusal(status, text)
	}
	if len(body) == 0 {
		mediaType, body = "text/plain; charset=utf-8", []byte(text+"\n")
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that leaves during an error loses nothing
	}
}
