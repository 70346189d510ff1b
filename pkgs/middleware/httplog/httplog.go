// Package httplog is the middleware that logs every request: a line when it
// starts and one when it is finished.
//
// What is logged comes from the request and from the response's header, where
// the edge tells clients the same (X-Cache, Cache-Status, X-Cache-Upstream).
// Queries are not logged: they may be signatures.
package httplog

import (
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// maxPath is how much of a path is logged.
const maxPath = 1 << 10

// New returns the middleware. Both lines are at level info; if log does not show
// that, requests pass untouched. The handler is the request's Pattern. more, if
// it is not nil, appends what else is known of a request: at its start, and then
// when it is finished.
func New(log *slog.Logger, more func(attrs []slog.Attr, r *http.Request, finished bool) []slog.Attr) func(http.Handler) http.Handler {
	if more == nil {
		more = func(attrs []slog.Attr, _ *http.Request, _ bool) []slog.Attr { return attrs }
	}
	pool := sync.Pool{New: func() any { return new(readerFrom) }}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !log.Enabled(r.Context(), slog.LevelInfo) {
				next.ServeHTTP(w, r)
				return
			}
			started := time.Now()
			path := r.URL.EscapedPath() // control characters are escaped in it
			if len(path) > maxPath {
				path = path[:maxPath] + "…"
			}
			attrs := append(make([]slog.Attr, 0, 16),
				slog.String("method", r.Method),
				slog.String("path", path),
				slog.String("handler", r.Pattern),
				slog.String("client", r.RemoteAddr))
			log.LogAttrs(r.Context(), slog.LevelInfo, "request started", more(attrs, r, false)...)

			full := pool.Get().(*readerFrom)
			full.writer = writer{ResponseWriter: w}
			returned := false
			defer func() {
				attrs := finish(attrs[:0], &full.writer, r, path, started, returned)
				log.LogAttrs(r.Context(), slog.LevelInfo, "request finished", more(attrs, r, true)...)
				if returned { // else a panic passes, and goroutines may still have the writer
					full.writer = writer{}
					pool.Put(full)
				}
			}()
			if _, ok := w.(io.ReaderFrom); ok {
				next.ServeHTTP(full, r)
			} else {
				next.ServeHTTP(&full.writer, r)
			}
			returned = true
		})
	}
}

// finish appends what is known of a request at its end.
func finish(attrs []slog.Attr, w *writer, r *http.Request, path string, started time.Time, returned bool) []slog.Attr {
	status := w.status
	switch {
	case status != 0:
	case returned:
		status = http.StatusOK
	default:
		status = http.StatusInternalServerError
	}
	attrs = append(attrs,
		slog.String("method", r.Method),
		slog.String("path", path),
		slog.String("handler", r.Pattern),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("duration", time.Since(started)))
	h := w.Header()
	for _, f := range [...]struct{ attr, field string }{
		{"cache", "X-Cache"}, {"cache_status", "Cache-Status"}, {"upstream", "X-Cache-Upstream"},
	} {
		if values := h[f.field]; len(values) > 0 {
			attrs = append(attrs, slog.String(f.attr, values[len(values)-1])) // ours is the last one
		}
	}
	attrs = append(attrs, slog.String("client", r.RemoteAddr))
	if !returned {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	return attrs
}

// writer counts what is sent.
type writer struct {
	http.ResponseWriter
	status int // 0 until the head is sent
	bytes  int64
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.count(int64(n))
	return n, err
}

func (w *writer) WriteString(s string) (int, error) {
	n, err := io.WriteString(w.ResponseWriter, s)
	w.count(int64(n))
	return n, err
}

func (w *writer) count(n int64) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.bytes += n
}

// Flush sends what was written.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is what [http.ResponseController] looks for.
func (w *writer) FlushError() error {
	w.count(0)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is what [http.ResponseController] looks for.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// readerFrom is a writer over one that can take a file as it is (sendfile). Over
// any other, a ReadFrom would only rob callers of their own larger buffers.
type readerFrom struct{ writer }

func (w *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	n, err := w.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	w.count(n)
	return n, err
}
