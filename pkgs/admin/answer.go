package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// An Error is the JSON of every answer that is none.
type Error struct {
	Code    string `json:"code"`    // for programs: a word of a fixed set
	Message string `json:"message"` // for people
}

// value is a handler that answers with what f returns.
func value(f func(context.Context) any) http.Handler {
	return answer(func(r *http.Request) (any, error) { return f(r.Context()), nil })
}

// answer is a handler that answers with JSON: what f returns, or an [Error] with
// the status that the error has. An [*exchange.Error] has its own, [fs.ErrNotExist]
// is 404, all else 500. What is an accepted, is 202.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			writeError(w, err)
			return
		}
		status := http.StatusOK
		if _, ok := v.(accepted); ok {
			status = http.StatusAccepted
		}
		writeJSON(w, status, v)
	})
}

// accepted is the answer where something has begun.
type accepted struct {
	Accepted bool `json:"accepted"`
}

func writeError(w http.ResponseWriter, err error) {
	status, code, message := problem(err)
	writeProblem(w, status, code, message)
}

// problem is the status, code and message of an error; code "" is the status in words.
func problem(err error) (status int, code, message string) {
	status, message = http.StatusInternalServerError, err.Error()
	var stated *exchange.Error
	switch {
	case errors.As(err, &stated) && stated.Status >= 400 && stated.Status <= 599:
		status, code = stated.Status, stated.Reason
		if stated.Message != "" {
			message = stated.Message
		}
	case errors.Is(err, fs.ErrNotExist):
		status = http.StatusNotFound
	}
	return status, code, message
}

// writeProblem answers with an Error; code "" is the status in words.
func writeProblem(w http.ResponseWriter, status int, code, message string) {
	if code == "" {
		code = strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "-")
	}
	writeJSON(w, status, Error{code, message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status = http.StatusInternalServerError
		text, _ = json.Marshal(Error{"internal-server-error", err.Error()})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // nobody is left to hear of an error
}

// wrong is the error of a request that says what it should not.
func wrong(format string, args ...any) error {
	return &exchange.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// brought is what a request brings: one JSON value, without fields that T has not.
func brought[T any](r *http.Request) (v T, err error) {
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	if err := in.Decode(&v); err != nil {
		return v, unread(err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return v, wrong("more than one JSON value")
	}
	return v, nil
}

// unread is the error of a request whose content cannot be read.
func unread(err error) error {
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return &exchange.Error{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("more than %d bytes", large.Limit)}
	}
	return wrong("the request's content: %v", err)
}

// orEmpty makes [] of what would be null.
func orEmpty[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

// stated is a mux whose own errors are [Error]s too.
type stated struct{ *http.ServeMux }

func (s stated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := s.Handler(r)
	if pattern != "" {
		s.ServeMux.ServeHTTP(w, r)
		return
	}
	c := &captured{header: w.Header()}
	h.ServeHTTP(c, r)
	writeProblem(w, c.status, "", http.StatusText(c.status))
}

// captured takes an answer's status and fields, and drops its content.
type captured struct {
	header http.Header
	status int
}

func (c *captured) Header() http.Header         { return c.header }
func (c *captured) WriteHeader(status int)      { c.status = status }
func (c *captured) Write(p []byte) (int, error) { return len(p), nil }
