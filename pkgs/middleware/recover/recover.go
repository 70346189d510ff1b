// Package recover is the middleware that keeps a panic of one request from
// being the end of the process, or of silence: it is logged once, with its
// stack, and the client sees either a 500 or a connection that breaks, never a
// body that seems complete.
package recover

import (
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
)

// New returns the middleware. A panic is an error of the log, with the attributes
// panic and stack, written while the stack is still that of the panic. If
// nothing was sent yet the answer is 500, else the handler is aborted.
// [http.ErrAbortHandler] passes through: it is no fault.
func New(log *slog.Logger) func(http.Handler) http.Handler {
	pool := sync.Pool{New: func() any { return new(readerFrom) }}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			full := pool.Get().(*readerFrom)
			full.writer = writer{ResponseWriter: w}
			defer func() {
				p := recover()
				if p == nil {
					full.writer = writer{}
					pool.Put(full)
					return
				}
				// Who panics may have left goroutines with the writer: it is not used again.
				if p == http.ErrAbortHandler {
					panic(p)
				}
				log.ErrorContext(r.Context(), "panic", "panic", p, "method", r.Method, "path", r.URL.EscapedPath(), "stack", string(debug.Stack()))
				if full.wrote {
					panic(http.ErrAbortHandler)
				}
				clear(w.Header())
				w.Header().Set("Cache-Control", "no-store")
				http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			}()
			if _, ok := w.(io.ReaderFrom); ok {
				next.ServeHTTP(full, r)
			} else {
				next.ServeHTTP(&full.writer, r)
			}
		})
	}
}

// writer notes whether a response was begun.
type writer struct {
	http.ResponseWriter
	wrote bool
}

func (w *writer) WriteHeader(status int) {
	w.wrote = w.wrote || status >= 200 || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

func (w *writer) WriteString(s string) (int, error) {
	w.wrote = true
	return io.WriteString(w.ResponseWriter, s)
}

// Flush sends what was written; it begins a response that was not.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is what [http.ResponseController] looks for.
func (w *writer) FlushError() error {
	w.wrote = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is what [http.ResponseController] looks for.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// readerFrom is a writer over one that can take a file as it is (sendfile). Over
// any other, a ReadFrom would only rob callers of their own larger buffers.
type readerFrom struct{ writer }

func (w *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	w.wrote = true
	return w.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
}
