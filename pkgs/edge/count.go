package edge

import (
	"errors"
	"net/http"
	"os"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Counter hears what requests come to: package observe has the real one. It is
// safe for concurrent use, and quick.
type Counter interface {
	Answered(exchange.Outcome)            // the source has an answer
	Sent(o exchange.Outcome, bytes int64) // of its body, to the client
	Refused(reason string)                // an error of ours instead, or less than the whole
}

// The reasons why an answer that was begun did not become whole.
const (
	reasonCut  = "cut"         // its content ended early
	reasonSlow = "client-slow" // the client took too little in its time
	reasonGone = "client-gone"
)

// reasons are the words of statuses. An [exchange.Error] may have one of its own.
var reasons = map[int]string{
	http.StatusBadRequest:                 "bad-request",
	http.StatusUnauthorized:               "unauthorized",
	http.StatusForbidden:                  "forbidden",
	http.StatusNotFound:                   "not-found",
	http.StatusGone:                       "not-found",
	http.StatusMethodNotAllowed:           "method",
	http.StatusRequestEntityTooLarge:      "body-size",
	http.StatusTooManyRequests:            "rate",
	http.StatusUnavailableForLegalReasons: "policy",
	http.StatusInternalServerError:        "internal",
	http.StatusBadGateway:                 "upstream",
	http.StatusServiceUnavailable:         "unavailable",
	http.StatusGatewayTimeout:             "timeout",
}

// reason is the word of an error that was answered with status.
func reason(status int, err error) string {
	var stated *exchange.Error
	if errors.As(err, &stated) && stated.Reason != "" {
		return stated.Reason
	}
	if word, ok := reasons[status]; ok {
		return word
	}
	return "other"
}

// lostReason is the word of a client's connection that failed.
func lostReason(err error) string {
	if errors.Is(err, errSlow) || errors.Is(err, os.ErrDeadlineExceeded) {
		return reasonSlow
	}
	return reasonGone
}

func (e *edge) refused(reason string) {
	if e.Counter != nil {
		e.Counter.Refused(reason)
	}
}
