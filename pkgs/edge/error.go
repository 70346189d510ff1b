package edge

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Refuse answers r with err, and returns the status it sent: of an
// [*exchange.Error] its own, 404 of [fs.ErrNotExist], 504 of a timeout, else
// 502. Nothing of err but an exchange.Error's Message reaches the client. The
// body is never empty, since apt takes an empty error for final.
func Refuse(w http.ResponseWriter, r *http.Request, err error) int {
	status, message := http.StatusBadGateway, ""
	var stated *exchange.Error
	var network net.Error
	h := w.Header()
	switch {
	case errors.As(err, &stated):
		if stated.Status >= 400 && stated.Status <= 599 {
			status, message = stated.Status, stated.Message
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
		h.Set("Allow", "GET, HEAD")
	}
	if hasBody(r) {
		h.Set("Connection", "close") // what follows may be the body, or another request in its guise
	}
	writeText(w, r, status, message)
	return status
}

// writeText sends a status with a line of text; "" is the status text.
func writeText(w http.ResponseWriter, r *http.Request, status int, text string) {
	if text == "" {
		if text = http.StatusText(status); text == "" {
			text = "status " + strconv.Itoa(status)
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, text+"\n") // a client that leaves during an error loses nothing
	}
}
