package exchange

import (
	"fmt"
	"net/http"
	"time"
)

// An Error is a failure with a face for the client. The edge turns it into a
// response; everything else about it is for the log.
type Error struct {
	Status     int           // of the response: 502, 504, 503, 404, ...
	Message    string        // for the client: no internal URL, no secret; "" means the status text
	RetryAfter time.Duration // 0: none is sent
	Header     http.Header   // of the response, beside what it has anyway: WWW-Authenticate, ...; nil: nothing
	Reason     string        // a word for those who count, of a bounded set; "": Status says enough
	Err        error         // the cause, for logs only; may be nil
}

func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	if e.Err != nil {
		return fmt.Sprintf("%d %s: %v", e.Status, text, e.Err)
	}
	return fmt.Sprintf("%d %s", e.Status, text)
}

func (e *Error) Unwrap() error { return e.Err }
